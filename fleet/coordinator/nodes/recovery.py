"""Recovery of a coordinator that was restored from a backup: nodes say where they are, and bring back what was lost.

A node that has not said so is awaited. Until all are heard, or an operator goes on without the others, nothing is
signed that may be there already: no generation, no revision, and no lease at a generation that may be too low.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from reram_fleet.crypto.signing import open_envelope, payload_hash
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.at_rest import drop_keyless
from fleet.coordinator.campaigns.campaigns import Campaigns
from fleet.coordinator.nodes.heartbeats import Leases
from fleet.coordinator.nodes.report_checks import ReportError
from fleet.coordinator.nodes.restored import Restored
from fleet.coordinator.work import Part, Work
from fleet.store.rows import NodeRow

logger = logging.getLogger(__name__)


class ForkError(ReportError):
    """A node has another entry of a generation than the log: both were signed by this coordinator, or it lies."""


class Recovery(Part):
    """Knowledge that nodes have of what the coordinator has lost."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._campaigns = work.part(Campaigns)
        self._leases = work.part(Leases)
        self._restored = work.part(Restored)

    def notice(self, node: NodeRow) -> wire.ConnectResponse:
        """Return what asks a node for all that may have been lost."""
        fleet = self._tx.fleet.get()
        notice = wire.RestoreNotice(
            fleet_id=fleet.fleet_id,
            node_id=node.node_id,
            generation=fleet.generation,
            log_head=fleet.log_head,
            contributions=[
                wire.KnownContribution(subject_tag=row.tag, sequence=row.sequence)
                for row in self._tx.subjects.contributions_of(node.node_id)
            ],
        )
        return wire.ConnectResponse(restore_notice=self._env.keys.sign(notice))

    def take(self, node: NodeRow, entries: Sequence[types.Envelope]) -> bool:
        """Take back what a node has of the log beyond ours; returns whether anything changed.

        Raises `SignatureError` if we have not signed it; `ReportError` if it does not go on from our log, or the node
        brings nothing although it claims to have more.
        """
        generation, log_head = self._env.sessions.of(node.node_id).log_end
        for envelope in entries:
            if (command := self._next(node, envelope)) is None:
                continue
            if node.awaited_since_ms is None:
                self._note_restore(node)
                return True
            self._campaigns.take_back(command, envelope)
            logger.warning("generation %d came back from node %s", command.generation, node.node_id)
        if entries and generation > self._tx.fleet.get().generation:
            # More is on its way.
            return True
        if generation > node.generation:
            self.arrived(node, generation, log_head)
        return self._heard(node) or bool(entries)

    def _note_restore(self, node: NodeRow) -> None:
        """Believe a node that shows that the rows went back without `fleet admin restore`; all say hello anew."""
        logger.error("the rows went back to a backup: node %s knows more of the log", node.node_id)
        drop_keyless(self._tx, self._env.secrets.ids().__contains__)
        self._tx.fleet.note_restore()
        self._leases.take_up()

    def _next(self, node: NodeRow, envelope: types.Envelope) -> types.ForgetCommand | None:
        """Return the next entry of the log, as we have signed it before; None if it is in the log."""
        command = open_envelope(envelope, types.ForgetCommand, self._env.keys.command_public_key)
        fleet = self._tx.fleet.get()
        if command.fleet_id != fleet.fleet_id:
            raise ReportError(f"node {node.node_id} brings an entry of fleet {command.fleet_id}")
        if command.generation <= fleet.generation:
            self.check_prefix(node, command.generation, payload_hash(envelope))
            return None
        if (command.generation - 1, command.previous_hash) != (fleet.generation, fleet.log_head):
            raise _fork(node, f"brings an entry of generation {command.generation} that does not follow ours")
        return command

    def check_prefix(self, node: NodeRow, generation: int, log_head: bytes) -> None:
        """Refuse a node whose log is not a prefix of ours: it follows another coordinator, or lies."""
        if generation > (newest := self._tx.fleet.get().generation):
            raise ReportError(f"node {node.node_id} reports generation {generation}, the log has {newest}")
        if log_head != self._tx.log.head_of(generation):
            raise _fork(node, f"has another entry of generation {generation} than the log")

    def arrived(self, node: NodeRow, generation: int, log_head: bytes) -> None:
        """Believe a node about where it is on the log, once nothing of what it knows is lost."""
        self.check_prefix(node, generation, log_head)
        self._tx.nodes.touch(node.node_id, generation=generation, log_head=log_head)
        self._restored.note_suppressed(node.node_id, generation)

    def _heard(self, node: NodeRow) -> bool:
        if node.awaited_since_ms is None:
            return False
        self._tx.nodes.heard(node.node_id)
        return True


def _fork(node: NodeRow, reason: str) -> ForkError:
    return ForkError(
        f"node {node.node_id} {reason}: the coordinator went back to a backup, and went on without it. "
        f"`fleet node retire {node.node_id} --reason ...`, and enrol the device anew under another id"
    )
