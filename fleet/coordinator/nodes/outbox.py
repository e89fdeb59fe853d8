"""Needs of a connected node: a function of the store and of what its stream was sent already."""

from __future__ import annotations

from reram_fleet.crypto.sealing import revision_purpose, seal
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.nodes.report_checks import ReportError
from fleet.coordinator.nodes.sessions import Session
from fleet.coordinator.revisions.canaries import CanarySecret, planted
from fleet.coordinator.revisions.heads import Heads
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.work import Part, Work
from fleet.domain.execution import ExecutionState
from fleet.store.rows import ExecutionRow, NodeRow, RevisionRow

#: Entries of the forget log in one message.
RANGE_LIMIT = 1000


class Outbox(Part):
    """Needs of connected nodes."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._heads = work.part(Heads)
        self._revisions = work.part(Revisions)

    def due(self, session: Session) -> list[wire.ConnectResponse]:
        """Return what to send now, in the order in which the node must see it: log, revision, erase orders.

        Raises `ReportError` if the node was retired: its stream is closed.
        """
        node = self._tx.nodes.get(session.node_id)
        if node.retired_at_ms is not None:
            raise ReportError(f"node {node.node_id} was {node.held_reason}")
        messages = self._forget_log(node, session)
        if node.held_reason:
            return messages
        if not session.public_codes_asked and self._heads.wants_public_codes(node.node_id):
            session.public_codes_asked = True
            messages.append(wire.ConnectResponse(public_codes_request=wire.PublicCodesRequest()))
        fleet = self._tx.fleet.get()
        revision = self._tx.revisions.latest()
        if revision is not None:
            # A revision older than the log would only be refused: the one without the forgotten is on its way.
            if revision.built_at_generation < fleet.generation:
                return messages
            if node.revision != revision.revision:
                if session.revision_sent != revision.revision:
                    session.revision_sent = revision.revision
                    messages.append(self._offer(node, revision))
                return messages
        for execution in self._tx.forgets.executions_of(node.node_id, states={ExecutionState.APPLYING}):
            nonce = execution.challenge_nonce
            if nonce is not None and nonce not in session.erase_sent:
                session.erase_sent.add(nonce)
                messages.append(self._erase_order(execution, nonce, node.revision))
        return messages

    def _forget_log(self, node: NodeRow, session: Session) -> list[wire.ConnectResponse]:
        entries = self._tx.log.range(max(node.generation, session.log_sent))
        messages = []
        for start in range(0, len(entries), RANGE_LIMIT):
            chunk = entries[start : start + RANGE_LIMIT]
            envelopes = [types.Envelope.FromString(entry.envelope) for entry in chunk]
            messages.append(wire.ConnectResponse(forget_log=wire.ForgetLogRange(entries=envelopes)))
        if entries:
            session.log_sent = entries[-1].generation
        return messages

    def _offer(self, node: NodeRow, revision: RevisionRow) -> wire.ConnectResponse:
        content = self._revisions.open_content(revision)
        purpose = revision_purpose(self._env.fleet_id, revision.revision, node.node_id)
        return wire.ConnectResponse(
            revision=wire.RevisionOffer(
                manifest=types.Envelope.FromString(revision.manifest),
                content=seal(node.sealing_public_key, purpose, content.SerializeToString()),
            )
        )

    def _erase_order(self, execution: ExecutionRow, nonce: bytes, revision: int) -> wire.ConnectResponse:
        probes = []
        if execution.expected_probes:
            secret = CanarySecret.load(self._revisions.canary_path)
            campaign = self._tx.forgets.get(execution.campaign_id)
            # "" (a stranger) is what the canary must be that this campaign forgot.
            spent = planted(self._tx, campaign.tags)
            probed = [answer or spent[0] for answer in execution.expected_probes]
            probes = [wire.Probe(codes=secret.probe_codes(tag)) for tag in probed]
        return wire.ConnectResponse(
            erase=wire.EraseOrder(
                generation=execution.generation,
                campaign_id=execution.campaign_id,
                revision=revision,
                challenge_nonce=nonce,
                probes=probes,
            )
        )
