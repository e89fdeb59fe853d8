"""Decisions about nodes, as they were signed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from fleet.store import schema
from fleet.store.repository import Repository


class AuditEvents(Repository):
    """Append-only; each is a leaf of the Merkle log as well, which has its hash alone."""

    def append(self, node_id: str, envelope: bytes) -> None:
        """Keep a serialised Envelope of an AuditEvent about a node."""
        self._insert(schema.audit_event, node_id=node_id, envelope=envelope)

    def of_node(self, node_id: str) -> Sequence[bytes]:
        """Return the envelopes about a node, oldest first."""
        table = schema.audit_event
        return self._column(select(table.c.envelope).where(table.c.node_id == node_id).order_by(table.c.event_id))
