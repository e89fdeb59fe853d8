"""Issuing deletion certificates out of the store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from reram_fleet.crypto.signing import key_id
from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.nodes.decisions import Decisions
from fleet.coordinator.pages import PAGE_BYTES
from fleet.coordinator.revisions.canaries import planted
from fleet.coordinator.views import Views
from fleet.coordinator.work import Part, Work
from fleet.documents import verdict_name
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import SUCCESS
from fleet.errors import ConflictError, InvalidInputError
from fleet.store.rows import CampaignRow, ExecutionRow
from fleet.trust.audit import needed_events
from fleet.trust.certificate import AdapterVerdict, Certificate, build_certificate
from fleet.trust.evidence import (
    CertifiedNode,
    LoggedEvent,
    NodeEvidence,
    NodesSummary,
    certified_tree,
    evidence_to_json,
)
from fleet.trust.leaves import LeafKind, leaf_data, nodes_root
from fleet.trust.merkle import InclusionProof, leaf_hash

#: Nodes whose evidence is read at once.
_AT_ONCE = 200


class Certificates(Part):
    """Issuer of deletion certificates."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._decisions = work.part(Decisions)
        self._views = work.part(Views)

    def issue(self, campaign_id: str) -> str:
        """Return the signed certificate (JSON text) of a forget, without receipts.

        Raises `NotFoundError` if there is no such forget; `ConflictError` if it has not converged, concerned no node,
        or not all that it concerned are known as they are since a restore of the coordinator.
        """
        campaign = self._converged(campaign_id)
        command, nodes = self._certified(campaign)
        probes = planted(self._tx, campaign.tags)
        summary = NodesSummary(
            counts=Counter(node.state for node in nodes),
            root_hash=certified_tree(nodes).root(),
            exceptions=tuple(self._exception(campaign, node) for node in nodes if node.is_exception),
            erasing=self._tx.receipts.erasing(campaign_id, beyond=len(probes)),
        )
        verdicts = self._views.verdicts_of(campaign)
        content = Certificate(
            fleet_id=self._env.fleet_id,
            campaign_id=campaign_id,
            generation=campaign.generation,
            issued_at_ms=self._tx.now_ms,
            subject_tags=campaign.tags,
            command=LoggedEvent(command, *self._inclusions(LeafKind.FORGET_COMMAND, [command])),
            tree_size=self._tx.tree.size(),
            root_hash=self._tx.tree.root(),
            summary=summary,
            verdicts=tuple(
                AdapterVerdict(each.adapter_kind, verdict_name(each.verdict), each.basis) for each in verdicts
            ),
            campaign_version=campaign.version,
            converged_at_ms=campaign.converged_at_ms or 0,
            planted_tags=probes,
        )
        return build_certificate(content, self._env.keys)

    def evidence(self, request: wire.ListEvidenceRequest) -> wire.ListEvidenceResponse:
        """Return a page of the evidence of a certificate's nodes, by id; or of the one that is named.

        That has the proof that the certificate's root binds it. Raises as `issue` does, and `NotFoundError` if the
        forget did not concern the node, or a receipt is not in the log of that size.
        """
        size, token = request.tree_size or self._tx.tree.size(), request.page_token
        if size > self._tx.tree.size():
            raise InvalidInputError(f"the log has {self._tx.tree.size()} leaves, not {size}")
        campaign = self._converged(request.campaign_id)
        if request.node_id:
            rows = [self._tx.forgets.execution(campaign.campaign_id, request.node_id)]
            _, nodes = self._certified(campaign)
            place = [node.node_id for node in nodes].index(request.node_id)
            (node,) = self._evidence(campaign, rows, size)
            node = replace(node, in_certificate=certified_tree(nodes).prove_inclusion(place))
            return wire.ListEvidenceResponse(nodes=[json.dumps(evidence_to_json(node))])
        rows = list(self._tx.forgets.executions(campaign.campaign_id, after=token, limit=_AT_ONCE))
        page, room = wire.ListEvidenceResponse(), PAGE_BYTES
        for node in self._evidence(campaign, rows, size):
            page.nodes.append(json.dumps(evidence_to_json(node)))
            room -= len(page.nodes[-1])
            if room < 0:
                break
        if len(page.nodes) == _AT_ONCE or len(page.nodes) < len(rows):
            page.next_page_token = rows[len(page.nodes) - 1].node_id
        return page

    def _converged(self, campaign_id: str) -> CampaignRow:
        campaign = self._tx.forgets.get(campaign_id)
        if campaign.state is not CampaignState.CONVERGED:
            raise ConflictError(
                f"forget {campaign_id} is {campaign.state}: a certificate is issued once every node is done",
                hint=f"fleet forget watch {campaign_id}",
            )
        return campaign

    def _certified(self, campaign: CampaignRow) -> tuple[types.Envelope, list[CertifiedNode]]:
        """Return the command of a forget, and its nodes by id as a certificate binds them."""
        nodes = [
            CertifiedNode(row.node_id, row.state, row.joined)
            if row.payload_hash is None
            else CertifiedNode(
                row.node_id,
                row.state,
                row.joined,
                row.payload_hash,
                key_id(row.receipt_public_key),
                row.checks_digest or b"",
            )
            for row in self._tx.receipts.certified(campaign.campaign_id)
        ]
        if not nodes:
            raise ConflictError(
                f"forget {campaign.campaign_id} was committed for a fleet without nodes: there is nothing to certify",
                hint="fleet node enroll",
            )
        if unheard := self._tx.nodes.unheard() & {node.node_id for node in nodes}:
            raise ConflictError(
                f"the coordinator was restored from a backup, and {', '.join(sorted(unheard)[:5])} has not reconnected "
                "since: what the backup says of it may be out of date",
                hint="start the node, or take it out with `fleet node retire`",
            )
        command = types.Envelope.FromString(self._tx.log.get(campaign.generation).envelope)
        committed = _committed_for(types.ForgetCommand.FromString(command.payload), nodes)
        return command, sorted(committed, key=lambda node: node.node_id)

    def _exception(self, campaign: CampaignRow, node: CertifiedNode) -> NodeEvidence:
        """Return the decisions that a node's place in the certificate rests on."""
        execution = self._tx.forgets.execution(campaign.campaign_id, node.node_id)
        return NodeEvidence(
            node_id=node.node_id,
            state=node.state,
            detail=execution.detail,
            receipt_public_key=self._tx.nodes.get(node.node_id).receipt_public_key,
            joined=node.joined,
            events=tuple(self._events(campaign, node)),
        )

    def _events(self, campaign: CampaignRow, node: CertifiedNode) -> Iterator[LoggedEvent]:
        """Yield the newest decision of each kind that the node's place in this certificate rests on."""
        about = self._decisions.about(node.node_id)
        for kind in needed_events(node):
            for envelope, event in reversed(about):
                if (
                    event.kind == kind
                    and event.generation >= campaign.generation
                    and event.campaign_id in ("", campaign.campaign_id)
                ):
                    yield LoggedEvent(envelope, *self._inclusions(LeafKind.AUDIT_EVENT, [envelope]))
                    break

    def _evidence(self, campaign: CampaignRow, executions: Sequence[ExecutionRow], size: int) -> Iterator[NodeEvidence]:
        """Yield the evidence of some nodes, with proofs for the log of a size."""
        receipts = {
            each.node_id: types.Envelope.FromString(each.receipt)
            for each in executions
            if each.receipt and each.state in SUCCESS
        }
        proofs = dict(zip(receipts, self._inclusions(LeafKind.RECEIPT, list(receipts.values()), size), strict=True))
        keys = {node.node_id: node.receipt_public_key for node in self._tx.nodes.chosen(e.node_id for e in executions)}
        joined = {each.node_id for each in executions if each.joined}
        if joined:
            # Not by themselves: see `_committed_for`.
            joined = {node.node_id for node in self._certified(campaign)[1] if node.joined}
        for each in executions:
            yield NodeEvidence(
                node_id=each.node_id,
                state=each.state,
                detail=each.detail,
                receipt_public_key=keys[each.node_id],
                receipt=receipts.get(each.node_id),
                inclusion=proofs.get(each.node_id),
                checks=each.checks if each.node_id in receipts else (),
                joined=each.node_id in joined,
            )

    def _inclusions(
        self, kind: LeafKind, envelopes: Sequence[types.Envelope], size: int | None = None
    ) -> list[InclusionProof]:
        return self._tx.tree.inclusion_proofs([leaf_hash(leaf_data(kind, each)) for each in envelopes], size)


def _committed_for(command: types.ForgetCommand, nodes: Sequence[CertifiedNode]) -> Sequence[CertifiedNode]:
    """Return the nodes, of which those that did not join later are those that a command was signed for.

    That is so unless the entry came back from a node after a restore: nodes that had been enrolled before, and are
    not in the backup, seem to have joined. Raises `ConflictError` if they are not all known again.
    """
    as_noted = [node.node_id for node in nodes if not node.joined]
    if not command.nodes_root or nodes_root(as_noted) == command.nodes_root:
        return nodes
    if nodes_root(node.node_id for node in nodes) == command.nodes_root:
        return [replace(node, joined=False) for node in nodes]
    raise ConflictError(
        f"forget {command.campaign_id} was committed for {command.nodes} nodes, which are not those that this "
        "coordinator knows of since it was restored from a backup: no certificate can be complete",
        hint="docs/operations/restore.md, on nodes that were enrolled or retired after the backup",
    )
