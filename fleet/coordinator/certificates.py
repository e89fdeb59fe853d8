"""Issuing deletion certificates out of the store."""

from __future__ import annotations

from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.core import Coordinator
from fleet.coordinator.views import verdicts_of
from fleet.documents import verdict_name
from fleet.domain.campaign import CampaignState
from fleet.errors import ConflictError
from fleet.store.database import Transaction
from fleet.store.rows import ExecutionRow
from fleet.trust.certificate import AdapterVerdict, Certificate, NodeEvidence, build_certificate
from fleet.trust.leaves import LeafKind, leaf_data
from fleet.trust.merkle import InclusionProof, leaf_hash


def issue(coordinator: Coordinator, tx: Transaction, campaign_id: str) -> str:
    """Return the signed certificate (JSON text) of a forget.

    Raises
    ------
    NotFoundError
        If there is no such forget.
    ConflictError
        If it has not converged.
    """
    campaign = tx.forgets.get(campaign_id)
    if campaign.state is not CampaignState.CONVERGED:
        raise ConflictError(
            f"forget {campaign_id} is {campaign.state}: a certificate is issued once every node is done",
            hint=f"fleet forget watch {campaign_id}",
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
        nodes=tuple(_evidence(tx, execution) for execution in tx.forgets.executions(campaign_id)),
        verdicts=tuple(
            AdapterVerdict(verdict.adapter_kind, verdict_name(verdict.verdict), verdict.basis)
            for verdict in verdicts_of(tx, campaign)
        ),
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
    )


def _inclusion(tx: Transaction, kind: LeafKind, envelope: types.Envelope) -> InclusionProof:
    return tx.tree.inclusion_proof(leaf_hash(leaf_data(kind, envelope)))
