"""Tallies: what is counted over a fleet's whole life, for metrics that survive a restart."""

from __future__ import annotations

from bisect import bisect_left
from enum import StrEnum


class Tally(StrEnum):
    """Name of a group of counts; each has labels of its own, which are closed enumerations."""

    #: Receipts by what became of them (`ReceiptVerdict`).
    RECEIPTS = "receipts"
    #: Reports of nodes that were not acted upon, by why (`Refusal`).
    REFUSED_REPORTS = "refused_reports"
    #: Seconds from a forget's commit until a node has suppressed it, and until its receipt is accepted: a count by
    #: upper bound (`bucket`), and their sum.
    SUPPRESS_SECONDS = "suppress_seconds"
    VERIFY_SECONDS = "verify_seconds"
    #: Joules and ReRAM cell writes of forgets, by phase, as accepted receipts say.
    FORGET_JOULES = "forget_joules"
    FORGET_CELL_WRITES = "forget_cell_writes"
    #: Streams that nodes opened, and starts of the coordinator: one label, "all".
    STREAMS = "streams"
    STARTS = "starts"


class ReceiptOutcome(StrEnum):
    """Outcome of a receipt."""

    VERIFIED = "verified"
    NOT_AFFECTED = "not_affected"
    HELD = "held"
    #: It may be true, and is asked for once more.
    OVERTAKEN = "overtaken"
    #: It answers an order that was replaced.
    EARLIER_ORDER = "earlier_order"
    UNSOLICITED = "unsolicited"


class Refusal(StrEnum):
    """Reason for which a report was not acted upon."""

    #: It contradicts the log, the node itself or its signature: the stream ended.
    REJECTED = "rejected"
    #: It does not fit, or could not be handled: it is put aside.
    QUARANTINED = "quarantined"


ALL = "all"
SUM = "sum"
#: Upper bounds (s) of the histograms: from what people wait for to what offline nodes take.
BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0)


def bucket(seconds: float) -> str:
    """Return the label of the bucket that a duration counts in; not cumulative."""
    place = bisect_left(BUCKETS_S, seconds)
    return f"{BUCKETS_S[place]:g}" if place < len(BUCKETS_S) else "+Inf"


def cumulative(counts: dict[str, float]) -> list[tuple[str, float]]:
    """Return the counts of all buckets as Prometheus wants them: by upper bound, each with those below it."""
    found, total = [], 0.0
    for bound in (*(f"{each:g}" for each in BUCKETS_S), "+Inf"):
        total += counts.get(bound, 0.0)
        found.append((bound, total))
    return found
