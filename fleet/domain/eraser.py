"""Judging an eraser by what nodes saw with it and without: installed, or rejected by the failed lines.

An eraser is a mask over crossbars that know the concept. So what is left without it, the strip test, is told wherever
the verdict is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Largest share of pictures that may still show the concept, asked for by its name or by nothing.
SHOWS = 0.2
#: Least share of other pictures that must be what was asked for.
OTHERS = 0.8


@dataclass(frozen=True)
class EraserFigures:
    """Shares of pictures, 0 to 1, mean over nodes."""

    #: Of pictures that are asked for by the concept, those that show it: with the eraser, and without.
    shows: float
    stripped: float
    #: Of pictures that are asked for without saying, those that show it, with the eraser.
    open: float
    #: Of pictures that are asked for by something else, those that are what was asked for.
    others: float

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> EraserFigures | None:
        """Return the figures out of a job's metrics (`edge_node.generation.eraser_rounds`); None if one is missing."""
        named = {name: metrics.get(f"eraser_{name}") for name in ("shows", "stripped", "open", "others")}
        found = {name: value for name, value in named.items() if value is not None}
        return cls(**found) if len(found) == len(named) else None

    @property
    def faults(self) -> Sequence[str]:
        """Why such an eraser is not installed; empty if it is."""
        lines = {
            f"{self.shows:.2f} still show it by its name (at most {SHOWS:g})": self.shows <= SHOWS,
            f"{self.open:.2f} still show it unasked (at most {SHOWS:g})": self.open <= SHOWS,
            f"{self.others:.2f} of others are what was asked for (at least {OTHERS:g})": self.others >= OTHERS,
        }
        return [line for line, passed in lines.items() if not passed]

    def __str__(self) -> str:
        return (
            f"with it {self.shows:.2f} of pictures asked for by its name show it, {self.open:.2f} of those asked for "
            f"without saying, and {self.others:.2f} of others are what was asked for; taken off, {self.stripped:.2f} "
            "show it again"
        )
