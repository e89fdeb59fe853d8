"""Rows of the store as messages of the OperatorService."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reram_fleet.crypto.digests import lora_digest
from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import cohorts
from fleet.coordinator.canaries import LIVE
from fleet.coordinator.core import Coordinator
from fleet.coordinator.jobs import WIRE_KINDS
from fleet.coordinator.wire_enums import wire_phase, wire_quarantine_reason, wire_serve_state
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import EXCEPTED
from fleet.domain.learning import COHORT_KINDS, JobState
from fleet.domain.repair import judge_repair
from fleet.store.database import Transaction
from fleet.store.rows import (
    CampaignRow,
    ExecutionRow,
    LearningJobRow,
    NodeCostRow,
    NodeRow,
    QuarantinedReportRow,
    SubjectRow,
)

SUBJECT_ADAPTER = "subject-adapter"
SHARED_LORA = "shared-lora"
CLOSED_FORM_HEAD = "closed-form-head"
COHORT_LORA = "cohort-lora"


def node_views(tx: Transaction, connected: frozenset[str]) -> list[wire.Node]:
    """Return all nodes as operators see them."""
    canaries = tx.subjects.canaries()
    return [_node_view(tx, node, connected, canaries) for node in tx.nodes.list()]


def node_view(tx: Transaction, node: NodeRow, connected: frozenset[str]) -> wire.Node:
    """Return a node as operators see it."""
    return _node_view(tx, node, connected, tx.subjects.canaries())


def _node_view(tx: Transaction, node: NodeRow, connected: frozenset[str], canaries: Sequence[SubjectRow]) -> wire.Node:
    return wire.Node(
        node_id=node.node_id,
        connected=node.node_id in connected,
        last_contact_unix_ms=node.last_contact_ms or 0,
        generation=node.generation,
        revision=node.revision,
        serve_state=wire_serve_state(node.serve_state),
        quarantine_reason=wire_quarantine_reason(node.quarantine_reason),
        costs=[_cost(row) for row in tx.nodes.costs(node.node_id)],
        energy_model=types.EnergyModel(name=node.energy_model_name, version=node.energy_model_version),
        overhead=types.DeploymentOverhead.FromString(node.overhead or b""),
        inferences=node.inferences,
        subject_adapters=max(0, node.subject_adapters - _canaries_on(node, canaries)),
        flower_node_id=node.flower_node_id or 0,
        held_reason=node.held_reason,
        software_version=node.software_version,
        quarantined_reports=sum(row.count for row in tx.nodes.quarantined(node.node_id)),
        lease_until_unix_ms=node.lease_until_ms or 0,
        retired_at_unix_ms=node.retired_at_ms or 0,
    )


def quarantined_view(row: QuarantinedReportRow) -> wire.QuarantinedReport:
    """Return reports that were put aside for one reason."""
    return wire.QuarantinedReport(
        kind=row.kind,
        reason=row.reason,
        first_at_unix_ms=row.first_at_ms,
        last_at_unix_ms=row.last_at_ms,
        count=row.count,
    )


def _canaries_on(node: NodeRow, canaries: Sequence[SubjectRow]) -> int:
    """Return how many of a node's adapters are planted: two in every revision, until they are forgotten."""
    if not node.revision:
        return 0
    there = [c for c in canaries if not c.forgotten or (c.forgotten_generation or 0) > node.generation]
    return min(LIVE, len(there))


def _cost(row: NodeCostRow) -> types.PhaseCost:
    return types.PhaseCost(
        phase=wire_phase(row.phase),
        energy_j=row.energy_j,
        seconds=row.seconds,
        bytes=row.bytes,
        cell_writes=row.cell_writes,
    )


def execution_view(execution: ExecutionRow) -> wire.Execution:
    """Return an execution, with the receipt as it was signed."""
    return wire.Execution(
        campaign_id=execution.campaign_id,
        node_id=execution.node_id,
        state=execution.state,
        detail=execution.detail,
        updated_at_unix_ms=execution.updated_at_ms,
        generation=execution.generation,
        receipt=types.Envelope.FromString(execution.receipt) if execution.receipt else None,
    )


def forget_view(tx: Transaction, campaign: CampaignRow) -> wire.Forget:
    """Return a forget with executions, verdicts, and what its receipts add up to."""
    executions = tx.forgets.executions(campaign.campaign_id)
    receipts = [
        types.Receipt.FromString(types.Envelope.FromString(execution.receipt).payload)
        for execution in executions
        if execution.receipt
    ]
    return wire.Forget(
        campaign_id=campaign.campaign_id,
        request_id=campaign.request_id,
        generation=campaign.generation,
        state=campaign.state,
        created_at_unix_ms=campaign.created_at_ms,
        executions=[execution_view(execution) for execution in executions],
        verdicts=verdicts_of(tx, campaign),
        repair_job_id=campaign.repair_job_id or "",
        seconds_to_suppress=campaign.seconds_to_suppress,
        seconds_to_verify=campaign.seconds_to_verify,
        costs=total_costs(cost for receipt in receipts for cost in receipt.costs),
        reram_writes=sum(receipt.reram_writes for receipt in receipts),
        energy_model=receipts[0].energy_model if receipts else None,
        excepted_node_ids=[e.node_id for e in executions if e.state in EXCEPTED],
        may_serve=_may_serve(tx, campaign, executions),
    )


def _may_serve(tx: Transaction, campaign: CampaignRow, executions: Sequence[ExecutionRow]) -> list[wire.MayServe]:
    """Return the nodes that have not said that they suppressed a forget while their last lease lasts.

    An upper bound: a lease that was granted after the commit is worth nothing to a node without the entry.
    """
    concerned = {execution.node_id for execution in executions}
    return [
        wire.MayServe(
            node_id=node.node_id, until_unix_ms=node.lease_until_ms, last_contact_unix_ms=node.last_contact_ms or 0
        )
        for node in tx.nodes.list(include_retired=True)
        if node.node_id in concerned
        and node.generation < campaign.generation
        and node.lease_until_ms is not None
        and node.lease_until_ms > tx.now_ms
    ]


def verdicts_of(tx: Transaction, campaign: CampaignRow) -> list[wire.Verdict]:
    """Return one verdict per adapter kind that the forget touched; none before it has converged."""
    if campaign.state is not CampaignState.CONVERGED:
        return []
    if not _anybody_held(tx, campaign):
        return [
            wire.Verdict(
                adapter_kind=SUBJECT_ADAPTER,
                verdict=wire.VERDICT_CLASS_NOTHING_HELD,
                basis="no node had contributed anything of those named, no revision had an adapter of them, "
                "and no receipt says that more was erased than the planted probe; these tags stay refused",
            )
        ]
    verdicts = [
        wire.Verdict(
            adapter_kind=SUBJECT_ADAPTER,
            verdict=wire.VERDICT_CLASS_EXACT,
            basis="destroyed with its keys; nothing else depended on it, and every node's remaining adapters "
            "have the digests that the coordinator recomputed without the person",
        )
    ]
    if tx.heads.knew(campaign.tags):
        verdicts.append(_head_verdict(tx))
    if shards := tx.cohorts.forgets(campaign.campaign_id):
        basis = "; ".join(row.basis for row in shards)
        exact = wire.VERDICT_CLASS_EXACT
        verdicts.append(wire.Verdict(adapter_kind=COHORT_LORA, verdict=exact, basis=basis))
    if not campaign.lora_affected:
        return verdicts
    job = tx.learning.get(campaign.repair_job_id) if campaign.repair_job_id else None
    if job is not None and job.state is JobState.SUCCEEDED:
        verdict = wire.VERDICT_CLASS_APPROXIMATE
        lines = "; ".join(map(str, judge_repair(job.metrics)))
        basis = (
            f"accepted: row removed, the other rows repaired by hinged NegGrad+ (learning job {job.job_id}); "
            f"with it, {lines}"
        )
    else:
        verdict = wire.VERDICT_CLASS_EXACT
        basis = "the whole shared LoRA was dropped: nothing trained on the person is left"
        if job is not None:
            basis += f" ({job.error})"
    verdicts.append(wire.Verdict(adapter_kind=SHARED_LORA, verdict=verdict, basis=basis))
    return verdicts


def _anybody_held(tx: Transaction, campaign: CampaignRow) -> bool:
    """Whether anybody's adapter, row or sample was there to forget, but for the planted probe's."""
    planted = sum((row := tx.subjects.find(tag)) is not None and row.canary for tag in campaign.tags)
    for execution in tx.forgets.executions(campaign.campaign_id):
        held = execution.held
        if held is not None and (held.subject_adapters > planted or held.lora_rows or held.samples):
            return True
        if execution.receipt is not None:
            said = types.Receipt.FromString(types.Envelope.FromString(execution.receipt).payload)
            if said.subject_adapters_erased > planted or said.lora_rows_erased or said.code_samples_erased:
                return True
    return False


def _head_verdict(tx: Transaction) -> wire.Verdict:
    newest = tx.revisions.latest()
    # Without a note, the revision is one from which the head was taken out for yet another forget.
    noted = newest is not None and tx.heads.note_of(newest.revision) is not None
    if newest is not None and noted and tx.heads.tags_of(newest.revision):
        basis = (
            "solved anew from the integer sums of those who are left, certified to be exactly rounded: "
            "bitwise as if the person had never been enrolled; their statistics went with their key, and "
            "every node's head has the digest that the coordinator recomputed"
        )
    else:
        basis = "dropped as a whole: no column is left that was solved with the person"
    return wire.Verdict(adapter_kind=CLOSED_FORM_HEAD, verdict=wire.VERDICT_CLASS_EXACT, basis=basis)


def total_costs(costs: Iterable[types.PhaseCost]) -> list[types.PhaseCost]:
    """Return the sums by phase, in the order of the phases."""
    totals: dict[int, types.PhaseCost] = {}
    for cost in costs:
        total = totals.setdefault(cost.phase, types.PhaseCost(phase=cost.phase))
        total.energy_j += cost.energy_j
        total.seconds += cost.seconds
        total.bytes += cost.bytes
        total.cell_writes += cost.cell_writes
    return [totals[phase] for phase in sorted(totals)]


def job_view(tx: Transaction, job: LearningJobRow) -> wire.LearningJob:
    """Return a learning job."""
    return wire.LearningJob(
        job_id=job.job_id,
        request_id=job.request_id,
        kind=WIRE_KINDS[job.kind],
        state=job.state,
        attempt=job.attempt,
        rounds=job.rounds,
        rounds_done=job.rounds_done,
        generation=job.generation,
        created_at_unix_ms=job.created_at_ms,
        error=job.error,
        flower_run_id=job.flower_run_id or 0,
        revision=job.revision or 0,
        campaign_id=job.campaign_id or "",
        metrics=job.metrics,
        shard=tx.cohorts.job(job.job_id).shard if job.kind in COHORT_KINDS else None,
    )


def cohorts_view(coordinator: Coordinator, tx: Transaction) -> wire.GetCohortsResponse:
    """Return all that decides the cohorts' rows, but for what nodes have captured."""
    shards = [
        wire.CohortShard(
            shard=row.history.shard,
            rounds=row.history.rounds,
            members=[
                wire.CohortMember(subject_tag=tag, entry=entry) for tag, entry in sorted(row.history.entries.items())
            ],
            log=[wire.CohortRound(**entry.to_json()) for entry in row.history.log],
            replay_from=row.replay_from,
            replay_job_id=row.replay_job_id or "",
            digest=lora_digest(cohorts.rows_of(coordinator, tx, row.history.shard)),
            audit=_audit(row.audit),
        )
        for row in tx.cohorts.list()
    ]
    return wire.GetCohortsResponse(shards=len(shards), cohorts=shards)


def _audit(audit: Mapping[str, Any]) -> wire.CohortAudit:
    return wire.CohortAudit(
        state=audit.get("state", "none"),
        job_id=audit.get("job_id", ""),
        lines=[wire.CohortAuditLine(**line) for line in audit.get("lines", [])],
        detail=audit.get("detail", ""),
    )
