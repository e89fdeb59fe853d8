"""The models held against what was published: sampled cells and fits, simulated and expected pulses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from hwmodel.device.cells import cell_levels
from hwmodel.device.keys import CellKey
from hwmodel.device.models import DeviceModels
from hwmodel.device.programming_error import PROGRAMMING_ERROR_FITS
from hwmodel.device.relaxation import WanRelaxation
from hwmodel.device.stuck import StuckCells
from hwmodel.device.window import ConductanceWindow
from hwmodel.device.write_verify import expected_write_verify, simulate_write_verify
from hwmodel.errors import DeviceError
from hwmodel.presets.preset import Preset, load_preset

#: Two fits of the same figure of Wan et al. differ by this much: nothing finer is supported by the data.
FIT_TOLERANCE_US = 0.35
FIT_TOLERANCE_SHARE = 0.15


@dataclass(frozen=True, eq=False, slots=True)
class SampledError:
    """Standard deviation of simulated cells beside the published fits, along the conductance.

    Attributes
    ----------
    conductance_us
        Targets, uS, float64 ``[points]``.
    fit_us
        Published standard deviation at this age (aihwkit's fit), uS.
    rival_us
        CrossSim's fit of the same figure, uS: at 1 s and to 39.26 uS; NaN where it says nothing.
    sampled_us
        Standard deviation of the simulated cells, uS.
    """

    age_s: float
    conductance_us: NDArray[np.float64]
    fit_us: NDArray[np.float64]
    rival_us: NDArray[np.float64]
    sampled_us: NDArray[np.float64]

    @property
    def deviation_us(self) -> NDArray[np.float64]:
        """Distance of the sampled cells from the fit, uS, not negative."""
        return np.abs(self.sampled_us - self.fit_us)

    @property
    def worst_share_of_tolerance(self) -> float:
        """Largest `deviation_us` as a share of `fit_tolerance_us`; the model holds while it is below 1."""
        return float(np.max(self.deviation_us / fit_tolerance_us(self.fit_us)))


@dataclass(frozen=True, slots=True)
class PulseComparison:
    """Closed form against pulse-by-pulse write-verify at one tolerance.

    Attributes
    ----------
    tolerance_us
        Half-width of the acceptance window, uS.
    expected_pulses, simulated_pulses
        Mean pulses per cell.
    expected_not_converged_share, simulated_not_converged_share
        Share of cells that spent all their pulses.
    expected_energy_j, simulated_energy_j
        Energy per cell, J.
    """

    tolerance_us: float
    expected_pulses: float
    simulated_pulses: float
    expected_not_converged_share: float
    simulated_not_converged_share: float
    expected_energy_j: float
    simulated_energy_j: float


def fit_tolerance_us(fit_us: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far a model may be from the fit and still agree with the data: max(0.35 uS, 15 %)."""
    return np.maximum(FIT_TOLERANCE_US, FIT_TOLERANCE_SHARE * fit_us)


def sampled_programming_error(
    age_s: float = 1.0, *, preset: Preset | None = None, points: int = 79, cells: int = 4000, fleet_seed: int = 0
) -> SampledError:
    """Program cells over the whole window, let them age, and measure their scatter.

    The cells have the Wan models and no stuck ones, and the preset's grid, window, floor and ceiling. Raises
    `DeviceError` if the age or the window is outside the fits, or there are fewer than 2 points or cells.

    Parameters
    ----------
    age_s
        Seconds since programming, 1 s to 2 days.
    preset
        Technology; ``130nm-neurram``, whose cells the fits describe, if None.
    points
        Targets, evenly spread from one end of the window to the other and rounded to the grid.
    cells
        Cells per target; the standard deviation is sampled to ``1 / sqrt(2 cells)`` of itself.
    """
    if points < 2 or cells < 2:
        raise DeviceError(f"scatter along a range needs 2 points and 2 cells; got {points} and {cells}")
    preset = load_preset("130nm-neurram") if preset is None else preset
    window = ConductanceWindow.of(preset)
    models = DeviceModels(PROGRAMMING_ERROR_FITS["wan-aihwkit"], WanRelaxation())
    places = torch.linspace(window.min_level, window.max_level, points, dtype=torch.float64)
    targets = places.round().to(torch.int32).unsqueeze(1).expand(points, cells)
    key = CellKey(fleet_seed, "fits", "sampled", 0, "cells")
    levels = cell_levels(targets, key=key, models=models, window=window, age_s=age_s)
    conductance = window.to_us(targets[:, 0])
    rival = torch.full_like(conductance, torch.nan)
    if age_s == 1.0:
        crosssim = PROGRAMMING_ERROR_FITS["wan-crosssim"]
        covered = (conductance >= crosssim.low_us) & (conductance <= crosssim.high_us)
        rival[covered] = crosssim.sigma_us(conductance[covered])
    return SampledError(
        age_s=age_s,
        conductance_us=conductance.numpy(),
        fit_us=WanRelaxation().total_sigma_us(conductance, age_s).numpy(),
        rival_us=rival.numpy(),
        sampled_us=window.to_us(levels).std(dim=1).numpy(),
    )


def pulses_against_tolerance(
    preset: Preset, tolerances_us: Sequence[float], *, cells: int = 20_000, fleet_seed: int = 0
) -> tuple[PulseComparison, ...]:
    """Write-verify cells at several tolerances, in closed form and pulse by pulse.

    Targets are spread evenly over the window, none is stuck. Where the window begins at the floor, landings clipped
    there raise the simulated energy a little (1 % for 1 to 40 uS above a floor of 0). Tolerances are half-widths of the
    acceptance window, uS, inside the preset's range. Raises `DeviceError` if there are no cells; `PresetError` if a
    tolerance is out of the range.
    """
    if cells < 1:
        raise DeviceError(f"a comparison needs at least one cell; got {cells}")
    window = ConductanceWindow.of(preset)
    spread = torch.linspace(window.min_level, window.max_level, cells, dtype=torch.float64)
    targets = spread.round().to(torch.int32)
    mean_us = float(window.to_us(targets).mean())
    healthy = StuckCells(0.0, 0.0)
    models = replace(DeviceModels.of(preset), stuck_cells=healthy)
    comparisons = []
    for tolerance_us in tolerances_us:
        changed = preset.with_values({"write_verify.tolerance_us": tolerance_us})
        key = CellKey(fleet_seed, "fits", f"tolerance {tolerance_us}", 0, "cells")
        expected = expected_write_verify(changed, cells, stuck_cells=healthy, mean_conductance_us=mean_us)
        simulated = simulate_write_verify(targets, changed, key=key, models=models).result
        comparisons.append(
            PulseComparison(
                tolerance_us=tolerance_us,
                expected_pulses=expected.pulses_per_cell,
                simulated_pulses=simulated.pulses_per_cell,
                expected_not_converged_share=expected.not_converged_share,
                simulated_not_converged_share=simulated.not_converged_share,
                expected_energy_j=expected.energy_j / cells,
                simulated_energy_j=simulated.energy_j / cells,
            )
        )
    return tuple(comparisons)
