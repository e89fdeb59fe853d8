"""How pulses wear a cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from hwmodel.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Endurance:
    """How much of a cell's life pulses take: each the same share, whatever it writes.

    Raises `DeviceError` if `cycles` is not positive and finite.

    Attributes
    ----------
    cycles
        Pulses until failure; published parts last 1e5 to 1e9.
    """

    source: ClassVar[str] = "Xia et al., DAC 2017; Gd:HfO2 1e9, Adv. Sci. 2025"

    cycles: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cycles) and self.cycles > 0):
            raise DeviceError(f"a cell lives for a positive number of pulses; got {self.cycles}")

    def used(self, pulses_per_cell: float) -> float:
        """Return the share of a cell's life that so many pulses take; above 1 it is worn out."""
        return pulses_per_cell / self.cycles
