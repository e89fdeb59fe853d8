"""The chip model beside what was published: errors of cells, relaxation, pulses of write-verify."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

import hwmodel
from fleet.documents import Document, document
from fleet.errors import InvalidInputError
from hwmodel import PulseComparison, SampledError

DAY_S = 86_400.0

#: Ages of the published fits.
AGES_S = (1.0, DAY_S, 2 * DAY_S)

#: Half-widths of the acceptance window at which pulses are compared, uS.
TOLERANCES_US = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0)

#: Standard errors by which simulated pulses may miss the closed form. The number of pulses of a cell is
#: geometric, so its standard deviation is at most its mean.
STANDARD_ERRORS = 5.0

#: Share by which simulated energy may differ beside that: landings that the floor samples raise it by 1 %.
ENERGY_SHARE = 0.02

#: The preset whose cells the fits describe.
PRESET = "130nm-neurram"


@dataclass(frozen=True, eq=False, slots=True)
class ChipFits:
    """Simulated cells beside fits, and simulated pulses beside the closed form."""

    cells: int  #: simulated per point
    seed: int
    errors: tuple[SampledError, ...]
    pulses: tuple[PulseComparison, ...]

    @property
    def hold(self) -> bool:
        """Whether cells are within the tolerance of the fits at every age, and pulses of the closed form."""
        return all(error.worst_share_of_tolerance < 1 for error in self.errors) and all(
            pulses_hold(comparison, self.cells) for comparison in self.pulses
        )


def pulses_hold(comparison: PulseComparison, cells: int) -> bool:
    """Return whether so many simulated cells took the pulses and joules of the closed form.

    Pulses within `STANDARD_ERRORS`, energy within these and `ENERGY_SHARE`, and cells that did not converge within as
    many standard errors of a binomial share and one cell.
    """
    error = STANDARD_ERRORS / math.sqrt(cells)
    missed = comparison.expected_not_converged_share
    return (
        abs(comparison.simulated_pulses / comparison.expected_pulses - 1) <= error
        and abs(comparison.simulated_energy_j / comparison.expected_energy_j - 1) <= error + ENERGY_SHARE
        and abs(comparison.simulated_not_converged_share - missed)
        <= error * math.sqrt(missed * (1 - missed)) + 1 / cells
    )


def chip_fits(
    *,
    cells: int,
    seed: int,
    progress: Callable[[str], None],
    ages_s: Sequence[float] = AGES_S,
    tolerances_us: Sequence[float] = TOLERANCES_US,
) -> ChipFits:
    """Simulate cells of the preset `PRESET` and hold them against what was published.

    Raises `InvalidInputError` if there are too few cells, or an age or tolerance is out of its range.

    Parameters
    ----------
    cells, seed
        Cells per point, and the seed of their draws.
    ages_s
        Seconds since programming, 1 s to 2 days.
    tolerances_us
        Half-widths of the acceptance window.
    """
    preset = hwmodel.load_preset(PRESET)
    errors = []
    try:
        for age_s in ages_s:
            progress(f"Programming error after {age_s:g} s, {cells} cells at each conductance")
            errors.append(hwmodel.sampled_programming_error(age_s, preset=preset, cells=cells, fleet_seed=seed))
        progress(f"Write-verify pulse by pulse, {cells} cells at each tolerance")
        pulses = hwmodel.pulses_against_tolerance(preset, tolerances_us, cells=cells, fleet_seed=seed)
    except (hwmodel.DeviceError, hwmodel.PresetError) as error:
        raise InvalidInputError(str(error)) from error
    return ChipFits(cells, seed, tuple(errors), pulses)


def fits_document(fits: ChipFits) -> Document:
    """Return the comparison as JSON; null where a fit says nothing."""
    return document(
        "ChipFits",
        preset=PRESET,
        cells=fits.cells,
        seed=fits.seed,
        holds=fits.hold,
        programming_error=[
            {
                "age_s": error.age_s,
                "worst_deviation_us": float(error.deviation_us.max()),
                "worst_share_of_tolerance": error.worst_share_of_tolerance,
                "rival_worst_deviation_us": _rival_deviation_us(error),
                "points": [
                    {
                        "conductance_us": g,
                        "fit_us": fit,
                        "rival_us": None if np.isnan(rival) else rival,
                        "sampled_us": sampled,
                    }
                    for g, fit, rival, sampled in zip(
                        error.conductance_us.tolist(),
                        error.fit_us.tolist(),
                        error.rival_us.tolist(),
                        error.sampled_us.tolist(),
                        strict=True,
                    )
                ],
            }
            for error in fits.errors
        ],
        write_verify=[
            asdict(comparison) | {"holds": pulses_hold(comparison, fits.cells)} for comparison in fits.pulses
        ],
    )


def _rival_deviation_us(error: SampledError) -> float | None:
    apart = np.abs(error.rival_us - error.fit_us)
    return None if np.isnan(apart).all() else float(np.nanmax(apart))
