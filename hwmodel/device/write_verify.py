"""Programming cells by pulses, each followed by a read, until the read is inside the tolerance.

What it takes, in closed form (the default) and pulse by pulse, cell by cell: the oracle of the former. Both stand on
the pulse of `pulse_law`, which has no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwmodel.device.keys import CellKey
from hwmodel.device.models import DeviceModels
from hwmodel.device.pulse_law import hit_probability, mean_pulses, pulse_price, verified_variance_us2
from hwmodel.device.stuck import StuckCells
from hwmodel.device.window import ConductanceWindow
from hwmodel.errors import DeviceError
from hwmodel.ledger import Cost
from hwmodel.presets.preset import Preset
from hwmodel.streams import normal_quantiles


@dataclass(frozen=True, slots=True)
class WriteVerifyResult:
    """Pulses, energy, time and wear of write-verifying some cells, expected or counted; several lots add up.

    Attributes
    ----------
    pulses
        SET and RESET pulses, all cells together.
    not_converged
        Cells that spent all their pulses outside the tolerance; a fraction where it is an expectation. They are a
        result, not an error: they stay where the last pulse left them.
    energy_j
        Pulses and verify reads, J.
    seconds
        Time on the chip, s, with `parallel_cells` cells at work at any time.
    wear
        Share of its endurance that the mean cell lost.
    """

    cells: int
    pulses: int
    not_converged: float
    energy_j: float
    seconds: float
    wear: float

    @property
    def pulses_per_cell(self) -> float:
        """Mean pulses of a cell; 0 if there are no cells."""
        return self.pulses / self.cells if self.cells else 0.0

    @property
    def not_converged_share(self) -> float:
        """Share of the cells that did not converge; 0 if there are no cells."""
        return self.not_converged / self.cells if self.cells else 0.0

    @property
    def cost(self) -> Cost:
        """The same as an entry for an energy ledger."""
        return Cost(self.energy_j, self.seconds, cell_writes=self.pulses)

    def __add__(self, other: WriteVerifyResult) -> WriteVerifyResult:
        """Return the result of both lots, on the same chip one after the other."""
        if not isinstance(other, WriteVerifyResult):
            return NotImplemented
        cells = self.cells + other.cells
        return WriteVerifyResult(
            cells=cells,
            pulses=self.pulses + other.pulses,
            not_converged=self.not_converged + other.not_converged,
            energy_j=self.energy_j + other.energy_j,
            seconds=self.seconds + other.seconds,
            wear=(self.wear * self.cells + other.wear * other.cells) / cells if cells else 0.0,
        )


@dataclass(frozen=True, eq=False, slots=True)
class SimulatedWriteVerify:
    """Outcome of `simulate_write_verify`, cell by cell; all tensors have the shape of the targets.

    Attributes
    ----------
    levels
        Where the cells are when their write-verify ends, int32.
    deviation_us
        Distance from the target at that moment before clipping, uS, float64; for `cell_levels`.
    pulses
        Pulses of each cell, int32.
    converged
        Whether the last verify read was inside the tolerance, bool.
    verified_variance_us2
        Variance of the error of a converged cell, uS^2 (`verified_variance_us2`).
    """

    levels: Tensor
    deviation_us: Tensor
    pulses: Tensor
    converged: Tensor
    verified_variance_us2: float
    result: WriteVerifyResult


def expected_write_verify(
    preset: Preset, cells: int, *, stuck_cells: StuckCells | None = None, mean_conductance_us: float | None = None
) -> WriteVerifyResult:
    """Return what write-verify takes on average, in closed form.

    ``pulses = cells n`` (`mean_pulses`), each ``V_p^2 G t_p + E_line`` and a verify read
    ``V_r^2 G t_r + E_adc + E_tia``, in ``(t_p + t_r + t_adc) / parallel``. Not converged: the stuck cells, and
    ``(1 - p)^n_max`` of the others. Stuck cells, and G, the mean target, are the preset's if None. Raises `DeviceError`
    if `cells` or the conductance is negative.
    """
    if cells < 0:
        raise DeviceError(f"cannot program {cells} cells")
    programming = preset.write_verify
    stuck = stuck_cells or StuckCells(preset.cell.stuck_low_share, preset.cell.stuck_high_share)
    conductance_us = preset.mean_conductance_us if mean_conductance_us is None else mean_conductance_us
    if not conductance_us >= 0:
        raise DeviceError(f"a conductance is not negative; got {conductance_us} uS")
    tolerance_us, sigma_us = programming.tolerance_us, programming.first_pulse_sigma_us
    pulses = round(cells * mean_pulses(tolerance_us, sigma_us, programming.max_pulses, stuck.share))
    missed = (1 - float(hit_probability(tolerance_us, sigma_us))) ** programming.max_pulses
    return _result(
        preset,
        cells=cells,
        pulses=pulses,
        not_converged=cells * (stuck.share + (1 - stuck.share) * missed),
        pulsed_conductance_s=pulses * conductance_us * 1e-6,
    )


def simulate_write_verify(
    targets: Tensor, preset: Preset, *, key: CellKey, models: DeviceModels | None = None
) -> SimulatedWriteVerify:
    """Program cells pulse by pulse.

    Every pulse lands a cell at ``target + sigma_1 z`` with a fresh keyed z; its energy, and that of the verify read
    after it, is taken at the conductance where it lands, on the grid and held between floor and ceiling. The verify
    itself sees the landing unclipped: sigma_1 was fitted to the mean of all cells, those at the ends of the window
    included. A stuck cell is accepted at once if it rests within the tolerance of its target, else never. Raises
    `DeviceError` if a target is outside the window.

    Parameters
    ----------
    targets
        Wanted levels inside the window, any integer dtype and shape.
    key
        Whose cells these are; names every draw. Draws depend neither on the targets nor on stuck cells.
    models
        For their stuck cells; the preset's if None.
    """
    programming, window = preset.write_verify, ConductanceWindow.of(preset)
    models = DeviceModels.of(preset) if models is None else models
    window.rows_of(targets)
    target_us = window.to_us(targets.reshape(-1))
    count, tolerance_us = len(target_us), programming.tolerance_us

    deviation_us = torch.zeros(count, dtype=torch.float64)
    pulses = torch.full((count,), programming.max_pulses, dtype=torch.int32)
    converged = torch.zeros(count, dtype=torch.bool)
    landed = torch.zeros(count, dtype=torch.int64)  # the levels after each pulse, added up: exact
    left = torch.arange(count)
    for pulse in range(1, programming.max_pulses + 1):
        landing_us = normal_quantiles(key.pulse_draws(pulse, len(left))) * programming.first_pulse_sigma_us
        deviation_us[left] = landing_us
        landed[left] += window.to_levels(target_us[left] + landing_us)
        accepted = landing_us.abs() <= tolerance_us
        pulses[left[accepted]] = pulse
        converged[left[accepted]] = True
        left = left[~accepted]
        if len(left) == 0:
            break

    low, high = models.stuck_cells.where(key, count)
    stuck = low | high
    resting = torch.where(low, window.min_level, window.max_level)[stuck]
    deviation_us[stuck] = window.to_us(resting) - target_us[stuck]
    converged[stuck] = deviation_us[stuck].abs() <= tolerance_us
    pulses[stuck] = torch.where(converged[stuck], 1, programming.max_pulses).to(torch.int32)
    landed[stuck] = resting * pulses[stuck]

    result = _result(
        preset,
        cells=count,
        pulses=int(pulses.sum()),
        not_converged=int(count - converged.sum()),
        pulsed_conductance_s=int(landed.sum()) * window.grid_us * 1e-6,
    )
    return SimulatedWriteVerify(
        levels=window.to_levels(target_us + deviation_us).view(targets.shape),
        deviation_us=deviation_us.view(targets.shape),
        pulses=pulses.view(targets.shape),
        converged=converged.view(targets.shape),
        verified_variance_us2=verified_variance_us2(tolerance_us, programming.first_pulse_sigma_us),
        result=result,
    )


def _result(
    preset: Preset, *, cells: int, pulses: int, not_converged: float, pulsed_conductance_s: float
) -> WriteVerifyResult:
    """Price pulses whose conductances (siemens) add up to `pulsed_conductance_s`."""
    energy_j, seconds = pulse_price(preset, pulses, pulsed_conductance_s)
    return WriteVerifyResult(
        cells=cells,
        pulses=pulses,
        not_converged=not_converged,
        energy_j=energy_j,
        seconds=seconds,
        wear=pulses / cells / preset.cell.endurance_cycles if cells else 0.0,
    )
