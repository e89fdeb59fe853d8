"""The ReRAM cell: conductance window, error after write-verify, pulses that it takes, wear.

Conductances are whole numbers of grid steps ("levels"), so that everything built on them is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hwmodel.errors import DeviceError
from hwmodel.preset import Preset
from hwmodel.streams import normal_quantiles


@dataclass(frozen=True, slots=True)
class ConductanceWindow:
    """The conductances that a cell can hold, on their grid.

    Attributes
    ----------
    min_level, max_level
        Ends of the window in grid steps.
    grid_us
        Microsiemens per grid step.
    """

    min_level: int
    max_level: int
    grid_us: float

    @classmethod
    def of(cls, preset: Preset) -> ConductanceWindow:
        """Return the window of a preset, e.g. levels 320 to 1280 of 0.0625 uS for 20 to 80 uS."""
        grid_us = preset.cell.conductance_grid_us
        return cls(
            round(preset.cell.conductance_min_us / grid_us),
            round(preset.cell.conductance_max_us / grid_us),
            grid_us,
        )

    @property
    def mid_level(self) -> int:
        """Level of the middle of the window; presets whose middle is off the grid do not load."""
        return (self.min_level + self.max_level) // 2

    @property
    def half_span(self) -> int:
        """Levels from the middle to either end: the full scale of an offset-mapped weight."""
        return self.max_level - self.mid_level

    def to_us(self, levels: Tensor) -> Tensor:
        """Return float64 conductances in microsiemens."""
        return levels.to(torch.float64) * self.grid_us


class ProgrammingError(Protocol):
    """What is left between the target and the conductance of a cell after write-verify."""

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return the standard deviation (uS, float64) at each target conductance (uS, float64)."""
        ...


@dataclass(frozen=True, slots=True)
class ConstantProgrammingError:
    """The same normal error at every conductance: what the code of arXiv 2601.10037 does.

    Attributes
    ----------
    sigma
        Standard deviation in uS; 1 in the paper's restore run, swept from 1 to 10.

    Raises
    ------
    DeviceError
        If sigma is negative or not finite.
    """

    sigma: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise DeviceError(
                f"sigma of the programming error must be finite and not negative; got {self.sigma} uS"
            )

    def sigma_us(self, conductance_us: Tensor) -> Tensor:
        """Return `sigma` for every cell."""
        return torch.full_like(conductance_us, self.sigma)


def programmed_levels(
    targets: Tensor, draws: Tensor, error: ProgrammingError, window: ConductanceWindow
) -> Tensor:
    """Return where cells end up: target plus error, on the grid, clipped to the window.

    Parameters
    ----------
    targets
        Wanted levels, any integer dtype and shape.
    draws
        Uniform draws from 0 ... 65535 (`hwmodel.keyed_uint16`), same number of elements.
    error
        The model of the error.
    window
        Conductance window.

    Returns
    -------
    Tensor
        int32, shape of `targets`.
    """
    z = normal_quantiles(draws.view(targets.shape))
    deviation = (error.sigma_us(window.to_us(targets)) / window.grid_us * z).round_().to(torch.int32)
    return (targets.to(torch.int32) + deviation).clamp_(window.min_level, window.max_level)


def pulses_per_cell(preset: Preset) -> float:
    """Return the mean number of SET and RESET pulses that write-verify gives a cell.

    ``n(tol) = min(n_max, 1 / erf(tol / (sqrt(2) sigma_1)))``: each pulse lands inside the tolerance with
    the probability of a normal error of `first_pulse_sigma_us`. One free constant, fitted to the 8.52 pulses
    at +-1 uS of Wan et al., Nature 608, 504 (2022).
    """
    programming = preset.write_verify
    hit = math.erf(programming.tolerance_us / (math.sqrt(2) * programming.first_pulse_sigma_us))
    return min(float(programming.max_pulses), 1 / hit)


def programming_pulses(preset: Preset, cells: int) -> int:
    """Return the pulses that programming `cells` cells takes: closed form, rounded to whole pulses."""
    if cells < 0:
        raise DeviceError(f"cannot program {cells} cells")
    return round(cells * pulses_per_cell(preset))


@dataclass(frozen=True, slots=True)
class Endurance:
    """How much of a cell's life pulses take.

    Attributes
    ----------
    cycles
        Pulses until failure.
    """

    cycles: float

    def used(self, pulses_per_cell: float) -> float:
        """Return the share of a cell's life that so many pulses take; above 1 it is worn out."""
        return pulses_per_cell / self.cycles

    def programmings_left(self, preset: Preset, pulses_spent_per_cell: float = 0.0) -> int:
        """Return how often a cell can still be programmed by write-verify."""
        left = self.cycles - pulses_spent_per_cell
        return max(0, math.floor(left / pulses_per_cell(preset)))
