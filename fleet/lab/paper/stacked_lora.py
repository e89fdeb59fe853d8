"""LoRA branches stacked beside a programmed network: one in training over those that are active already.

Active ones and the one in training are `LoraBranch` objects by layer, and a layer adds their sum. To take an active one
off is to leave it out of that sum: nothing is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from edge_node.errors import AdapterError
from edge_node.recognition.lora.branch import LoraBranch
from fleet.lab.paper.methods import Adapter
from hwmodel import Phase, Precision, ProgrammedModel, cost, keyed_normal
from hwmodel.nn import Correction


@dataclass(frozen=True)
class LoraShape:
    """Layers that a LoRA changes (module paths, sorted), and rank and alpha of every one."""

    name: str
    layers: tuple[str, ...]
    rank: int
    alpha: float

    def pairs(self, adapter: Adapter) -> dict[str, tuple[Tensor, Tensor]]:
        """Return (A, B) of each layer."""
        return dict(zip(self.layers, zip(adapter[::2], adapter[1::2], strict=True), strict=True))


class StackedNetwork:
    """A float network that was programmed on the chips of N nodes, with active branches beside its layers.

    Every layer's correction of the chips belongs to this object from now on.

    Attributes
    ----------
    active
        Branches that act, by name of the LoRA and layer.
    """

    def __init__(self, chips: ProgrammedModel) -> None:
        self.chips = chips
        self.active: dict[str, Mapping[str, LoraBranch]] = {}
        self._attach()

    @property
    def nodes(self) -> int:
        """Length of the node axis."""
        return len(self.chips.nodes)

    def start(self, shape: LoraShape, seed: int) -> Adapter:
        """Return fresh factors A, B of each layer in turn, float32: A is keyed and random, B is 0.

        Every node gets the same start, ``[N, rank, in]`` and ``[N, out, rank]``.
        """
        factors: list[Tensor] = []
        for name in shape.layers:
            crossbar = self.chips.analog[name].crossbar
            drawn = keyed_normal(seed, "paper.lora.a", shape.name, name, count=shape.rank * crossbar.in_features)
            a = (drawn / math.sqrt(crossbar.in_features)).float().view(1, shape.rank, crossbar.in_features)
            factors += [a.repeat(self.nodes, 1, 1), torch.zeros(self.nodes, crossbar.out_features, shape.rank)]
        return tuple(factors)

    def logits(self, inputs: Tensor) -> Tensor:
        """Return class scores with the active branches, float32 ``[N, B, classes]``."""
        scores: Tensor = self.chips(inputs)
        return scores

    def losses(
        self, shape: LoraShape, adapter: Adapter, inputs: Tensor, labels: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """Return the cross-entropy of each input, scores over a temperature, with an adapter in training.

        Labels are int64 ``[B]`` or ``[N, B]``; the result is float32 ``[N, B]``.
        """
        with self.training(shape, adapter):
            scores = self.logits(inputs) / temperature
        return functional.cross_entropy(scores.mT, labels.expand(self.nodes, -1), reduction="none")

    @contextmanager
    def training(self, shape: LoraShape, adapter: Adapter) -> Iterator[None]:
        """Let an adapter with gradients act on top of the active ones inside the ``with`` block."""
        self._attach(self._branches(shape, adapter))
        try:
            with self.chips.charging(Phase.TRAIN):
                yield
        finally:
            self._attach()

    def install(self, shape: LoraShape, adapter: Adapter) -> None:
        """Make trained factors active, each node its own."""
        branches = self._branches(shape, tuple(part.detach() for part in adapter))
        self.active[shape.name] = branches
        size = sum(branch.sram_bytes for branch in branches.values())
        self.chips.ledger.charge(Phase.PROGRAM, cost.deploy(self.chips.preset, size, over_radio=False))
        self._attach()

    @contextmanager
    def stripped(self, name: str) -> Iterator[None]:
        """Take an active LoRA off every node inside the ``with`` block: the strip test.

        `AdapterError` if there is none of this name: the test would say nothing.
        """
        if name not in self.active:
            raise AdapterError(f"no adapter {name} to strip: the nodes have {sorted(self.active)}")
        held = self.active
        self.active = {other: branches for other, branches in held.items() if other != name}
        self._attach()
        try:
            yield
        finally:
            self.active = held
            self._attach()

    def _branches(self, shape: LoraShape, adapter: Adapter) -> dict[str, LoraBranch]:
        preset, layers, scale = self.chips.preset, self.chips.analog, shape.alpha / shape.rank
        return {
            name: LoraBranch(a, scale * b, Precision.FP32, preset, layers[name].meter)
            for name, (a, b) in shape.pairs(adapter).items()
        }

    def _attach(self, *on_top: Mapping[str, LoraBranch]) -> None:
        stacked = (*self.active.values(), *on_top)
        for name, layer in self.chips.analog.items():
            branches = [part[name] for part in stacked if name in part]
            layer.correction = partial(_sum, branches) if branches else None


def _sum(branches: Sequence[Correction], vectors: Tensor) -> Tensor:
    first, *others = (branch(vectors) for branch in branches)
    return sum(others, start=first)
