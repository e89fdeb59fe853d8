"""Erasing in waves: one canary node first, the rest once it was checked.

Suppression never waits for waves: they only bound how many nodes a bad erase can damage.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleet.domain.execution import SUCCESS, ExecutionState

#: Canaries that may fail before a wave stops: one may lie, two are a sign that the erase itself is bad.
CANARIES = 2


def most_due(counts: Mapping[ExecutionState, int], *, canaries_failed: int, canary_at_work: bool) -> int | None:
    """Return how many nodes that have suppressed may be ordered to erase now; None: all of them.

    None while the canary is at work, nor when as many as `CANARIES` were held. A canary that went away before it
    answered, or was held, is replaced, so that one lost or lying node cannot stop a forget. A node in APPLYING has its
    order, and gets the same one again when it reconnects.

    Parameters
    ----------
    counts
        How many executions are in each state.
    canaries_failed
        How many of those that are HELD were ordered to erase, now or earlier: a node that is held for another reason
        must not stop the fleet.
    canary_at_work
        Whether a node in APPLYING is connected and may still be about to answer.
    """
    if any(counts.get(state) for state in SUCCESS):
        return None
    busy = canary_at_work or bool(counts.get(ExecutionState.APPLIED))
    return 0 if busy or canaries_failed >= CANARIES else 1
