"""Levels of the cells of a plane: the device models put together, on the grid."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hwmodel.device.keys import CellKey
from hwmodel.device.models import DeviceModels
from hwmodel.device.window import ConductanceWindow
from hwmodel.device.write_verify import SimulatedWriteVerify
from hwmodel.errors import DeviceError
from hwmodel.streams import normal_quantiles


def cell_levels(
    targets: Tensor,
    *,
    key: CellKey,
    models: DeviceModels,
    window: ConductanceWindow,
    age_s: float = 1.0,
    verified: SimulatedWriteVerify | None = None,
) -> Tensor:
    """Return where programmed cells are at an age.

    ``G(t) = target + sigma_1s z1 + mean(t) + sigma_add(t) z2``, rounded to the grid once and held between floor and
    ceiling; then stuck cells are put where they rest. z1 and z2 are one draw each per cell and programming, so the same
    chip at another age differs by relaxation alone.

    After a pulse-by-pulse write-verify, ``sigma_1s z1`` is what that left (a truncated normal error, or a miss) plus
    what the first second adds: a normal shift of variance ``sigma_1s^2 - v``, not below 0, where v is the variance of
    the truncated error, tolerance^2 / 3 if it is narrow. So both ways have the same standard deviation at 1 s wherever
    the tolerance is not itself wider than the model. Cells that did not converge keep their last landing and come on
    top. Returns int32, shape of `targets`. Raises `DeviceError` if a target is outside the window, a model does not
    cover the whole window or the age, or `verified` has another shape.

    Parameters
    ----------
    targets
        Wanted levels inside the window, any integer dtype and shape.
    key
        Whose cells these are; names every draw.
    models
        Programming error, relaxation and stuck cells (read noise and IR drop act on what is read).
    verified
        Outcome of `simulate_write_verify` for the same targets and key; the closed form if None.
    """
    rows, known = window.rows_of(targets), window.to_us(window.levels)
    sigma_us = models.programming_error.sigma_us(known)
    shift = models.relaxation.shift(known, age_s)
    if verified is None:
        deviation = _scatter(sigma_us / window.grid_us, rows, key.programming_draws)
    else:
        if verified.deviation_us.shape != targets.shape:
            raise DeviceError(
                f"write-verify was simulated for cells {list(verified.deviation_us.shape)}; the targets are "
                f"{list(targets.shape)}"
            )
        settling_us = (sigma_us * sigma_us - verified.verified_variance_us2).clamp_(min=0).sqrt_()
        deviation = verified.deviation_us / window.grid_us
        deviation = deviation + _scatter(settling_us / window.grid_us, rows, key.settling_draws)
    if bool(shift.mean_us.any()):
        deviation = deviation + (shift.mean_us / window.grid_us)[rows]
    deviation = deviation + _scatter(shift.sigma_us / window.grid_us, rows, key.relaxation_draws)
    moved = targets.to(torch.float64) + deviation.round()
    levels = moved.clamp_(window.floor_level, window.ceiling_level).int()
    return models.stuck_cells.hold(levels, key, window)


def _scatter(sigma: Tensor, rows: Tensor, draws: Callable[[int], Tensor]) -> Tensor:
    """Return normal deviations of each cell by its row of `sigma`; draws nothing where there is nothing."""
    if not bool(sigma.any()):
        return torch.zeros((), dtype=torch.float64)
    return sigma[rows] * normal_quantiles(draws(rows.numel())).view(rows.shape)
