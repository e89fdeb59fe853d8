"""Issuing deletion certificates out of the store."""

from __future__ import annotations

from collections.abc import Iterator

from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import node_decisions
from fleet.coordinator.canaries import planted
from fleet.coordinator.core import Coordinator
from fleet.coordinator.views import verdicts_of
from fleet.documents import verdict_name
from fleet.domain.campaign import CampaignState
from fleet.errors import ConflictError
from fleet.store.database import Transaction
from fleet.store.rows import ExecutionRow
from fleet.trust.audit import needed_events
from fleet.trust.certificate import AdapterVerdict, Certificate, LoggedEvent, NodeEvidence, build_certificate
from fleet.trust.leaves import LeafKind, leaf_data
from fleet.trust.merkle import InclusionProof, leaf_hash


def issue(coordinator: Coordinator, tx: Transaction, campaign_id: str) -> str:
    """Return the signed certificate (JSON text) of a forget.

    Raises `NotFoundError` if there is no such forget; `ConflictError` if it has not converged, or concerned no node.
    """
    campaign = tx.forgets.get(campaign_id)
    if campaign.state is not CampaignState.CONVERGED:
        raise ConflictError(
            f"forget {campaign_id} is {campaign.state}: a certificate is issued once every node is done",
            hint=f"fleet forget watch {campaign_id}",
        )
    executions = tx.forgets.executions(campaign_id)
    if not executions:
        raise ConflictError(
            f"forget {campaign_id} was committed for a fleet without nodes: there is nothing to certify",
            hint="fleet node enroll",
        )
    command = types.Envelope.FromString(tx.log.get(campaign.generation).envelope)
    content = Certificate(
        fleet_id=coordinator.fleet_id,
        campaign_id=campaign_id,
        generation=campaign.generation,
        issued_at_ms=tx.now_ms,
        subject_tags=campaign.tags,
        command=command,
        command_inclusion=_inclusion(tx, LeafKind.FORGET_COMMAND, command),
        tree_size=tx.tree.size(),
        root_hash=tx.tree.root(),
        nodes=tuple(_evidence(tx, execution) for execution in executions),
        verdicts=tuple(
            AdapterVerdict(verdict.adapter_kind, verdict_name(verdict.verdict), verdict.basis)
            for verdict in verdicts_of(tx, campaign)
        ),
        campaign_version=campaign.version,
        converged_at_ms=campaign.converged_at_ms or 0,
        planted_tags=planted(tx, campaign.tags),
    )
    return build_certificate(content, coordinator.keys.command_key)


def _evidence(tx: Transaction, execution: ExecutionRow) -> NodeEvidence:
    receipt = types.Envelope.FromString(execution.receipt) if execution.receipt else None
    return NodeEvidence(
        node_id=execution.node_id,
        state=execution.state,
        detail=execution.detail,
        receipt_public_key=tx.nodes.get(execution.node_id).receipt_public_key,
        receipt=receipt,
        inclusion=None if receipt is None else _inclusion(tx, LeafKind.RECEIPT, receipt),
        checks=execution.checks,
        joined=execution.joined,
        events=tuple(_events(tx, execution)),
    )


def _events(tx: Transaction, execution: ExecutionRow) -> Iterator[LoggedEvent]:
    """Yield the newest decision of each kind that the node's place in this certificate rests on."""
    about = node_decisions.about(tx, execution.node_id)
    for kind in needed_events(execution.state, joined=execution.joined):
        for envelope, event in reversed(about):
            if (
                event.kind == kind
                and event.generation >= execution.generation
                and event.campaign_id in ("", execution.campaign_id)
            ):
                yield LoggedEvent(envelope, _inclusion(tx, LeafKind.AUDIT_EVENT, envelope))
                break


def _inclusion(tx: Transaction, kind: LeafKind, envelope: types.Envelope) -> InclusionProof:
    return tx.tree.inclusion_proof(leaf_hash(leaf_data(kind, envelope)))
