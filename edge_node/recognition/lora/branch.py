"""A low-rank branch beside the crossbars of one layer, for every node its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.recognition.lora.storage import Storage, StoredMatrix
from hwmodel import Cost, Precision, Preset, cost
from hwmodel.nn import Meter


@dataclass(frozen=True, eq=False, slots=True)
class LoraBranch:
    """``B (A x)`` of one layer on N nodes: a `correction` of `hwmodel.nn`.

    Attributes
    ----------
    a, b
        Values of the factors as stored, float32 ``[N, r, in]`` and ``[N, out, r]``.
    storage
        Number format in SRAM.
    preset
        Whose digital unit and SRAM compute it.
    meter
        Charged with every use.
    """

    a: Tensor
    b: Tensor
    storage: Storage
    preset: Preset
    meter: Meter

    @classmethod
    def stored(cls, a: Tensor, b: Tensor, storage: Storage, *, preset: Preset, meter: Meter) -> LoraBranch:
        """Return a branch whose factors have gone through `storage`.

        Raises
        ------
        AdapterValueError
            If a value is not finite, or does not fit into the format.
        """
        return cls(_kept(a, storage), _kept(b, storage), storage, preset, meter)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return ``[N, V, out]`` for vectors ``[N, V, in]``, and charge V uses of every node."""
        self.meter.ledger.charge(self.meter.phase, self.use_cost * vectors.shape[1])
        return vectors @ self.a.to(vectors.dtype).mT @ self.b.to(vectors.dtype).mT

    @property
    def rank(self) -> int:
        """Rank r."""
        return self.a.shape[1]

    @property
    def parameters(self) -> int:
        """Numbers in both factors, of one node."""
        return self.a[0].numel() + self.b[0].numel()

    @property
    def sram_bytes(self) -> int:
        """Bytes in the SRAM of one node, scales included."""
        return sum(self.storage.byte_count(*factor.shape[1:]) for factor in (self.a, self.b))

    @property
    def use_cost(self) -> Cost:
        """One vector on one node: the products, and fetching the factors, as for every use of a LoRA."""
        precision = Precision(self.storage.value)
        macs = cost.digital_macs(self.preset, self.parameters, precision)
        return macs + cost.sram_read(self.preset, self.sram_bytes)


def _kept(factors: Tensor, storage: Storage) -> Tensor:
    return torch.stack([StoredMatrix.of(f, storage).values() for f in factors]).to(torch.float32)
