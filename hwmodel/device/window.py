"""The conductances that a cell can be asked for, and those that it can drift to, on their grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwmodel.errors import DeviceError
from hwmodel.presets.preset import Preset


@dataclass(frozen=True, slots=True)
class ConductanceWindow:
    """The conductances of a cell, as whole numbers of grid steps ("levels").

    Attributes
    ----------
    min_level, max_level
        Ends of the window that targets lie in.
    grid_us
        Microsiemens per level.
    floor_level, ceiling_level
        Ends of what error and relaxation can bring a cell to; the window lies between them.
    """

    min_level: int
    max_level: int
    grid_us: float
    floor_level: int
    ceiling_level: int

    @classmethod
    def of(cls, preset: Preset) -> ConductanceWindow:
        """Return the window of a preset, e.g. levels 320 to 1280 of 0.0625 uS for 20 to 80 uS."""
        cell = preset.cell
        grid_us = cell.conductance_grid_us
        return cls(
            round(cell.conductance_min_us / grid_us),
            round(cell.conductance_max_us / grid_us),
            grid_us,
            round(cell.conductance_floor_us / grid_us),
            round(cell.conductance_ceiling_us / grid_us),
        )

    @property
    def mid_level(self) -> int:
        """Level of the middle of the window; presets whose middle is off the grid do not load."""
        return (self.min_level + self.max_level) // 2

    @property
    def half_span(self) -> int:
        """Levels from the middle to either end: the full scale of an offset-mapped weight."""
        return self.max_level - self.mid_level

    @property
    def levels(self) -> Tensor:
        """Every level that can be a target, int32 ``[max_level - min_level + 1]``."""
        return torch.arange(self.min_level, self.max_level + 1, dtype=torch.int32)

    def to_us(self, levels: Tensor) -> Tensor:
        """Return float64 conductances in microsiemens."""
        return levels.to(torch.float64) * self.grid_us

    def to_levels(self, conductance_us: Tensor) -> Tensor:
        """Return the nearest levels, int32, held between floor and ceiling."""
        nearest = (conductance_us / self.grid_us).round_()
        return nearest.clamp_(self.floor_level, self.ceiling_level).to(torch.int32)

    def rows_of(self, targets: Tensor) -> Tensor:
        """Return each target's place in `levels`, int64: to look up what depends on the target alone.

        Raises `DeviceError` if the targets are not integers, or one lies outside the window.
        """
        if targets.dtype.is_floating_point or targets.dtype.is_complex or targets.dtype is torch.bool:
            raise DeviceError(f"targets are whole levels; got {targets.dtype}: round them to the grid first")
        if targets.numel():
            lowest, highest = (int(end) for end in torch.aminmax(targets))
            if lowest < self.min_level or highest > self.max_level:
                raise DeviceError(
                    f"targets reach from level {lowest} to {highest}; the window holds {self.min_level} to "
                    f"{self.max_level} ({self.min_level * self.grid_us:g} to "
                    f"{self.max_level * self.grid_us:g} uS): scale the weights into it"
                )
        return targets.to(torch.int64) - self.min_level
