"""Rows of the store as messages of the OperatorService."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message
from reram_fleet.crypto.digests import lora_digest
from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.learning.cohorts import Cohorts
from fleet.coordinator.revisions.canaries import LIVE, planted
from fleet.coordinator.wire_enums import ENERGY_PHASE, LEARNING_KIND, QUARANTINE_REASON, SERVE_STATE
from fleet.coordinator.work import Part, Work
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import EXCEPTED
from fleet.domain.learning import COHORT_KINDS, JobState
from fleet.domain.repair import judge_repair
from fleet.store.rows import CampaignRow, ExecutionRow, LearningJobRow, NodeRow, SubjectRow

Answer = TypeVar("Answer", bound=Message)

SUBJECT_ADAPTER = "subject-adapter"
SHARED_LORA = "shared-lora"
CLOSED_FORM_HEAD = "closed-form-head"
COHORT_LORA = "cohort-lora"


def copied(kind: type[Answer], row: object, /, **others: Any) -> Answer:
    """Return a row as a message: every field that a column has the name of, but for `others`.

    A time is `..._ms` in the store and `..._unix_ms` on the wire. What is None stays unset.
    """
    values = dict(others)
    for name in kind.DESCRIPTOR.fields_by_name.keys() - others.keys():
        value = getattr(row, name.replace("_unix_ms", "_ms"), None)
        if value is not None:
            values[name] = value
    return kind(**values)


class Views(Part):
    """Rows as operators see them."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._cohorts = work.part(Cohorts)

    def node(self, node: NodeRow, connected: frozenset[str]) -> wire.Node:
        """Return a node as operators see it."""
        return self.nodes(connected, [node])[0]

    def nodes(self, connected: frozenset[str], nodes: Sequence[NodeRow] | None = None) -> list[wire.Node]:
        """Return nodes, by default all of them, as operators see them."""
        canaries = self._tx.subjects.canaries()
        return [
            copied(
                wire.Node,
                node,
                connected=node.node_id in connected,
                serve_state=SERVE_STATE.values[node.serve_state],
                quarantine_reason=QUARANTINE_REASON.values[node.quarantine_reason],
                costs=[
                    copied(types.PhaseCost, cost, phase=ENERGY_PHASE.values[cost.phase])
                    for cost in self._tx.nodes.costs(node.node_id)
                ],
                energy_model=types.EnergyModel(name=node.energy_model_name, version=node.energy_model_version),
                overhead=types.DeploymentOverhead.FromString(node.overhead or b""),
                subject_adapters=max(0, node.subject_adapters - _canaries_on(node, canaries)),
                quarantined_reports=sum(row.count for row in self._tx.nodes.quarantined(node.node_id)),
            )
            for node in (self._tx.nodes.list() if nodes is None else nodes)
        ]

    def forget(self, campaign: CampaignRow) -> wire.Forget:
        """Return a forget with executions, verdicts, and what its receipts add up to."""
        executions = self._tx.forgets.executions(campaign.campaign_id)
        receipts = _receipts_of(executions)
        return copied(
            wire.Forget,
            campaign,
            executions=[execution_view(execution) for execution in executions],
            verdicts=self.verdicts_of(campaign),
            costs=total_costs(cost for receipt in receipts for cost in receipt.costs),
            reram_writes=sum(receipt.reram_writes for receipt in receipts),
            energy_model=receipts[0].energy_model if receipts else None,
            excepted_node_ids=[e.node_id for e in executions if e.state in EXCEPTED],
            may_serve=self._may_serve(campaign, executions),
        )

    def _may_serve(self, campaign: CampaignRow, executions: Sequence[ExecutionRow]) -> list[wire.MayServe]:
        """Return the nodes that have not said that they suppressed a forget while their last lease lasts.

        An upper bound: a lease that was granted after the commit is worth nothing to a node without the entry.
        """
        concerned = {execution.node_id for execution in executions}
        return [
            wire.MayServe(
                node_id=node.node_id, until_unix_ms=node.lease_until_ms, last_contact_unix_ms=node.last_contact_ms or 0
            )
            for node in self._tx.nodes.list(include_retired=True)
            if node.node_id in concerned
            and node.generation < campaign.generation
            and node.lease_until_ms is not None
            and node.lease_until_ms > self._tx.now_ms
        ]

    def verdicts_of(self, campaign: CampaignRow) -> list[wire.Verdict]:
        """Return one verdict per adapter kind that the forget touched; none before it has converged."""
        if campaign.state is not CampaignState.CONVERGED:
            return []
        if not self._anybody_held(campaign):
            basis = (
                "no node had contributed anything of those named, no revision had an adapter of them, "
                "and no receipt says that more was erased than the planted probe; these tags stay refused"
            )
            verdict = wire.VERDICT_CLASS_NOTHING_HELD
            return [wire.Verdict(adapter_kind=SUBJECT_ADAPTER, verdict=verdict, basis=basis)]
        exact = {
            SUBJECT_ADAPTER: "destroyed with its keys; nothing else depended on it, and every node's remaining "
            "adapters have the digests that the coordinator recomputed without the person"
        }
        if self._tx.heads.knew(campaign.tags):
            exact[CLOSED_FORM_HEAD] = self._basis_of_head()
        if shards := self._tx.cohorts.forgets(campaign.campaign_id):
            exact[COHORT_LORA] = "; ".join(row.basis for row in shards)
        verdicts = [
            wire.Verdict(adapter_kind=kind, verdict=wire.VERDICT_CLASS_EXACT, basis=basis)
            for kind, basis in exact.items()
        ]
        if campaign.lora_affected:
            verdicts.append(self._verdict_of_lora(campaign))
        return verdicts

    def _verdict_of_lora(self, campaign: CampaignRow) -> wire.Verdict:
        job = self._tx.learning.get(campaign.repair_job_id) if campaign.repair_job_id else None
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
        return wire.Verdict(adapter_kind=SHARED_LORA, verdict=verdict, basis=basis)

    def _anybody_held(self, campaign: CampaignRow) -> bool:
        """Whether anybody's adapter, row or sample was there to forget, but for the planted probe's."""
        probes = len(planted(self._tx, campaign.tags))
        executions = self._tx.forgets.executions(campaign.campaign_id)
        held = [execution.held for execution in executions if execution.held is not None]
        if any(row.subject_adapters > probes or row.lora_rows or row.samples for row in held):
            return True
        return any(
            receipt.subject_adapters_erased > probes or receipt.lora_rows_erased or receipt.code_samples_erased
            for receipt in _receipts_of(executions)
        )

    def _basis_of_head(self) -> str:
        newest = self._tx.revisions.latest()
        # Without a note, the revision is one from which the head was taken out for yet another forget.
        noted = newest is not None and self._tx.heads.note_of(newest.revision) is not None
        if newest is not None and noted and self._tx.heads.tags_of(newest.revision):
            return (
                "solved anew from the integer sums of those who are left, certified to be exactly rounded: "
                "bitwise as if the person had never been enrolled; their statistics went with their key, and "
                "every node's head has the digest that the coordinator recomputed"
            )
        return "dropped as a whole: no column is left that was solved with the person"

    def job(self, job: LearningJobRow) -> wire.LearningJob:
        """Return a learning job."""
        shard = self._tx.cohorts.job(job.job_id).shard if job.kind in COHORT_KINDS else None
        return copied(wire.LearningJob, job, kind=LEARNING_KIND.values[job.kind], shard=shard)

    def cohorts(self) -> wire.GetCohortsResponse:
        """Return all that decides the cohorts' rows, but for what nodes have captured."""
        shards = [
            wire.CohortShard(
                shard=row.history.shard,
                rounds=row.history.rounds,
                members=[
                    wire.CohortMember(subject_tag=tag, entry=entry)
                    for tag, entry in sorted(row.history.entries.items())
                ],
                log=[wire.CohortRound(**entry.to_json()) for entry in row.history.log],
                replay_from=row.replay_from,
                replay_job_id=row.replay_job_id or "",
                digest=lora_digest(self._cohorts.rows_of(row.history.shard)),
                audit=wire.CohortAudit(**{"state": "none", **row.audit}),
            )
            for row in self._tx.cohorts.list()
        ]
        return wire.GetCohortsResponse(shards=len(shards), cohorts=shards)


def _canaries_on(node: NodeRow, canaries: Sequence[SubjectRow]) -> int:
    """Return how many of a node's adapters are planted: two in every revision, until they are forgotten."""
    if not node.revision:
        return 0
    there = [c for c in canaries if not c.forgotten or (c.forgotten_generation or 0) > node.generation]
    return min(LIVE, len(there))


def execution_view(execution: ExecutionRow) -> wire.Execution:
    """Return an execution, with the receipt as it was signed."""
    receipt = types.Envelope.FromString(execution.receipt) if execution.receipt else None
    return copied(wire.Execution, execution, receipt=receipt)


def _receipts_of(executions: Iterable[ExecutionRow]) -> list[types.Receipt]:
    envelopes = [types.Envelope.FromString(execution.receipt) for execution in executions if execution.receipt]
    return [types.Receipt.FromString(envelope.payload) for envelope in envelopes]


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
