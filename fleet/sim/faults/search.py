"""Search for histories that break a promise: many seeds, in one process or several."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context

from fleet.sim.faults.drawing import drawn
from fleet.sim.faults.running import run


@dataclass(frozen=True)
class Summary:
    """Summary of one history's run."""

    seed: int
    actions: int
    events: int
    simulated_s: float
    wall_s: float
    #: Violations in words, in their order.
    violations: Sequence[str]
    met: Mapping[tuple[str, str], int]


@dataclass
class Total:
    """Total of a search."""

    runs: int = 0
    events: int = 0
    fewest_events: int = 0
    simulated_s: float = 0.0
    wall_s: float = 0.0
    failed: list[Summary] = field(default_factory=list)
    #: How often each kind of fault met each state of the protocol.
    met: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, summary: Summary) -> None:
        """Add one history."""
        self.fewest_events = summary.events if not self.runs else min(self.fewest_events, summary.events)
        self.runs, self.events = self.runs + 1, self.events + summary.events
        self.simulated_s += summary.simulated_s
        self.met.update(summary.met)
        if summary.violations:
            self.failed.append(summary)


def summarised(seed: int) -> Summary:
    """Run the history of a seed."""
    outcome = run(drawn(seed))
    return Summary(
        seed,
        len(outcome.history.actions),
        outcome.events,
        outcome.simulated_s,
        outcome.wall_s,
        [str(violation) for violation in outcome.violations],
        outcome.met,
    )


def search(seeds: Iterable[int], processes: int = 1) -> Iterator[tuple[Summary, Total]]:
    """Run the histories of some seeds; yields each as it ends, with the total so far."""
    total, begun = Total(), time.perf_counter()
    with ExitStack() as stack:
        if processes > 1:
            pool = stack.enter_context(get_context("spawn").Pool(processes))
            found: Iterator[Summary] = pool.imap_unordered(summarised, seeds)
        else:
            found = map(summarised, seeds)
        for summary in found:
            total.add(summary)
            total.wall_s = time.perf_counter() - begun
            yield summary, total
