"""One figure of `results/*.json`: what was measured, how far it spread, and whether its target holds."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Target:
    """What every run has to reach, for instance `>= 0.95`."""

    relation: str
    bound: float

    def holds(self, values: Sequence[float]) -> bool:
        """Whether all of these reach it: a claim that holds on average is none."""
        return all(_COMPARE[self.relation](value, self.bound) for value in values)

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:.12g}"


@dataclass(frozen=True)
class Figure:
    """A name, and one value per run.

    Attributes
    ----------
    unit
        SI unit, `share` for 0..1, `1` for pure numbers.
    target
        None if nothing is required.
    of_mean
        The figure is the mean, and the target is held against it: for targets that speak of a mean.
    """

    name: str
    values: tuple[float, ...]
    unit: str
    target: Target | None = None
    of_mean: bool = False

    def document(self, command: str) -> dict[str, Any]:
        """Return the entry of the results file: median (or mean), lowest and highest of the runs."""
        judged = (statistics.fmean(self.values),) if self.of_mean else self.values
        return {
            "name": self.name,
            "value": statistics.median(judged),
            "spread": [min(self.values), max(self.values)],
            "unit": self.unit,
            "target": None if self.target is None else str(self.target),
            "holds": None if self.target is None else self.target.holds(judged),
            "runs": len(self.values),
            "command": command,
        }
