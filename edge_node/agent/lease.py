"""Leave to serve adapters: a lease, aged from the moment its request was sent, and the serve state that follows."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2 import ServeTransition

from edge_node.agent.context import NodeContext

logger = logging.getLogger(__name__)

#: Requests that may be under way at once; a reply to an older one is as good as lost.
MAX_OUTSTANDING = 32
#: A node that flaps for weeks must not fill its memory.
MAX_TRANSITIONS = 1000


class ServeStatus(NamedTuple):
    """Serve state of a node, and the reason if it is quarantined."""

    state: types.ServeState
    reason: types.QuarantineReason


@dataclass(frozen=True)
class HeldLease:
    """Lease as the node counts it, in seconds of CLOCK_BOOTTIME."""

    generation: int
    requested_at_s: float
    expires_at_s: float


class LeaseKeeper:
    """Lease of a node, and the requests that may still bring the next, in memory only: none survives a restart.

    Pure: time and nonces are passed in.
    """

    def __init__(self) -> None:
        self._outstanding: dict[bytes, float] = {}
        self._lease: HeldLease | None = None
        self._without = types.QUARANTINE_REASON_STARTING

    def requested(self, nonce: bytes, now_s: float) -> None:
        """Note that a request with this nonce is being sent now."""
        self._outstanding[nonce] = now_s
        while len(self._outstanding) > MAX_OUTSTANDING:
            del self._outstanding[next(iter(self._outstanding))]

    def granted(self, lease: types.Lease) -> bool:
        """Take a verified lease; False if it answers no open request, or an older one than the present lease.

        The age counts from when the request left: however long the reply was under way or held back, a forget committed
        after the coordinator answered is noticed at most `max_age_ms` later.
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

    def remaining_s(self, now_s: float) -> float:
        """Return how long the lease still lasts; 0 without one."""
        return max(0.0, self._lease.expires_at_s - now_s) if self._lease is not None else 0.0

    def status(self, now_s: float, generation: int) -> ServeStatus:
        """Return serve state and reason of a node that has suppressed up to `generation`."""
        quarantined = types.SERVE_STATE_QUARANTINED
        if self._lease is None:
            return ServeStatus(quarantined, self._without)
        if now_s >= self._lease.expires_at_s:
            return ServeStatus(quarantined, types.QUARANTINE_REASON_LEASE_EXPIRED)
        if self._lease.generation > generation:
            return ServeStatus(quarantined, types.QUARANTINE_REASON_BEHIND_GENERATION)
        return ServeStatus(types.SERVE_STATE_SERVING, types.QUARANTINE_REASON_UNSPECIFIED)


class ServeState:
    """Serve state of a node: its lease against clock and journal, with every change recorded. Under the node's lock."""

    def __init__(self, context: NodeContext) -> None:
        self._context, self._leases = context, LeaseKeeper()
        #: Changes since the process started, oldest first.
        self.transitions: deque[ServeTransition] = deque(maxlen=MAX_TRANSITIONS)
        self._recorded: tuple[ServeStatus, int] | None = None

    def status(self) -> ServeStatus:
        """Return serve state and quarantine reason now, recorded if they or the generation have changed."""
        generation = self._context.journal.position().generation
        status = self._leases.status(self._context.clock.boottime_s(), generation)
        if (status, generation) != self._recorded:
            self._recorded = status, generation
            self.transitions.append(
                ServeTransition(
                    at_unix_ms=self._context.clock.unix_ms(),
                    serve_state=status.state,
                    quarantine_reason=status.reason,
                    generation=generation,
                )
            )
            logger.info(
                "%s is %s (%s) at generation %d",
                self._context.node_id,
                types.ServeState.Name(status.state).removeprefix("SERVE_STATE_"),
                types.QuarantineReason.Name(status.reason).removeprefix("QUARANTINE_REASON_"),
                generation,
            )
        return status

    @property
    def lease_remaining_s(self) -> float:
        """Time until adapters are detached, unless the lease is renewed; 0 without one."""
        return self._leases.remaining_s(self._context.clock.boottime_s())

    @property
    def serving(self) -> bool:
        """Whether adapters may be used now."""
        return self.status().state == types.SERVE_STATE_SERVING

    def request(self) -> bytes:
        """Return the nonce of a request for a lease that is being sent now."""
        nonce = self._context.randomness.draw(16)
        self._leases.requested(nonce, self._context.clock.boottime_s())
        return nonce

    def granted(self, lease: types.Lease) -> None:
        """Take a verified lease, if it is one that was asked for."""
        self._leases.granted(lease)

    def withdraw(self, reason: types.QuarantineReason) -> None:
        """Quarantine the node until it is granted a lease that it asks for from now on."""
        self._leases.withdraw(reason)
        self.status()
