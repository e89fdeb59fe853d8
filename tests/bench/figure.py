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
        None for what is only told.
    """

    name: str
    values: tuple[float, ...]
    unit: str
    target: Target | None = None

    def document(self, command: str) -> dict[str, Any]:
        """Return the entry of the results file: median, lowest and highest of the runs."""
        return {
            "name": self.name,
            "value": statistics.median(self.values),
            "spread": [min(self.values), max(self.values)],
            "unit": self.unit,
            "target": None if self.target is None else str(self.target),
            "holds": None if self.target is None else self.target.holds(self.values),
            "runs": len(self.values),
            "command": command,
        }
