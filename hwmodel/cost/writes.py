"""Energy, time and wear of writing cells, in closed form: k cells per weight in each of s slices."""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np

from hwmodel.cost.pricing import AnyCost, CostDraws, Reals, Technology, refuse_negative
from hwmodel.device.pulse_law import pulse_price, pulses_per_cell
from hwmodel.errors import CostError
from hwmodel.ledger import Cost

#: Bytes of one programming target on its way to the chip: 961 levels need 10 bits.
BYTES_PER_TARGET = 2


def program_cells(technology: Technology[AnyCost], cells: int) -> AnyCost:
    """Return the cost of write-verifying `cells` cells.

    Each of the ``n(tol)`` pulses (`hwmodel.mean_pulses`, with the preset's share of stuck cells) costs
    ``V_p^2 G t_p + E_line`` and a verify read ``V_r^2 G t_r + E_adc + E_tia``, and takes
    ``(t_p + t_r + t_adc) / parallel``. Every pulse is a cell write.
    """
    refuse_negative(cells=cells)
    return _pulses(technology, cells * pulses_per_cell(technology))


def program_weights(technology: Technology[AnyCost], weights: int) -> AnyCost:
    """Return the cost of write-verifying `weights` single weights (k s cells each, no reference cells)."""
    return program_cells(technology, _cells_of(technology, weights))


def update_cells(technology: Technology[AnyCost], cells: int, steps: int = 1) -> AnyCost:
    """Return the cost of moving `cells` cells in place, as each step of in-situ training does.

    ``n_u`` pulses per cell and step (`update_pulses`), each with its read, at the price of `program_cells`.
    """
    refuse_negative(cells=cells, steps=steps)
    return _pulses(technology, cells * steps * technology.write_verify.update_pulses)


def update_weights(technology: Technology[AnyCost], weights: int, steps: int = 1) -> AnyCost:
    """Return the cost of `update_cells` for single weights (k s cells each, no reference cells)."""
    return update_cells(technology, _cells_of(technology, weights), steps)


@overload
def adaptations_left(
    technology: Technology[Cost], *, steps: int | None = None, pulses_spent_per_cell: float = 0.0
) -> int: ...
@overload
def adaptations_left(
    technology: Technology[CostDraws], *, steps: int | None = None, pulses_spent_per_cell: float = 0.0
) -> Reals: ...
def adaptations_left(
    technology: Technology[Any], *, steps: int | None = None, pulses_spent_per_cell: float = 0.0
) -> int | Reals:
    """Return how often the weights of a chip can still change before a mean cell is worn out.

    ``floor((endurance - spent) / pulses)``, never below zero. Returns float64 ``[draws]``, whole numbers, for a sample.
    An adaptation is `steps` steps of in-situ training, of ``n_u`` pulses each; if None, one write-verify of ready-made
    weights, of ``n(tol)`` pulses. Raises `CostError` if `steps` is below 1 or the spent pulses are negative.
    """
    if steps is not None and steps < 1:
        raise CostError(f"an adaptation takes at least one step; got {steps}")
    if not pulses_spent_per_cell >= 0:
        raise CostError(f"pulses_spent_per_cell must not be negative; got {pulses_spent_per_cell}")
    pulses = pulses_per_cell(technology) if steps is None else steps * technology.write_verify.update_pulses
    left: float | Reals = (technology.cell.endurance_cycles - pulses_spent_per_cell) / pulses
    if isinstance(left, np.ndarray):
        return np.maximum(0.0, np.floor(left))
    return max(0, math.floor(left))


def _pulses(technology: Technology[AnyCost], pulses: Any) -> AnyCost:
    """Price pulses at the mean conductance; a mean number of them is rounded to whole ones."""
    pulses = np.rint(pulses) if isinstance(pulses, np.ndarray) else round(pulses)
    energy_j, seconds = pulse_price(technology, pulses, pulses * technology.mean_conductance_us * 1e-6)
    return technology.priced(energy_j, seconds, cell_writes=pulses)


def _cells_of(technology: Technology[AnyCost], weights: int) -> int:
    refuse_negative(weights=weights)
    return weights * technology.tile.cells_per_weight * technology.tile.weight_slices
