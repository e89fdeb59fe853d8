"""Heartbeats and telemetry of connected nodes: answered from memory, and written by the dozen.

They are most of what nodes say, and none of it is acknowledged as durable. A lease is: its number and its end are
taken out of a block that the store has reserved before.
"""

from __future__ import annotations

from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.nodes.leases import BLOCK, horizon_ms
from fleet.coordinator.nodes.report_checks import (
    Effect,
    QuarantineError,
    check_bounds,
    check_nonce,
    check_telemetry,
)
from fleet.coordinator.wire_enums import ENERGY_PHASE, QUARANTINE_REASON, SERVE_STATE
from fleet.coordinator.work import Environment, Part
from fleet.domain.node import QuarantineReason, ServeState
from fleet.domain.tallies import ALL, Tally
from fleet.store.rows import NodeCostRow

#: A fleet sends about so many heartbeats a second, whatever its size, ...
HEARTBEATS_PER_S = 100.0
#: ... but no node more often than this, and every one several times within its lease.
SHORTEST_INTERVAL_S = 0.2
BEATS_PER_LEASE = 3


class Heartbeats:
    """Answers to what nodes say all the time."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    @staticmethod
    def of(request: wire.ConnectRequest) -> wire.Heartbeat | None:
        """Return the heartbeat that a message is, or has with it."""
        match request.WhichOneof("message"):
            case "heartbeat":
                return request.heartbeat
            case "suppressed" if request.suppressed.HasField("heartbeat"):
                return request.suppressed.heartbeat
        return None

    def take(self, node_id: str, heartbeat: wire.Heartbeat, now_ms: int) -> Effect:
        """Take a heartbeat of a connected node; raises `QuarantineError` if it cannot be true.

        `Environment.leases` must cover the lease that answers it.
        """
        env = self._env
        check_bounds(heartbeat)
        check_nonce("Heartbeat.lease_nonce", heartbeat.lease_nonce)
        announced = env.sessions.of(node_id)
        ahead = heartbeat.generation > env.generation
        if ahead and heartbeat.generation > announced.log_end[0]:
            raise QuarantineError(f"Heartbeat.generation is beyond the log: {heartbeat.generation}")
        # A value of a newer version than this one is unspecified.
        state = SERVE_STATE.words.get(heartbeat.serve_state, ServeState.UNSPECIFIED)
        reason = QUARANTINE_REASON.words.get(heartbeat.quarantine_reason, QuarantineReason.UNSPECIFIED)
        changed, announced.serves = (state, reason) != announced.serves, (state, reason)
        env.contacts.note(node_id, last_contact_ms=now_ms, serve_state=state, quarantine_reason=reason)
        # After a restore nobody knows which forget is the newest, before all nodes have said what they know.
        if node_id in env.held or ahead or env.awaited:
            return Effect(changed=changed)
        lease = types.Lease(
            fleet_id=env.fleet_id,
            node_id=node_id,
            generation=env.generation,
            sequence=env.leases.take(),
            request_nonce=heartbeat.lease_nonce,
            max_age_ms=round(1000 * env.settings.lease_s),
            heartbeat_interval_ms=round(1000 * self.interval_s()),
        )
        env.contacts.note(node_id, lease_until_ms=now_ms + lease.max_age_ms)
        return Effect((wire.ConnectResponse(lease=env.keys.sign(lease)),), changed)

    def interval_s(self) -> float:
        """Return how often each node is to send heartbeats, as many as they are now."""
        return interval_s(len(self._env.sessions), self._env.settings.lease_s)

    def take_telemetry(self, node_id: str, telemetry: wire.Telemetry, now_ms: int) -> Effect:
        """Take telemetry of a connected node; raises `QuarantineError` if it cannot be true."""
        check_bounds(telemetry)
        announced = self._env.sessions.of(node_id)
        check_telemetry(telemetry, announced.telemetry)
        announced.telemetry = telemetry
        self._env.contacts.note(
            node_id,
            tuple(
                NodeCostRow(node_id, phase, c.energy_j, c.seconds, c.bytes, c.cell_writes)
                for c in telemetry.costs
                if (phase := ENERGY_PHASE.words.get(c.phase)) is not None
            ),
            last_contact_ms=now_ms,
            inferences=telemetry.inferences,
            subject_adapters=telemetry.subject_adapters,
            energy_model_name=telemetry.energy_model.name,
            energy_model_version=telemetry.energy_model.version,
        )
        return Effect()


def interval_s(nodes: int, lease_s: float) -> float:
    """Return how often each of so many nodes is to send heartbeats."""
    return min(max(SHORTEST_INTERVAL_S, nodes / HEARTBEATS_PER_S), lease_s / BEATS_PER_LEASE)


class Leases(Part):
    """Reservation of leases, and what is known of those of an earlier process."""

    def reserve(self) -> None:
        """Reserve the next block of leases, if this one is about to end."""
        lease_ms = round(1000 * self._env.settings.lease_s)
        if not self._env.leases.covers(self._tx.now_ms + lease_ms):
            self._tx.fleet.reserve_leases(BLOCK, self._tx.now_ms + lease_ms + horizon_ms(lease_ms))

    def take_up(self) -> None:
        """Take up where an earlier process ended, however it ended."""
        fleet = self._tx.fleet.get()
        last_ms = fleet.lease_horizon_ms or 0
        if fleet.restored_at_ms is not None:
            # The horizon went back with the rows; a coordinator that is lost granted leases until it was replaced.
            last_ms = max(last_ms, fleet.restored_at_ms + round(1000 * self._env.settings.lease_s))
        if last_ms:
            self._tx.nodes.extend_leases(last_ms)
        self._tx.tallies.add(Tally.STARTS, ALL)
        self._env.generation = fleet.generation
        self._env.awaited = set(self._tx.fleet.awaited())
        self._env.held = {node.node_id for node in self._tx.nodes.list(include_retired=True) if node.held_reason}
