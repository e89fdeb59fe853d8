"""Two ways to do the same work, timed in turns on one thread, so that a slow machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

REPEATS = 9


@dataclass(frozen=True)
class Pair:
    """The same work done in two ways, each a call that does all of it once."""

    name: str
    ours: Callable[[], object]
    beside: str
    theirs: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Medians in seconds, and the ratios taken turn by turn."""

    ours_s: float
    theirs_s: float
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)


def side_by_side(pair: Pair, repeats: int = REPEATS) -> Timing:
    """Run both in turns, the first turn unmeasured."""
    pair.ours()
    pair.theirs()
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(_seconds(pair.ours))
        theirs.append(_seconds(pair.theirs))
    ratios = tuple(mine / other for mine, other in zip(ours, theirs, strict=True))
    return Timing(statistics.median(ours), statistics.median(theirs), ratios)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
