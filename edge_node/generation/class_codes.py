"""Codes of a private class: its adapter as one integer vector, which is kept, added up over nodes, and used.

Of a layer ``y = W x`` the adapter makes ``y = W x + alpha / rank * B (A x)``, with A frozen: drawn from the
task's seed, the same on every node. So a class is its B factors alone, and adding the codes of several nodes
and dividing by their number is the average of what they learnt: a class is federated, stored, digested and
destroyed like any other subject adapter. The label table is one of the layers: its part of the vector is the
row that the class adds to that of no class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from reram_fleet.wire.concepts import ERASER_SCALE_BITS
from torch import Tensor

from edge_node.errors import AdapterError
from edge_node.generation.generator import BLOCK_LAYERS, LABELS
from edge_node.recognition.lora.frozen_base import FrozenBase
from edge_node.recognition.lora.output_layer import frozen_factor
from hwmodel import keyed_seed
from hwmodel.nn import Correction

#: Layers that a class changes, in the order of the vector.
CLASS_LAYERS = tuple(sorted((*BLOCK_LAYERS, LABELS)))
#: B is kept as integers at 2^-12. Trained factors lie within 1; below 2^-12 the chip's own errors are larger.
SCALE_BITS = ERASER_SCALE_BITS
#: Largest code of one node: an int16, so that squares of differences add up exactly in int64.
MAX_CODE = 2**15 - 1


@dataclass(frozen=True, slots=True)
class ClassLayout:
    """Layout of a class's factors in its vector; `seed` is the task's, from which A is drawn."""

    base: FrozenBase
    seed: int
    rank: int = 8
    alpha: float = 16.0

    @property
    def length(self) -> int:
        """Codes of one class."""
        return sum(self.base.layer(name).outputs for name in CLASS_LAYERS) * self.rank

    @property
    def scaling(self) -> float:
        """``alpha / rank``."""
        return self.alpha / self.rank

    def frozen(self, layer: str) -> Tensor:
        """Return A of a layer, float32 ``[rank, in]``."""
        seed = keyed_seed(self.seed, "images.class.a")
        return frozen_factor(seed, layer, self.rank, self.base.layer(layer).inputs).float()

    def in_training(self, b: Mapping[str, Tensor]) -> dict[str, Correction]:
        """Return what factors, floats ``[N, out, rank]`` by layer, add to each layer; gradients reach them."""

        def branch(a: Tensor, factor: Tensor) -> Correction:
            return lambda vectors: (vectors @ a.mT) @ factor.mT * self.scaling

        return {name: branch(self.frozen(name), factor) for name, factor in b.items()}

    def codes(self, b: Mapping[str, Tensor]) -> Tensor:
        """Return trained factors, floats ``[N, out, rank]`` by layer, as codes, int32 ``[N, length]``.

        `AdapterError` if a factor is not finite, or too large for codes of 16 bits.
        """
        codes = torch.round(self.joined(b).double() * 2.0**SCALE_BITS)
        if not bool(torch.isfinite(codes).all()) or float(codes.abs().max()) > MAX_CODE:
            raise AdapterError(f"a trained factor does not fit into 16 bits at 2^-{SCALE_BITS}: learning has diverged")
        return codes.to(torch.int32)

    def factors(self, sums: Tensor, counts: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield each layer's name, A ``[1, rank, in]`` and scaled B ``[N, out, rank]``, float32.

        `sums` are of codes, int64 ``[N, length]``, and `counts` of how many nodes each is, int64 ``[N]``.
        """
        mean = sums.double() / counts.double()[:, None] * (self.scaling * 2.0**-SCALE_BITS)
        for name, b in self.split(mean):
            yield name, self.frozen(name)[None], b.float()

    def joined(self, b: Mapping[str, Tensor]) -> Tensor:
        """Return factors ``[N, out, rank]`` by layer as one vector, ``[N, length]``; zeros where there are none."""
        nodes = len(next(iter(b.values())))
        shapes = {name: (nodes, self.base.layer(name).outputs * self.rank) for name in CLASS_LAYERS}
        return torch.cat([b[n].detach().flatten(1) if n in b else torch.zeros(s) for n, s in shapes.items()], dim=1)

    def split(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each layer's name and B ``[N, out, rank]`` out of vectors ``[N, length]``."""
        start = 0
        for name in CLASS_LAYERS:
            outputs = self.base.layer(name).outputs
            part = flat[:, start : start + outputs * self.rank]
            start += outputs * self.rank
            yield name, part.reshape(-1, outputs, self.rank)
