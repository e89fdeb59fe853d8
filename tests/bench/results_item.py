"""Items of RESULTS.md: figures looked up in `results/*.json`, and what they come to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.lab.paper.document import CONSISTENT_WITHIN
from tests.bench.claims import AREAS, RESULTS


class Verdict(StrEnum):
    """What a figure of ours comes to."""

    HOLDS = "holds"
    CONSISTENT = "consistent with the paper"
    NOT_REACHED = "not reached"
    NOT_MEASURED = "not measured"


class Figures:
    """Rows of all results files, by name."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = {row["name"]: row for row in rows}

    @classmethod
    def load(cls) -> Figures:
        """Read the committed files; an area that was never measured has none."""
        files = [RESULTS / f"{area}.json" for area in AREAS]
        return cls([row for path in files if path.exists() for row in json.loads(path.read_text("utf-8"))])

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._rows[name]

    def named(self, *parts: str) -> list[Mapping[str, Any]]:
        """Return the rows whose name has all of these parts."""
        return [row for name, row in self._rows.items() if all(part in name for part in parts)]

    def value(self, name: str, digits: int = 3) -> str:
        """Return a figure, with its lowest and highest run where they differ from it."""
        row = self[name]
        value, low, high = (f"{number:.{digits}f}" for number in (row["value"], *row["spread"]))
        return value if value == low == high else f"{value} ({low} to {high})"

    def holds(self, *names: str) -> Verdict:
        """Return whether the targets of all these rows hold."""
        return Verdict.HOLDS if all(self[name]["holds"] for name in names) else Verdict.NOT_REACHED

    def consistent(self, paper: Mapping[str, float]) -> Verdict:
        """Return whether each figure of the paper lies within 2 points of the range of our seeds."""
        for name, figure in paper.items():
            low, high = self[name]["spread"]
            if not low - CONSISTENT_WITHIN <= figure <= high + CONSISTENT_WITHIN:
                return Verdict.NOT_REACHED
        return Verdict.CONSISTENT

    def ratio_consistent(self, paper: float, *interpretations: str) -> Verdict:
        """Return whether one way to count a ratio has the paper's within 5 to 95 % of its draws, in every run."""
        for interpretation in interpretations:
            low = self[f"{interpretation}: 5th percentile of the draws"]["spread"][1]
            high = self[f"{interpretation}: 95th percentile of the draws"]["spread"][0]
            if low <= paper <= high:
                return Verdict.CONSISTENT
        return Verdict.NOT_REACHED


@dataclass(frozen=True)
class Item:
    """One entry of the page: the paper's figure and where it is from, ours, what it comes to, and how sure that is.

    A verdict that is no function is `NOT_MEASURED`: all others follow from the figures.
    """

    item: str
    paper: str
    ours: Callable[[Figures], str]
    verdict: Callable[[Figures], Verdict] | Verdict
    sure: Callable[[Figures], str] | str
    command: str

    def cells(self, figures: Figures) -> tuple[str, ...]:
        """Return what the page says: item, paper, ours, verdict, how sure, command."""
        verdict = self.verdict if isinstance(self.verdict, Verdict) else self.verdict(figures)
        sure = self.sure if isinstance(self.sure, str) else self.sure(figures)
        return self.item, self.paper, self.ours(figures), f"**{verdict}**", sure, f"`{self.command}`"


def claims(area: str, section: str = "") -> str:
    """Return the command that measures a section, or an area, anew."""
    quoted = f'"{section}"' if " " in section else section
    return f"make claims AREA={area}" + (f" SECTION={quoted}" if section else "")
