"""Numbers that the cost formulas compute on: of one technology, or of many draws of it at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwmodel.errors import CostError
from hwmodel.ledger import Cost
from hwmodel.presets.technology import Numbers

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class CostDraws:
    """A `Cost` under each draw of a `PresetSample`; adds up like `Cost`.

    Raises `CostError` if the arrays are not one-dimensional and of one length, or hold something negative or not
    finite.

    Attributes
    ----------
    energy_j, seconds
        float64 ``[draws]``.
    bytes
        Bytes moved; no number of a preset changes them.
    cell_writes
        Whole numbers of pulses, float64 ``[draws]``.
    """

    energy_j: Reals
    seconds: Reals
    bytes: int
    cell_writes: Reals

    def __post_init__(self) -> None:
        for name in ("energy_j", "seconds", "cell_writes"):
            values = getattr(self, name)
            if values.shape != self.energy_j.shape or values.ndim != 1:
                raise CostError(
                    f"{name} has shape {values.shape}; one number per draw, {self.energy_j.shape}, is wanted"
                )
            if not bool(np.all(np.isfinite(values) & (values >= 0))):
                raise CostError(f"{name} must be finite and not negative in every draw")
        if self.bytes < 0:
            raise CostError(f"bytes must not be negative; got {self.bytes}")

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(self.energy_j)

    def __getitem__(self, draw: int) -> Cost:
        """Return the cost under one draw."""
        return Cost(float(self.energy_j[draw]), float(self.seconds[draw]), self.bytes, int(self.cell_writes[draw]))

    def __add__(self, other: CostDraws) -> CostDraws:
        if not isinstance(other, CostDraws):
            return NotImplemented
        if other.draws != self.draws:
            raise CostError(f"cannot add costs of {self.draws} and of {other.draws} draws")
        return CostDraws(
            self.energy_j + other.energy_j,
            self.seconds + other.seconds,
            self.bytes + other.bytes,
            self.cell_writes + other.cell_writes,
        )

    def __mul__(self, times: int) -> CostDraws:
        if not isinstance(times, int):
            return NotImplemented
        return CostDraws(self.energy_j * times, self.seconds * times, self.bytes * times, self.cell_writes * times)

    __rmul__ = __mul__


#: `Cost` for a `Preset`, `CostDraws` for a `PresetSample`.
AnyCost = TypeVar("AnyCost", Cost, CostDraws)
_AnyCost_co = TypeVar("_AnyCost_co", Cost, CostDraws, covariant=True)


class Technology(Numbers, Protocol[_AnyCost_co]):
    """`hwmodel.Preset` or `hwmodel.PresetSample`: numbers, and the type of cost that they give."""

    def priced(self, energy_j: Any = 0.0, seconds: Any = 0.0, *, bytes: int = 0, cell_writes: Any = 0) -> _AnyCost_co:
        """Return what a formula found as a cost."""


def refuse_negative(**amounts: float) -> None:
    """Raise a `CostError` that names an amount below zero, if one is."""
    for name, amount in amounts.items():
        if not amount >= 0:
            raise CostError(f"{name} must not be negative; got {amount}")
