"""Voltage lost along a bit line, to first order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hwmodel.device.window import ConductanceWindow
from hwmodel.errors import DeviceError


@dataclass(frozen=True, slots=True)
class IrDrop:
    """A cell far from the sense amplifier sees less voltage, and so counts as a smaller conductance.

    The i-th of n cells from the amplifier loses ``dV/V = r G a (i n - i^2 / 2)``, at the far end ``r G a n^2 / 2``:
    each stretch of wire carries the current of all cells beyond it, taken to be that of the column's mean conductance G
    at the activity a. First order: the lost current is not taken off again, and the drop does not follow the single
    input. 128 cells, 50 uS, a = 0.3: 1.2 % at 0.1 ohm (wide metal), 8.6 % at 0.7 ohm (minimum metal 1, 2.2 um pitch).
    Word lines are not in it. Raises `DeviceError` if the resistance is negative or not finite, or the activity outside
    0 to 1.

    Attributes
    ----------
    wire_resistance_ohm
        Resistance of the bit line from one cell to the next; 0 switches the model off.
    activity
        Mean current of a cell as a share of that at full drive, 0 to 1. Signed drives partly cancel along a column;
        presets give their mean-square drive, 0.33 for codes spread evenly (the reference case: 0.3).
    """

    #: Beyond this, what the lost current changes in turn (about the square: 4 %) is no longer small.
    max_drop: ClassVar[float] = 0.2
    source: ClassVar[str] = "first-order ladder with uniform current; calc: 0.1 to 0.7 ohm per cell"

    wire_resistance_ohm: float
    activity: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.wire_resistance_ohm) and self.wire_resistance_ohm >= 0):
            raise DeviceError(f"wire resistance must be finite and not negative; got {self.wire_resistance_ohm} ohm")
        if not 0 <= self.activity <= 1:
            raise DeviceError(f"activity is a share of full drive, 0 to 1; got {self.activity}")

    @property
    def present(self) -> bool:
        """Whether any voltage is lost."""
        return self.wire_resistance_ohm > 0 and self.activity > 0

    def far_end_drop(self, rows: int, mean_conductance_us: float) -> float:
        """Return ``dV/V`` of the cell farthest from the amplifier: ``n^2 / 2 r G a``."""
        return 0.5 * rows * rows * self.wire_resistance_ohm * mean_conductance_us * 1e-6 * self.activity

    def seen(self, levels: Tensor, window: ConductanceWindow, tile_rows: int) -> Tensor:
        """Return the levels that the amplifiers see, rounded to the grid.

        Returns int32 ``[inputs, columns]``; `levels` itself if no voltage is lost. Raises `DeviceError` if a column
        would lose more than `max_drop` at its far end, where first order stops holding, or a tile has no rows.

        Parameters
        ----------
        levels
            Levels of physical columns, integers ``[inputs, columns]``; row 0 of each tile is nearest to its amplifier.
        window
            Conductance window; only its grid matters, since what is seen may lie below the floor.
        tile_rows
            Rows of a tile. The last tile may be shorter: rows that hold no weight are not driven.
        """
        if tile_rows < 1:
            raise DeviceError(f"a tile has at least one row; got {tile_rows}")
        if not self.present:
            return levels
        tiles = [levels[top : top + tile_rows] for top in range(0, len(levels), tile_rows)]
        return torch.cat([self._seen_in_tile(tile, window) for tile in tiles])

    def _seen_in_tile(self, levels: Tensor, window: ConductanceWindow) -> Tensor:
        rows = len(levels)
        # A sum of whole numbers, so the mean is the same in any order of summation.
        mean_us = levels.sum(dim=0, dtype=torch.int64).to(torch.float64) * (window.grid_us / rows)
        worst_us = float(mean_us.max())
        if not (worst := self.far_end_drop(rows, worst_us)) <= self.max_drop:
            raise DeviceError(
                f"{rows} cells of {worst_us:.3g} uS on a wire of {self.wire_resistance_ohm:g} ohm per cell "
                f"lose {worst:.0%} at the far end; first order holds to {self.max_drop:.0%}: use fewer tile "
                "rows, a lower conductance or a wider wire"
            )
        place = torch.arange(1, rows + 1, dtype=torch.float64)
        profile = (place * rows - place * place * 0.5) * (self.wire_resistance_ohm * 1e-6 * self.activity)
        return (levels.to(torch.float64) * (1 - profile.unsqueeze(1) * mean_us)).round_().int()
