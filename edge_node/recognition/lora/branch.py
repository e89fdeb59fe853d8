"""Low-rank branch beside the crossbars of one layer, for every node its own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hwmodel import Cost, Precision, Preset, cost
from hwmodel.nn import Meter

_NUMBER_BYTES = {Precision.INT8: 1, Precision.FP16: 2, Precision.FP32: 4}


def stored_bytes(precision: Precision, rows: int, columns: int) -> int:
    """Return the SRAM bytes of a factor; each row of an int8 matrix also has a float32 scale."""
    return rows * columns * _NUMBER_BYTES[precision] + (rows * 4 if precision is Precision.INT8 else 0)


@dataclass(frozen=True, eq=False, slots=True)
class LoraBranch:
    """``B (A x)`` of one layer on N nodes: a `correction` of `hwmodel.nn`.

    Attributes
    ----------
    a, b
        Values of the factors as stored, float32 ``[N, r, in]`` and ``[N, out, r]``.
    precision
        Number format in SRAM.
    preset
        Whose digital unit and SRAM compute it.
    meter
        Charged with every use.
    """

    a: Tensor
    b: Tensor
    precision: Precision
    preset: Preset
    meter: Meter

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
        return sum(stored_bytes(self.precision, *factor.shape[1:]) for factor in (self.a, self.b))

    @property
    def use_cost(self) -> Cost:
        """One vector on one node: the products, and fetching the factors, as for every use of a LoRA."""
        macs = cost.digital_macs(self.preset, self.parameters, self.precision)
        return macs + cost.sram_read(self.preset, self.sram_bytes)
