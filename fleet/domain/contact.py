"""Limits of waiting for nodes out of contact: when a forget goes on without one, and whether one re-opens it."""

from __future__ import annotations

from dataclasses import dataclass

#: Times that a node which comes back re-opens one forget by itself; then it takes an operator. Else one that
#: comes and goes could keep a forget from converging for ever.
MAX_RETURNS = 3


@dataclass(frozen=True)
class ContactLimits:
    """Time that a forget waits for a node that is not connected."""

    #: Since its last contact, the first time.
    lost_after_ms: int
    #: Since it came back, once it was lost: it is not given the long time anew.
    lease_ms: int

    def is_over(self, now_ms: int, *, last_contact_ms: int, lease_until_ms: int, returned_at_ms: int | None) -> bool:
        """Whether a node that is not connected is given up: for the first time, or again.

        It may have got a longer lease than today's are; before its end nothing is certain. `returned_at_ms` is when it
        last came back after it was lost, if it ever did.
        """
        if returned_at_ms is not None:
            return now_ms - returned_at_ms > self.lease_ms
        return now_ms > max(last_contact_ms + self.lost_after_ms, lease_until_ms)


def may_return(returns: int) -> bool:
    """Whether a node that has come back so often re-opens the forget once more."""
    return returns < MAX_RETURNS
