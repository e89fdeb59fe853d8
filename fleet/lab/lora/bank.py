"""Bank of the LoRA adapters that are active on N nodes, and their sum beside every layer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.errors import AdapterError, AdapterShapeError
from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.lora.adapter import LoraAdapter, LoraKind
from hwmodel import Cost, EnergyLedger, Phase, Preset, cost

_DOMAIN = b"reram-fleet/lora-bank/v1\0"


@dataclass(frozen=True, eq=False, slots=True)
class _Members:
    """Nodes that a layer's sum is computed for in one product.

    `a` and `b` are as of `LoraBank.composed`: one pair for all of them, or ``[nodes, ...]``, a pair for each; `macs`
    per vector and node; `read_bytes` of each node.
    """

    nodes: list[int]
    a: Tensor
    b: Tensor
    macs: int
    read_bytes: list[int]


class LoraBank:
    """Named adapters of one network's layers, on every node of a batch; a device is a batch of one.

    What a layer gets is the sum over the node's adapters, in the order of their names, always computed from the set as
    it is and never by subtraction: a bank from which an adapter was removed is, bit for bit, the bank that never had
    it.

    Parameters
    ----------
    base
        The frozen network.
    preset
        Technology of the chips: what SRAM costs.
    ledger
        Charged for all that happens here; its nodes are the bank's.
    """

    def __init__(self, base: FrozenBase, preset: Preset, ledger: EnergyLedger) -> None:
        self.base = base
        self._preset, self._ledger = preset, ledger
        self._nodes: list[dict[str, LoraAdapter]] = [{} for _ in range(ledger.nodes)]
        self._plans: dict[str, list[_Members]] = {}

    def install(self, adapter: LoraAdapter, nodes: Collection[int] | None = None) -> None:
        """Make an adapter active on some places of the node axis, all if left out; charged to `Phase.PROGRAM`.

        It is one object, shared by the nodes that get it. A calibration LoRA is another one for each node.
        `AdapterError` if a node has one of this name already; or, by `LoraAdapter.check_fits`, one of the more precise
        errors below it. Nothing is changed.
        """
        places = self._places(nodes)
        adapter.check_fits(self.base)
        name, size = adapter.spec.name, adapter.byte_count
        for node in places:
            if name in self._nodes[node]:
                raise AdapterError(f"node {node} has an adapter {name} already: remove it first")
        for node in places:
            self._nodes[node][name] = adapter
        self._changed(adapter)
        self._charge(Phase.PROGRAM, cost.deploy(self._preset, size, over_radio=False), places)

    def remove(self, name: str, nodes: Collection[int] | None = None) -> int:
        """Overwrite an adapter's SRAM, charged to `Phase.ERASE`; return how many nodes had it.

        A node without it is no error: a forget is idempotent. `AdapterError` if there is no such node.
        """
        places = [node for node in self._places(nodes) if name in self._nodes[node]]
        for node in places:
            gone = self._nodes[node].pop(name)
            self._changed(gone)
            self._charge(Phase.ERASE, cost.erase(self._preset, gone.byte_count), [node])
        return len(places)

    def adapters(self, node: int = 0, kind: LoraKind | None = None) -> tuple[LoraAdapter, ...]:
        """Return a node's adapters in the order in which they are summed; of one kind if it is given."""
        (place,) = self._places([node])
        held = self._nodes[place]
        return tuple(held[name] for name in sorted(held) if kind in (None, held[name].spec.kind))

    def sram_bytes(self, node: int = 0) -> int:
        """Return the bytes that a node's adapters take; a frozen A is drawn anew and takes none."""
        return sum(adapter.byte_count for adapter in self.adapters(node))

    def digest(self, node: int = 0) -> bytes:
        """Return the SHA-256 of a node's adapters: equal if and only if their bits are."""
        return hashlib.sha256(_DOMAIN + b"".join(a.digest for a in self.adapters(node))).digest()

    def composed(self, layer: str, node: int = 0) -> tuple[Tensor, Tensor]:
        """Return all of a node's adapters of a layer as one LoRA, float64 a ``[R, in]`` and b ``[out, R]``.

        R is the sum of the ranks, and the scalings are multiplied into b: the sum of the adapters is ``b (a x)``.
        `AdapterShapeError` if the network has no such layer.
        """
        return self._compose(layer, self._of_layer(layer, node))

    def forward(self, layer: str, vectors: Tensor, phase: Phase | None = None) -> Tensor:
        """Return the sum of each node's adapters at a layer, ``[N, V, out]``; zero for a node without adapters there.

        In float64 inside: a batch of nodes agrees with single nodes to 1e-12 of the largest entry, before the result is
        rounded to the dtype of `vectors`. Gradients reach `vectors`, not the adapters. `AdapterShapeError` if the
        network has no such layer, or the vectors do not fit it.

        Parameters
        ----------
        layer
            Module path.
        vectors
            Floats ``[N, V, in]``, as `hwmodel.nn.AnalogLayer.correction` gets them.
        phase
            What the arithmetic is charged to: ``rank (in + out)`` MACs a vector, and each stored byte read once a call
            (of a frozen A one bit an entry). None charges nothing.
        """
        shape = self.base.layer(layer)
        if vectors.ndim != 3 or vectors.shape[0] != len(self._nodes) or vectors.shape[2] != shape.inputs:
            raise AdapterShapeError(
                f"layer {layer!r} takes vectors [{len(self._nodes)}, V, {shape.inputs}]; got {list(vectors.shape)}"
            )
        if layer not in self._plans:
            self._plans[layer] = self._grouped(layer)
        plan = self._plans[layer]
        result = vectors.new_zeros(*vectors.shape[:2], shape.outputs)
        for members in plan:
            exact = (vectors[members.nodes].to(torch.float64) @ members.a.mT) @ members.b.mT
            result.index_copy_(0, torch.tensor(members.nodes), exact.to(vectors.dtype))
        if phase is not None:
            costs = [Cost()] * len(self._nodes)
            for members in plan:
                macs = members.macs * vectors.shape[1]
                spent = cost.digital_macs(self._preset, macs, cost.Precision.FP32)
                for node, read in zip(members.nodes, members.read_bytes, strict=True):
                    costs[node] = spent + cost.sram_read(self._preset, read)
            self._ledger.charge(phase, costs)
        return result

    def _grouped(self, layer: str) -> list[_Members]:
        """Group nodes with the same adapters, and by rank those that are alone, as calibrated chips are."""
        same: dict[tuple[bytes, ...], list[int]] = {}
        for node in range(len(self._nodes)):
            if held := self._of_layer(layer, node):
                same.setdefault(tuple(adapter.digest for adapter in held), []).append(node)
        plan, alone = [], dict[int, list[int]]()
        for nodes in same.values():
            held = self._of_layer(layer, nodes[0])
            if len(nodes) == 1:
                alone.setdefault(sum(adapter.spec.rank for adapter in held), []).append(nodes[0])
            else:
                plan.append(self._members(layer, nodes, *self._compose(layer, held)))
        for nodes in alone.values():
            factors = [self.composed(layer, node) for node in nodes]
            a, b = (torch.stack(part) for part in zip(*factors, strict=True))
            plan.append(self._members(layer, nodes, a, b))
        return plan

    def _members(self, layer: str, nodes: list[int], a: Tensor, b: Tensor) -> _Members:
        inputs = a.shape[-1]
        read = [sum(_read_bytes(held, layer, inputs) for held in self._of_layer(layer, n)) for n in nodes]
        return _Members(nodes, a, b, a.shape[-2] * (inputs + b.shape[-2]), read)

    def _of_layer(self, layer: str, node: int) -> tuple[LoraAdapter, ...]:
        return tuple(adapter for adapter in self.adapters(node) if layer in adapter.spec.layers)

    def _compose(self, layer: str, adapters: tuple[LoraAdapter, ...]) -> tuple[Tensor, Tensor]:
        shape = self.base.layer(layer)
        parts = [adapter.factors(layer, shape.inputs) for adapter in adapters]
        if not parts:
            empty = torch.zeros(0, dtype=torch.float64)
            return empty.reshape(0, shape.inputs), empty.reshape(shape.outputs, 0)
        scaled = [b * adapter.spec.scaling for adapter, (_, b) in zip(adapters, parts, strict=True)]
        return torch.cat([a for a, _ in parts]), torch.cat(scaled, dim=1)

    def _changed(self, adapter: LoraAdapter) -> None:
        for layer in adapter.spec.layers:
            self._plans.pop(layer, None)

    def _charge(self, phase: Phase, spent: Cost, nodes: list[int]) -> None:
        if len(nodes) == len(self._nodes):
            self._ledger.charge(phase, spent)
            return
        for node in nodes:
            self._ledger.charge(phase, spent, node)

    def _places(self, nodes: Collection[int] | None) -> list[int]:
        places = sorted(set(nodes)) if nodes is not None else list(range(len(self._nodes)))
        if not places or not 0 <= places[0] <= places[-1] < len(self._nodes):
            raise AdapterError(f"the bank has nodes 0 to {len(self._nodes) - 1}; got {places}")
        return places


def _read_bytes(adapter: LoraAdapter, layer: str, inputs: int) -> int:
    frozen = adapter.spec.a_seed is not None
    signs = -(-adapter.spec.rank * inputs // 8)
    return adapter.b[layer].byte_count + (signs if frozen else adapter.a[layer].byte_count)
