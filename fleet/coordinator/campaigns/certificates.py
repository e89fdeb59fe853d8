"""Issuing deletion certificates out of the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.nodes.decisions import Decisions
from fleet.coordinator.revisions.canaries import planted
from fleet.coordinator.views import Views
from fleet.coordinator.work import Part, Work
from fleet.documents import verdict_name
from fleet.domain.campaign import CampaignState
from fleet.errors import ConflictError
from fleet.store.rows import ExecutionRow
from fleet.trust.audit import needed_events
from fleet.trust.certificate import AdapterVerdict, Certificate, LoggedEvent, NodeEvidence, build_certificate
from fleet.trust.leaves import LeafKind, leaf_data, nodes_root
from fleet.trust.merkle import InclusionProof, leaf_hash


class Certificates(Part):
    """Issuer of deletion certificates."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._decisions = work.part(Decisions)
        self._views = work.part(Views)

    def issue(self, campaign_id: str) -> str:
        """Return the signed certificate (JSON text) of a forget.

        Raises `NotFoundError` if there is no such forget; `ConflictError` if it has not converged, concerned no node,
        or not all that it concerned are known as they are since a restore of the coordinator.
        """
        campaign = self._tx.forgets.get(campaign_id)
        if campaign.state is not CampaignState.CONVERGED:
            raise ConflictError(
                f"forget {campaign_id} is {campaign.state}: a certificate is issued once every node is done",
                hint=f"fleet forget watch {campaign_id}",
            )
        executions = self._tx.forgets.executions(campaign_id)
        if not executions:
            raise ConflictError(
                f"forget {campaign_id} was committed for a fleet without nodes: there is nothing to certify",
                hint="fleet node enroll",
            )
        if unheard := self._tx.nodes.unheard() & {execution.node_id for execution in executions}:
            raise ConflictError(
                f"the coordinator was restored from a backup, and {', '.join(sorted(unheard)[:5])} has not reconnected "
                "since: what the backup says of it may be out of date",
                hint="start the node, or take it out with `fleet node retire`",
            )
        command = types.Envelope.FromString(self._tx.log.get(campaign.generation).envelope)
        executions = _committed_for(types.ForgetCommand.FromString(command.payload), executions)
        content = Certificate(
            fleet_id=self._env.fleet_id,
            campaign_id=campaign_id,
            generation=campaign.generation,
            issued_at_ms=self._tx.now_ms,
            subject_tags=campaign.tags,
            command=command,
            command_inclusion=self._inclusion(LeafKind.FORGET_COMMAND, command),
            tree_size=self._tx.tree.size(),
            root_hash=self._tx.tree.root(),
            nodes=tuple(self._evidence(execution) for execution in executions),
            verdicts=tuple(
                AdapterVerdict(verdict.adapter_kind, verdict_name(verdict.verdict), verdict.basis)
                for verdict in self._views.verdicts_of(campaign)
            ),
            campaign_version=campaign.version,
            converged_at_ms=campaign.converged_at_ms or 0,
            planted_tags=planted(self._tx, campaign.tags),
        )
        return build_certificate(content, self._env.keys)

    def _evidence(self, execution: ExecutionRow) -> NodeEvidence:
        receipt = types.Envelope.FromString(execution.receipt) if execution.receipt else None
        return NodeEvidence(
            node_id=execution.node_id,
            state=execution.state,
            detail=execution.detail,
            receipt_public_key=self._tx.nodes.get(execution.node_id).receipt_public_key,
            receipt=receipt,
            inclusion=None if receipt is None else self._inclusion(LeafKind.RECEIPT, receipt),
            checks=execution.checks,
            joined=execution.joined,
            events=tuple(self._events(execution)),
        )

    def _events(self, execution: ExecutionRow) -> Iterator[LoggedEvent]:
        """Yield the newest decision of each kind that the node's place in this certificate rests on."""
        about = self._decisions.about(execution.node_id)
        for kind in needed_events(execution.state, joined=execution.joined):
            for envelope, event in reversed(about):
                if (
                    event.kind == kind
                    and event.generation >= execution.generation
                    and event.campaign_id in ("", execution.campaign_id)
                ):
                    yield LoggedEvent(envelope, self._inclusion(LeafKind.AUDIT_EVENT, envelope))
                    break

    def _inclusion(self, kind: LeafKind, envelope: types.Envelope) -> InclusionProof:
        return self._tx.tree.inclusion_proofs([leaf_hash(leaf_data(kind, envelope))])[0]


def _committed_for(command: types.ForgetCommand, executions: Sequence[ExecutionRow]) -> Sequence[ExecutionRow]:
    """Return the executions, of which those that did not join later are on the nodes that a command was signed for.

    That is so unless the entry came back from a node after a restore: nodes that had been enrolled before, and are
    not in the backup, seem to have joined. Raises `ConflictError` if they are not all known again.
    """
    as_noted = [execution.node_id for execution in executions if not execution.joined]
    if not command.nodes_root or nodes_root(as_noted) == command.nodes_root:
        return executions
    if nodes_root(execution.node_id for execution in executions) == command.nodes_root:
        return [replace(execution, joined=False) for execution in executions]
    raise ConflictError(
        f"forget {command.campaign_id} was committed for {command.nodes} nodes, which are not those that this "
        "coordinator knows of since it was restored from a backup: no certificate can be complete",
        hint="docs/operations/backup.md, on nodes that were enrolled or retired after the backup",
    )
