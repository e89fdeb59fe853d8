"""Shrinking of a history that breaks a promise: fewer actions that still break it."""

from __future__ import annotations

from collections.abc import Callable

from fleet.sim.faults.history import History
from fleet.sim.faults.running import Outcome, run

#: Runs that are spent on it.
MOST_RUNS = 150


def shrunk(outcome: Outcome, progress: Callable[[str], None] = lambda text: None) -> Outcome:
    """Return the outcome of a smaller history that breaks the same promise as this one did first.

    Actions are left out by halves, quarters and so on, and in the end one by one.
    """
    rule, best, runs = outcome.violations[0].rule, outcome, 0
    size = max(1, len(best.history.actions) // 2)
    while runs < MOST_RUNS:
        smaller = None
        for start in range(0, len(best.history.actions), size):
            if runs == MOST_RUNS:
                break
            runs += 1
            progress(f"shrinking: {len(best.history.actions)} actions, run {runs}")
            left = best.history.without(frozenset(range(start, start + size)))
            if (smaller := _breaking(left, rule)) is not None:
                break
        if smaller is not None:
            best = smaller
            size = min(size, max(1, len(best.history.actions) // 2))
        elif size == 1:
            break
        else:
            size //= 2
    return best


def _breaking(history: History, rule: str) -> Outcome | None:
    outcome = run(history)
    return outcome if any(violation.rule == rule for violation in outcome.violations) else None
