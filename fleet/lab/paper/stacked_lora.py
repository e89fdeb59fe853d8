"""LoRA adapters stacked beside a programmed network: one in training over those that are active already.

An active adapter lives in a `LoraBank`, one in training is a `LoraBranch` whose factors have gradients; both
are corrections of the same layers, and their sum is what the layer adds. To take an adapter off is
`LoraBank.remove`: nothing is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_node.errors import AdapterError
from edge_node.recognition.lora.branch import LoraBranch
from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.lora.adapter import AdapterKind, LoraAdapter, LoraSpec
from fleet.lab.lora.bank import LoraBank
from fleet.lab.paper.methods import Adapter
from hwmodel import Phase, Precision, ProgrammedModel, keyed_normal
from hwmodel.nn import AnalogLayer, Correction


@dataclass(frozen=True)
class LoraShape:
    """What a LoRA changes, and by how many numbers.

    Attributes
    ----------
    name
        Of the adapter.
    layers
        Module paths; sorted.
    rank, alpha
        Of every layer.
    """

    name: str
    layers: tuple[str, ...]
    rank: int
    alpha: float


class StackedNetwork:
    """A network on the chips of N nodes, with a bank of adapters beside its layers.

    Parameters
    ----------
    task
        Name of the task.
    network
        The float network that was programmed.
    chips
        What became of it.

    Attributes
    ----------
    chips
        As given; every layer's correction belongs to this object from now on.
    bank
        The active adapters.
    base
        What they must fit.
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

    @contextmanager
    def training(self, shape: LoraShape, adapter: Adapter) -> Iterator[None]:
        """Let an adapter with gradients act on top of the active ones inside the ``with`` block."""
        branches = {
            name: LoraBranch(
                a, shape.alpha / shape.rank * b, Precision.FP32, self.chips.preset, self.chips.analog[name].meter
            )
            for name, (a, b) in zip(shape.layers, _pairs(adapter), strict=True)
        }
        self._attach(branches)
        try:
            with self.chips.charging(Phase.TRAIN):
                yield
        finally:
            self._attach({})

    def install(self, shape: LoraShape, adapter: Adapter) -> tuple[LoraAdapter, ...]:
        """Store trained factors and make them active, each node its own; return them."""
        spec = LoraSpec(
            name=shape.name,
            kind=AdapterKind.SHARED,
            task=self.base.task,
            base_digest=self.base.digest,
            layers=shape.layers,
            rank=shape.rank,
            alpha=shape.alpha,
        )
        pairs = _pairs(adapter)
        stored = tuple(
            LoraAdapter.build(
                spec,
                self.base,
                a={name: a[node].detach() for name, (a, _) in zip(shape.layers, pairs, strict=True)},
                b={name: b[node].detach() for name, (_, b) in zip(shape.layers, pairs, strict=True)},
            )
            for node in range(self.nodes)
        )
        for node, one in enumerate(stored):
            self.bank.install(one, [node])
        return stored

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

    def _attach(self, branches: dict[str, LoraBranch]) -> None:
        for name, layer in self.chips.analog.items():
            layer.correction = self._summed(name, layer, branches.get(name))

    def _summed(self, name: str, layer: AnalogLayer, branch: LoraBranch | None) -> Correction:
        def correction(vectors: Tensor) -> Tensor:
            active = self.bank.forward(name, vectors, layer.meter.phase)
            return active if branch is None else active + branch(vectors)

        return correction


def _pairs(adapter: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return (A, B) of each layer."""
    return list(zip(adapter[::2], adapter[1::2], strict=True))
