"""Needs of a connected node: a function of the store and of what its stream was sent already."""

from __future__ import annotations

from reram_fleet.crypto.sealing import revision_purpose, seal
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import heads
from fleet.coordinator.canaries import CanarySecret, planted
from fleet.coordinator.core import Coordinator
from fleet.coordinator.report_checks import ReportError
from fleet.coordinator.revisions import canary_path, open_content
from fleet.coordinator.sessions import Session
from fleet.domain.execution import ExecutionState
from fleet.store.database import Transaction
from fleet.store.rows import ExecutionRow, NodeRow, RevisionRow

#: Entries of the forget log in one message.
RANGE_LIMIT = 1000


def outbox_of(coordinator: Coordinator, tx: Transaction, session: Session) -> list[wire.ConnectResponse]:
    """Return what to send now, in the order in which the node must see it: log, revision, erase orders.

    Raises `ReportError` if the node was retired: its stream is closed.
    """
    node = tx.nodes.get(session.node_id)
    if node.retired_at_ms is not None:
        raise ReportError(f"node {node.node_id} was {node.held_reason}")
    messages = _forget_log(tx, node, session)
    if node.held_reason:
        return messages
    if not session.public_codes_asked and heads.wants_public_codes(tx, node.node_id):
        session.public_codes_asked = True
        messages.append(wire.ConnectResponse(public_codes_request=wire.PublicCodesRequest()))
    fleet = tx.fleet.get()
    revision = tx.revisions.latest()
    if revision is not None:
        # A revision older than the log would only be refused: the one without the forgotten is on its way.
        if revision.built_at_generation < fleet.generation:
            return messages
        if node.revision != revision.revision:
            if session.revision_sent != revision.revision:
                session.revision_sent = revision.revision
                messages.append(_offer(coordinator, node, revision))
            return messages
    for execution in tx.forgets.executions_of(node.node_id, states={ExecutionState.APPLYING}):
        nonce = execution.challenge_nonce
        if nonce is not None and nonce not in session.erase_sent:
            session.erase_sent.add(nonce)
            messages.append(_erase_order(coordinator, tx, execution, nonce, node.revision))
    return messages


def _forget_log(tx: Transaction, node: NodeRow, session: Session) -> list[wire.ConnectResponse]:
    entries = tx.log.range(max(node.generation, session.log_sent))
    messages = []
    for start in range(0, len(entries), RANGE_LIMIT):
        chunk = entries[start : start + RANGE_LIMIT]
        envelopes = [types.Envelope.FromString(entry.envelope) for entry in chunk]
        messages.append(wire.ConnectResponse(forget_log=wire.ForgetLogRange(entries=envelopes)))
    if entries:
        session.log_sent = entries[-1].generation
    return messages


def _offer(coordinator: Coordinator, node: NodeRow, revision: RevisionRow) -> wire.ConnectResponse:
    content = open_content(coordinator, revision)
    purpose = revision_purpose(coordinator.fleet_id, revision.revision, node.node_id)
    return wire.ConnectResponse(
        revision=wire.RevisionOffer(
            manifest=types.Envelope.FromString(revision.manifest),
            content=seal(node.sealing_public_key, purpose, content.SerializeToString()),
        )
    )


def _erase_order(
    coordinator: Coordinator, tx: Transaction, execution: ExecutionRow, nonce: bytes, revision: int
) -> wire.ConnectResponse:
    probes = []
    if execution.expected_probes:
        secret = CanarySecret.load(canary_path(coordinator))
        campaign = tx.forgets.get(execution.campaign_id)
        # "" (a stranger) is what the canary must be that this campaign forgot.
        spent = planted(tx, campaign.tags)
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
