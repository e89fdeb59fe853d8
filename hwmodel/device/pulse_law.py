"""Pulses of write-verify in closed form: their number, their price, and the error that is accepted.

The model of a pulse has no memory: it lands the cell with a normal error of `first_pulse_sigma_us` around the target,
so each pulse is accepted with the same probability p. sigma_1 = 6.77 uS is its one free constant, fitted to the 8.52
pulses per cell at +-1 uS of Wan et al., Nature 608, 504 (2022).
"""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hwmodel.converter import conversion_j
from hwmodel.errors import DeviceError
from hwmodel.presets.preset import Preset
from hwmodel.presets.technology import Numbers


def hit_probability(
    tolerance_us: float | NDArray[np.float64], sigma_us: float | NDArray[np.float64]
) -> float | NDArray[np.float64]:
    """Return the probability p that a pulse lands within the tolerance: ``erf(tol / (sqrt(2) sigma_1))``."""
    ratio = np.asarray(tolerance_us / (math.sqrt(2) * sigma_us), dtype=np.float64)
    if ratio.ndim == 0:
        return math.erf(float(ratio))
    return np.array([math.erf(x) for x in ratio.flat], dtype=np.float64).reshape(ratio.shape)


@overload
def mean_pulses(
    tolerance_us: float, first_pulse_sigma_us: float, max_pulses: int, stuck_share: float = 0.0
) -> float: ...


@overload
def mean_pulses(
    tolerance_us: float | NDArray[np.float64],
    first_pulse_sigma_us: float | NDArray[np.float64],
    max_pulses: int,
    stuck_share: float | NDArray[np.float64] = 0.0,
) -> float | NDArray[np.float64]: ...


def mean_pulses(
    tolerance_us: float | NDArray[np.float64],
    first_pulse_sigma_us: float | NDArray[np.float64],
    max_pulses: int,
    stuck_share: float | NDArray[np.float64] = 0.0,
) -> float | NDArray[np.float64]:
    """Return the mean pulses of a cell: a geometric law cut off at `max_pulses`.

    ``(1 - s) (1 - (1 - p)^n_max) / p + s n_max`` with ``p = erf(tol / (sqrt(2) sigma_1))``: stuck cells spend all their
    pulses. Those that happen to rest within the tolerance of their target do not, which only the simulation knows: of
    differential cells that is up to half of the ones stuck low. A float if all arguments are numbers, else an array.
    Raises `DeviceError` if a tolerance or error is not positive, `max_pulses` less than 1 or a share outside 0 to 1.

    Parameters
    ----------
    tolerance_us, first_pulse_sigma_us
        Half-width of the acceptance window and error of a pulse, uS, positive; numbers or arrays.
    max_pulses
        Pulses after which a cell is given up.
    stuck_share
        Share s of stuck cells.
    """
    if not (
        np.all(np.greater(tolerance_us, 0))
        and np.all(np.greater(first_pulse_sigma_us, 0))
        and np.all((np.asarray(stuck_share) >= 0) & (np.asarray(stuck_share) <= 1))
        and max_pulses >= 1
    ):
        raise DeviceError(
            f"write-verify needs a positive tolerance and pulse error, a pulse and a share of stuck cells in "
            f"0 to 1; got {tolerance_us} uS, {first_pulse_sigma_us} uS, {max_pulses} pulses, {stuck_share}"
        )
    hit = hit_probability(tolerance_us, first_pulse_sigma_us)
    healthy = (1 - (1 - hit) ** max_pulses) / hit
    mean = (1 - stuck_share) * healthy + stuck_share * max_pulses
    return mean if isinstance(mean, np.ndarray) else float(mean)


@overload
def pulses_per_cell(technology: Preset) -> float: ...


@overload
def pulses_per_cell(technology: Numbers) -> Any: ...


def pulses_per_cell(technology: Numbers) -> Any:
    """Return the mean pulses that write-verify gives a cell (`mean_pulses`); an array for a sample."""
    programming, cell = technology.write_verify, technology.cell
    return mean_pulses(
        programming.tolerance_us,
        programming.first_pulse_sigma_us,
        programming.max_pulses,
        cell.stuck_low_share + cell.stuck_high_share,
    )


def pulse_price(technology: Numbers, pulses: Any, pulsed_conductance_s: Any) -> tuple[Any, Any]:
    """Return energy, J, and time, s, of pulses with the verify read after each.

    A pulse costs ``V_p^2 G t_p + E_line`` and its read ``V_r^2 G t_r + E_adc + E_tia``; both take
    ``(t_p + t_r + t_adc) / parallel``. `pulsed_conductance_s` is the sum over them of the conductance G where each
    lands, siemens. Arrays for a sample.
    """
    programming, read, converter = technology.write_verify, technology.read, technology.converter
    j_per_siemens = programming.pulse_voltage_v**2 * programming.pulse_width_s + read.voltage_v**2 * read.time_s
    adc_j = conversion_j(converter.adc_j_per_step, converter.adc_bits)
    j_per_pulse = programming.line_energy_j + adc_j + converter.tia_j
    step_s = programming.pulse_width_s + read.time_s + converter.adc_s
    energy_j = pulses * j_per_pulse + pulsed_conductance_s * j_per_siemens
    return energy_j, pulses * step_s / programming.parallel_cells


def verified_variance_us2(tolerance_us: float, first_pulse_sigma_us: float) -> float:
    """Return the variance of an accepted cell's error, uS^2: a normal law cut off at +-tolerance.

    ``sigma_1^2 (1 - 2 a phi(a) / (2 Phi(a) - 1))``, ``a = tol / sigma_1``; ``tol^2 / 3`` where a is small.
    """
    a = tolerance_us / first_pulse_sigma_us
    if a < 1e-3:
        # The formula subtracts nearly equal numbers; the next term of the series is a^2 / 15 of this one.
        return tolerance_us**2 / 3
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    return first_pulse_sigma_us**2 * (1 - 2 * a * density / math.erf(a / math.sqrt(2)))
