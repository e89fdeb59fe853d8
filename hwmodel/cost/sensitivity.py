"""Sensitivity of a figure to each number of a preset, and the value of each that meets a target.

A *figure* is any function of a technology, e.g. a ratio of two energies: it takes a `Preset` and returns a number, or
takes a `PresetSample` and returns one number per draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwmodel.cost.pricing import Reals, Technology
from hwmodel.cost.sampling import drawn_paths, sweep_preset
from hwmodel.errors import CostError
from hwmodel.presets.preset import Preset

Figure = Callable[[Technology[Any]], Any]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """A figure while one number of a preset goes over its range and all others are nominal: a bar of a tornado.

    Attributes
    ----------
    needed
        The value nearest to the nominal one at which the figure meets the target; None if none in the range does, or
        there is no target.
    """

    path: str  #: ``"section.key"``
    low: float  #: low end of the number's range
    value: float  #: nominal
    high: float
    needed: float | None
    at_low: float  #: the figure at the low end of the range
    at_high: float

    @property
    def decades(self) -> float:
        """Length of the bar on a log scale: ``|log10(at_high / at_low)|``."""
        return abs(math.log10(self.at_high / self.at_low))


def sensitivities(figure: Figure, preset: Preset, target: float | None = None) -> tuple[Sensitivity, ...]:
    """Return what each number does to a figure, one at a time, largest swing first.

    Numbers that do not move it are left out. With a target, the value of each at which the figure meets it is solved on
    a grid that is refined around the crossing, for all numbers at once, to about 1e-6 of the range. Raises `CostError`
    if the figure is not positive and finite, so that it has no place on a log scale, or the target is not positive.
    """
    if target is not None and not target > 0:
        raise CostError(f"the target must be positive; got {target}")
    quantities = {path: preset.quantity(path) for path in drawn_paths(preset)}
    ends = {path: np.array([q.low, q.high]) for path, q in quantities.items() if q.low < q.high}
    found = _figure_on(figure, preset, ends)
    if not all(bool(np.all((v > 0) & np.isfinite(v))) for v in (*found.values(), np.array(float(figure(preset))))):
        raise CostError("a tornado on a log scale needs a figure that is positive and finite everywhere")
    swings = []
    for path, (at_low, at_high) in ((path, values.tolist()) for path, values in found.items()):
        if not math.isclose(at_low, at_high, rel_tol=1e-9):
            q = quantities[path]
            swings.append(Sensitivity(path, q.low, q.value, q.high, None, at_low, at_high))
    swings.sort(key=lambda swing: (-swing.decades, swing.path))
    if target is None or not swings:
        return tuple(swings)
    needed = _solve(figure, preset, [swing.path for swing in swings], target)
    return tuple(replace(swing, needed=needed[swing.path]) for swing in swings)


_POINTS = 33
_REFINEMENTS = 4


def _solve(figure: Figure, preset: Preset, paths: Iterable[str], target: float) -> Mapping[str, float | None]:
    grids = {path: _grid(preset, path) for path in paths}
    answers: dict[str, float | None] = dict.fromkeys(grids)
    for _ in range(_REFINEMENTS):
        for path, values in _figure_on(figure, preset, grids).items():
            bracket = _bracket(grids[path], values - target, preset.quantity(path).value)
            if bracket is None:
                del grids[path]
                continue
            left, right, answers[path] = bracket
            grids[path] = np.linspace(left, right, _POINTS)
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
    """Evaluate the figure on grids of one length, one number away from nominal at a time, in one go."""
    if not grids:
        return {}
    points = len(next(iter(grids.values())))
    columns = {}
    for index, (path, grid) in enumerate(grids.items()):
        column = np.full((len(grids), points), preset.quantity(path).value)
        column[index] = grid
        columns[path] = column.ravel()
    values = np.broadcast_to(figure(sweep_preset(preset, columns)), (len(grids) * points,))
    return dict(zip(grids, values.reshape(len(grids), points), strict=True))


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
