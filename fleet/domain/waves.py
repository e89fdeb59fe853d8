"""Erasing in waves: one canary node first, the rest once it was checked.

Suppression never waits for waves: they only bound how many nodes a bad erase can damage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.domain.execution import SUCCESS, ExecutionState

#: Canaries that may fail before a wave stops: one may lie, two are a sign that the erase itself is bad.
CANARIES = 2


@dataclass(frozen=True)
class WaveMember:
    """A node, as far as waves are concerned."""

    node_id: str
    state: ExecutionState
    connected: bool
    #: An erase order of this campaign has gone to it, now or earlier (its execution has a challenge). Tells a canary
    #: that failed from a node that is held for another reason and must not stop the fleet.
    ordered: bool = False
    #: How often it went back to a backup since the commit.
    went_back: int = 0


def due_for_erasure(members: Iterable[WaveMember]) -> tuple[str, ...]:
    """Return the ids of the nodes that may be ordered to erase now, who went back again and again last.

    None of them while the canary is at work, nor when as many as `CANARIES` were held. A canary that went
    away before it answered, or was held, is replaced, so that one lost or lying node cannot stop a forget. A
    node in APPLYING is not in the answer: it has its order, and gets the same one again when it reconnects.
    """
    members = tuple(members)
    reached = [m for m in members if m.state is ExecutionState.SUPPRESSED and m.connected]
    # Else a node that goes back to a backup before each answer would be the canary for ever.
    ready = [m.node_id for m in sorted(reached, key=lambda m: (m.went_back > 1, m.node_id))]
    if any(m.state in SUCCESS for m in members):
        return tuple(ready)
    canaries_failed = sum(m.ordered and m.state is ExecutionState.HELD for m in members) >= CANARIES
    canary_at_work = any(
        m.state is ExecutionState.APPLIED or (m.state is ExecutionState.APPLYING and m.connected) for m in members
    )
    return () if canaries_failed or canary_at_work else tuple(ready[:1])
