"""Signed, logged decisions about nodes: certificates prove by them what no receipt can."""

from __future__ import annotations

from collections.abc import Sequence

from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.core import Coordinator
from fleet.store.database import Transaction
from fleet.trust.leaves import LeafKind, leaf_data


def record(
    coordinator: Coordinator,
    tx: Transaction,
    kind: types.AuditEventKind,
    node_id: str,
    reason: str,
    campaign_id: str = "",
) -> types.AuditEvent:
    """Sign a decision about a node, and put it into the Merkle log.

    The certificate of a forget wants, for a node that is RETIRED or LOST in it, an event of that kind at the
    forget's generation or later, of that campaign or of none; NODE_ENROLLED for one that joined meanwhile.
    """
    event = types.AuditEvent(
        fleet_id=coordinator.fleet_id,
        kind=kind,
        node_id=node_id,
        reason=reason,
        at_unix_ms=tx.now_ms,
        generation=tx.fleet.get().generation,
        campaign_id=campaign_id,
    )
    envelope = coordinator.keys.sign(event)
    tx.tree.append(LeafKind.AUDIT_EVENT, leaf_data(LeafKind.AUDIT_EVENT, envelope))
    tx.audit_events.append(node_id, envelope.SerializeToString(deterministic=True))
    return event


def about(tx: Transaction, node_id: str) -> Sequence[tuple[types.Envelope, types.AuditEvent]]:
    """Return what was decided about a node, oldest first, beside the envelope that it was signed in."""
    envelopes = [types.Envelope.FromString(row) for row in tx.audit_events.of_node(node_id)]
    return [(envelope, types.AuditEvent.FromString(envelope.payload)) for envelope in envelopes]
