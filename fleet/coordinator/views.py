"""Rows of the store as messages of the OperatorService."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message
from reram_fleet.crypto.digests import lora_digest
from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.learning.cohorts import Cohorts
from fleet.coordinator.learning.erasers import Erasers
from fleet.coordinator.revisions.canaries import LIVE, planted
from fleet.coordinator.wire_enums import ENERGY_PHASE, LEARNING_KIND, QUARANTINE_REASON, SERVE_STATE
from fleet.coordinator.work import Part, Work
from fleet.domain.campaign import CampaignState
from fleet.domain.cohort import AuditState
from fleet.domain.execution import EXCEPTED, SUCCESS, UNHEARD, ExecutionState
from fleet.domain.learning import COHORT_KINDS, JobState
from fleet.domain.repair import judge_repair
from fleet.store.rows import CampaignRow, CostSumRow, ExecutionRow, LearningJobRow, NodeCostRow, NodeRow, SubjectRow

Answer = TypeVar("Answer", bound=Message)

SUBJECT_ADAPTER = "subject-adapter"
SHARED_LORA = "shared-lora"
CLOSED_FORM_HEAD = "closed-form-head"
COHORT_LORA = "cohort-lora"

#: Nodes that a summary names: of each state, and of those that are excepted or may serve.
MOST_EXAMPLES = 5
MOST_LISTED = 100


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
        self._erasers = work.part(Erasers)

    def node(self, node: NodeRow, connected: frozenset[str]) -> wire.Node:
        """Return a node as operators see it."""
        return self.nodes([node], connected)[0]

    def nodes(self, nodes: Sequence[NodeRow], connected: frozenset[str]) -> list[wire.Node]:
        """Return nodes as operators see them."""
        canaries, ids = self._tx.subjects.canaries(), [node.node_id for node in nodes]
        costs, put_aside = self._tx.nodes.costs(ids), self._tx.nodes.quarantined_counts(ids)
        return [
            copied(
                wire.Node,
                node,
                connected=node.node_id in connected,
                serve_state=SERVE_STATE.values[node.serve_state],
                quarantine_reason=QUARANTINE_REASON.values[node.quarantine_reason],
                costs=costs_view(costs[node.node_id]),
                energy_model=types.EnergyModel(name=node.energy_model_name, version=node.energy_model_version),
                overhead=types.DeploymentOverhead.FromString(node.overhead or b""),
                subject_adapters=max(0, node.subject_adapters - _canaries_on(node, canaries)),
                quarantined_reports=put_aside.get(node.node_id, 0),
            )
            for node in nodes
        ]

    def forget(self, campaign: CampaignRow) -> wire.Forget:
        """Return the summary of a forget: counts and whom to look at first; once converged, verdicts and costs.

        Whoever watches an open one looks several times a second: it costs no more with ten thousand receipts.
        """
        forgets, campaign_id = self._tx.forgets, campaign.campaign_id
        counts = forgets.counts(campaign_id)
        excepted = forgets.examples(campaign_id, EXCEPTED & counts.keys(), MOST_LISTED)
        return copied(
            wire.Forget,
            campaign,
            counts=[wire.StateCount(state=state, nodes=counts[state]) for state in ExecutionState if state in counts],
            examples=[
                copied(wire.Execution, row, receipt=None)
                for state in ExecutionState
                if state in counts and state not in SUCCESS
                for row in forgets.executions(campaign_id, states={state}, limit=MOST_EXAMPLES)
            ],
            verdicts=self.verdicts_of(campaign),
            concepts=self._erasers.concepts_of(campaign),
            excepted_node_ids=sorted(excepted)[:MOST_LISTED],
            may_serve=self._may_serve(campaign, UNHEARD & counts.keys()),
            **(self._spent(campaign_id) if campaign.state is CampaignState.CONVERGED else {}),
        )

    def _spent(self, campaign_id: str) -> dict[str, Any]:
        """Return what the accepted receipts of a forget add up to."""
        receipts = self._tx.receipts
        first = receipts.first(campaign_id)
        model = first and types.EnergyModel(name=first.energy_model_name, version=first.energy_model_version)
        costs, writes = costs_view(receipts.costs(campaign_id)), receipts.reram_writes(campaign_id)
        return {"energy_model": model, "costs": costs, "reram_writes": writes}

    def _may_serve(self, campaign: CampaignRow, states: Iterable[ExecutionState]) -> list[wire.MayServe]:
        """Return the first nodes that have not said that they suppressed a forget while their last lease lasts.

        An upper bound: a lease that was granted after the commit is worth nothing to a node without the entry.
        """
        late = self._tx.forgets.may_serve(campaign.campaign_id, campaign.generation, states, MOST_LISTED)
        return [copied(wire.MayServe, row, until_unix_ms=row.lease_until_ms) for row in late]

    def verdicts_of(self, campaign: CampaignRow) -> list[wire.Verdict]:
        """Return one verdict per adapter kind that the forget touched; none before it has converged."""
        if campaign.state is not CampaignState.CONVERGED:
            return []
        if self._erasers.concepts_of(campaign):
            # Whatever hides it, the crossbars know it: there is no other outcome.
            return [self._erasers.verdict(campaign)]
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
        if self._tx.receipts.erasing(campaign.campaign_id, beyond=probes):
            return True
        # An accepted receipt says no less than was known; of whom there is none, it has to be asked.
        held = self._tx.forgets.held(campaign.campaign_id, EXCEPTED)
        return any(known.subject_adapters > probes or known.lora_rows or known.samples for known in held)

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
                audit=wire.CohortAudit(**{"state": AuditState.NONE, **row.audit}),
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


def costs_view(rows: Iterable[NodeCostRow | CostSumRow]) -> list[types.PhaseCost]:
    """Return costs by phase as they travel."""
    return [copied(types.PhaseCost, row, phase=ENERGY_PHASE.values[row.phase]) for row in rows]
