"""Leave to serve adapters: a lease, aged from the moment its request was sent.

Pure: time and nonces are passed in. A lease lives in memory only, so none survives a restart.
"""

from __future__ import annotations

from dataclasses import dataclass

from reram_fleet.v1 import types_pb2 as types

#: Requests that may be under way at once; a reply to an older one is as good as lost.
MAX_OUTSTANDING = 32

ServeStatus = tuple["types.ServeState", "types.QuarantineReason"]


@dataclass(frozen=True)
class HeldLease:
    """A lease as the node counts it, in seconds of CLOCK_BOOTTIME."""

    generation: int
    requested_at_s: float
    expires_at_s: float


class LeaseKeeper:
    """The one lease of a node and the requests that may still bring the next."""

    def __init__(self) -> None:
        self._outstanding: dict[bytes, float] = {}
        self._lease: HeldLease | None = None
        self._without = types.QUARANTINE_REASON_STARTING

    @property
    def lease(self) -> HeldLease | None:
        """The lease last granted, expired or not."""
        return self._lease

    def requested(self, nonce: bytes, now_s: float) -> None:
        """Note that a request with this nonce is being sent now."""
        self._outstanding[nonce] = now_s
        while len(self._outstanding) > MAX_OUTSTANDING:
            del self._outstanding[next(iter(self._outstanding))]

    def granted(self, lease: types.Lease) -> bool:
        """Take a verified lease; False if it answers no open request, or an older one than the present lease.

        The age counts from when the request left: however long the reply was under way or held back, a forget
        committed after the coordinator answered is noticed at most `max_age_ms` later.
        """
        requested_at_s = self._outstanding.pop(lease.request_nonce, None)
        if requested_at_s is None:
            return False
        if self._lease is not None and requested_at_s < self._lease.requested_at_s:
            return False
        self._lease = HeldLease(lease.generation, requested_at_s, requested_at_s + lease.max_age_ms / 1000)
        return True

    def withdraw(self, reason: types.QuarantineReason) -> None:
        """Drop the lease and every open request: only a lease asked for from now on ends this quarantine."""
        self._lease = None
        self._outstanding.clear()
        self._without = reason

    def standing(self, now_s: float, generation: int) -> ServeStatus:
        """Return serve state and reason of a node that has suppressed up to `generation`."""
        quarantined = types.SERVE_STATE_QUARANTINED
        if self._lease is None:
            return quarantined, self._without
        if now_s >= self._lease.expires_at_s:
            return quarantined, types.QUARANTINE_REASON_LEASE_EXPIRED
        if self._lease.generation > generation:
            return quarantined, types.QUARANTINE_REASON_BEHIND_GENERATION
        return types.SERVE_STATE_SERVING, types.QUARANTINE_REASON_UNSPECIFIED
