"""Which numbers of a preset move a figure, and at which value of each it meets a target.

A *figure* is any function of a technology, e.g. a ratio of two energies: it takes a `Preset` and returns a number, or
takes a `PresetSample` and returns one number per draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwmodel.cost.pricing import Reals, Technology
from hwmodel.cost.sampling import extremes, sweep_preset
from hwmodel.errors import CostError
from hwmodel.presets.preset import Preset

Figure = Callable[[Technology[Any]], Any]


@dataclass(frozen=True, slots=True)
class Swing:
    """What one number of a preset does to a figure over its range: a bar of a tornado.

    Attributes
    ----------
    path
        ``"section.key"``.
    low, high
        Ends of the number's range.
    at_low, at_high
        The figure there, all other numbers nominal.
    nominal
        The figure with all numbers nominal.
    """

    path: str
    low: float
    high: float
    at_low: float
    at_high: float
    nominal: float

    @property
    def decades(self) -> float:
        """Length of the bar on a log scale: ``|log10(at_high / at_low)|``."""
        return abs(math.log10(self.at_high / self.at_low))


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Whether one number of a preset, alone, brings a figure to a target.

    Attributes
    ----------
    path
        ``"section.key"``.
    low, value, high
        The number's range and nominal value.
    needed
        The value nearest to the nominal one at which the target is met; None if none in the range does.
    at_low, at_high
        The figure at the ends of the range.
    """

    path: str
    low: float
    value: float
    high: float
    needed: float | None
    at_low: float
    at_high: float


def tornado(figure: Figure, preset: Preset) -> tuple[Swing, ...]:
    """Return what each number does to a figure, one at a time, largest swing first.

    Numbers that do not move it are left out. Raises `CostError` if the figure is not positive and finite, so that it
    has no place on a log scale.
    """
    ends = extremes(preset)
    nominal = float(figure(preset))
    lows, highs = (np.broadcast_to(figure(end), (len(ends.paths),)) for end in (ends.low, ends.high))
    if not all(bool(np.all((v > 0) & np.isfinite(v))) for v in (lows, highs, np.array(nominal))):
        raise CostError("a tornado on a log scale needs a figure that is positive and finite everywhere")
    swings = []
    for path, at_low, at_high in zip(ends.paths, lows.tolist(), highs.tolist(), strict=True):
        if not math.isclose(at_low, at_high, rel_tol=1e-9):
            quantity = preset.quantity(path)
            swings.append(Swing(path, quantity.low, quantity.high, at_low, at_high, nominal))
    return tuple(sorted(swings, key=lambda swing: (-swing.decades, swing.path)))


def sensitivities(figure: Figure, preset: Preset, target: float) -> tuple[Sensitivity, ...]:
    """Return, for each number that moves a figure, the value at which the figure meets a target.

    One number at a time, all others nominal; sorted as in `tornado`. Solved on a grid that is refined around the
    crossing, for all numbers at once, to about 1e-6 of the range. Raises `CostError` as `tornado`, or if the target is
    not positive.
    """
    if not target > 0:
        raise CostError(f"the target must be positive; got {target}")
    swings = tornado(figure, preset)
    if not swings:
        return ()
    needed = _solve(figure, preset, tuple(swing.path for swing in swings), target)
    return tuple(
        Sensitivity(
            swing.path,
            swing.low,
            preset.quantity(swing.path).value,
            swing.high,
            needed[swing.path],
            swing.at_low,
            swing.at_high,
        )
        for swing in swings
    )


_POINTS = 33
_REFINEMENTS = 4


def _solve(figure: Figure, preset: Preset, paths: tuple[str, ...], target: float) -> Mapping[str, float | None]:
    grids = {path: _grid(preset, path) for path in paths}
    answers: dict[str, float | None] = dict.fromkeys(paths)
    open_paths = list(paths)
    for _ in range(_REFINEMENTS):
        found = _figure_on(figure, preset, {path: grids[path] for path in open_paths})
        for path in tuple(open_paths):
            bracket = _bracket(grids[path], found[path] - target, preset.quantity(path).value)
            if bracket is None:
                open_paths.remove(path)
                continue
            left, right, answers[path] = bracket
            grids[path] = np.linspace(left, right, _POINTS)
        if not open_paths:
            break
    return answers


def _grid(preset: Preset, path: str) -> Reals:
    """Return a grid over a number's range, its nominal value on it, logarithmic where possible."""
    quantity = preset.quantity(path)
    spaced = np.geomspace if quantity.low > 0 else np.linspace
    grid = np.empty(_POINTS)
    grid[:-1] = spaced(quantity.low, quantity.high, _POINTS - 1)
    grid[-1] = quantity.value
    grid.sort()
    return grid.clip(quantity.low, quantity.high)


def _figure_on(figure: Figure, preset: Preset, grids: Mapping[str, Reals]) -> dict[str, Reals]:
    """Evaluate the figure on every grid, one number away from nominal at a time, in one go."""
    columns = {}
    for index, (path, grid) in enumerate(grids.items()):
        column = np.full((len(grids), _POINTS), preset.quantity(path).value)
        column[index] = grid
        columns[path] = column.ravel()
    values = np.broadcast_to(figure(sweep_preset(preset, columns)), (len(grids) * _POINTS,))
    return dict(zip(grids, values.reshape(len(grids), _POINTS), strict=True))


def _bracket(grid: Reals, excess: Reals, nominal: float) -> tuple[float, float, float] | None:
    """Return the ends of the interval nearest to nominal in which the sign changes, and the root in it."""
    crossings = np.flatnonzero(np.sign(excess[:-1]) * np.sign(excess[1:]) <= 0)
    if not crossings.size:
        return None
    nearest = min(crossings.tolist(), key=lambda i: min(abs(grid[i] - nominal), abs(grid[i + 1] - nominal)))
    left, right = float(grid[nearest]), float(grid[nearest + 1])
    before, after = float(excess[nearest]), float(excess[nearest + 1])
    share = 0.0 if before == after else before / (before - after)
    return left, right, left + share * (right - left)
