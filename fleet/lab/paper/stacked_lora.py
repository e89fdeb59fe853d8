"""LoRA adapters stacked beside a programmed network: one in training over those that are active already.

An active adapter lives in a `LoraBank`, one in training is a `LoraBranch` whose factors have gradients; both are
corrections of the same layers, and their sum is what the layer adds. To take an adapter off is `LoraBank.remove`:
nothing is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_node.errors import AdapterError
from edge_node.recognition.lora.branch import LoraBranch
from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.lora.adapter import LoraAdapter, LoraKind, LoraSpec
from fleet.lab.lora.bank import LoraBank
from fleet.lab.paper.methods import Adapter
from hwmodel import Phase, Precision, ProgrammedModel, keyed_normal


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
    """A float network that was programmed on the chips of N nodes, with a bank of active adapters beside its layers.

    Every layer's correction of the chips belongs to this object from now on.
    """

    def __init__(self, task: str, network: nn.Module, chips: ProgrammedModel) -> None:
        self.chips = chips
        weights = {name: network.get_submodule(name).weight for name in chips.analog}
        self.base = FrozenBase.of(task, weights)  # type: ignore[arg-type]
        self.bank = LoraBank(self.base, chips.preset, chips.ledger)
        self._attach({})

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
            layer = self.base.layer(name)
            drawn = keyed_normal(seed, "paper.lora.a", shape.name, name, count=shape.rank * layer.inputs)
            a = (drawn / math.sqrt(layer.inputs)).float().view(1, shape.rank, layer.inputs)
            factors += [a.repeat(self.nodes, 1, 1), torch.zeros(self.nodes, layer.outputs, shape.rank)]
        return tuple(factors)

    def logits(self, inputs: Tensor) -> Tensor:
        """Return class scores with the active adapters, float32 ``[N, B, classes]``."""
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
        preset, layers, scale = self.chips.preset, self.chips.analog, shape.alpha / shape.rank
        self._attach(
            {
                name: LoraBranch(a, scale * b, Precision.FP32, preset, layers[name].meter)
                for name, (a, b) in shape.pairs(adapter).items()
            }
        )
        try:
            with self.chips.charging(Phase.TRAIN):
                yield
        finally:
            self._attach({})

    def install(self, shape: LoraShape, adapter: Adapter) -> None:
        """Store trained factors and make them active, each node its own."""
        base, pairs = self.base, shape.pairs(adapter)
        spec = LoraSpec(
            shape.name, LoraKind.SHARED, base.task, base.digest, shape.layers, rank=shape.rank, alpha=shape.alpha
        )
        for node in range(self.nodes):
            a, b = ({name: pair[factor][node].detach() for name, pair in pairs.items()} for factor in (0, 1))
            self.bank.install(LoraAdapter.build(spec, base, a=a, b=b), [node])

    @contextmanager
    def stripped(self, name: str) -> Iterator[None]:
        """Take an active adapter off every node inside the ``with`` block: the strip test.

        Raises
        ------
        AdapterError
            If a node has none of this name: the test would say nothing.
        """
        held = [one for node in range(self.nodes) for one in self.bank.adapters(node) if one.spec.name == name]
        if len(held) != self.nodes:
            raise AdapterError(f"{self.nodes - len(held)} of {self.nodes} nodes have no adapter {name} to strip")
        self.bank.remove(name)
        try:
            yield
        finally:
            for node, one in enumerate(held):
                self.bank.install(one, [node])

    def _attach(self, branches: Mapping[str, LoraBranch]) -> None:
        for name, layer in self.chips.analog.items():
            layer.correction = partial(self._correction, name, branches.get(name))

    def _correction(self, name: str, branch: LoraBranch | None, vectors: Tensor) -> Tensor:
        active = self.bank.forward(name, vectors, self.chips.analog[name].meter.phase)
        return active if branch is None else active + branch(vectors)
