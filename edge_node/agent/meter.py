"""A node's cumulative counters: the engine's ledger and the samples it was asked about."""

from __future__ import annotations

from collections.abc import Mapping

from edge_node.agent.clock import Clock
from edge_node.agent.node_engine import NodeEngine
from edge_node.storage.journal import Journal
from hwmodel import Cost, LedgerMark, Phase

#: A device is a batch of one.
NODE_INDEX = 0
#: Counters that a crash may lose are those of the last few seconds.
SAVE_EVERY_S = 10.0


class Meter:
    """Counts, and stores the counts beside what they belong to."""

    def __init__(self, engine: NodeEngine, journal: Journal, clock: Clock) -> None:
        self._ledger, self._journal, self._clock = engine.ledger, journal, clock
        self.inferences, self.stale_refused = journal.inference_counts()
        self._saved_at_s = clock.boottime_s()

    def mark(self) -> LedgerMark:
        """Return this moment, for `since`."""
        return self._ledger.mark()

    def since(self, mark: LedgerMark) -> dict[Phase, Cost]:
        """Return what has been spent since a mark."""
        return self._ledger.since(mark, NODE_INDEX)

    def totals(self) -> Mapping[Phase, Cost]:
        """Return what has been spent since the node was made."""
        return self._ledger.totals(NODE_INDEX)

    @property
    def overdue(self) -> bool:
        """Whether the last save is too long ago."""
        return self._clock.boottime_s() - self._saved_at_s >= SAVE_EVERY_S

    def save(self) -> None:
        """Store the counters, as part of a transaction of the caller's."""
        self._journal.save_counters(self.totals(), self.inferences, self.stale_refused)
        self._saved_at_s = self._clock.boottime_s()
