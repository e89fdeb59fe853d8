"""Attempts of learning jobs: when one may begin, nodes and tickets of its rounds, checkpoints, its end."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence

from reram_fleet.crypto.sealing import SealError, job_key_purpose
from reram_fleet.v1 import learning_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.at_rest import job_key_id
from fleet.coordinator.learning.cohort_jobs import CohortJobs
from fleet.coordinator.learning.erasers import Erasers
from fleet.coordinator.learning.lora_state import installable
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.wire_enums import LEARNING_KIND
from fleet.coordinator.work import Part, Work
from fleet.domain.cohort import LoggedRound
from fleet.domain.learning import COHORT_KINDS, CohortPurpose, JobKind, RetryPolicy
from fleet.domain.repair import START, accepted, judge_repair
from fleet.errors import ConflictError
from fleet.learning.errors import StateError
from fleet.learning.sealed_states import open_state
from fleet.store.rows import LearningJobRow, NodeRow

logger = logging.getLogger(__name__)

RETRY = RetryPolicy(max_attempts=5, first_s=1.0, longest_s=30.0)
#: A round on a busy two-core machine takes 10 s; a node that needs longer is left out by the quorum.
ROUND_TIMEOUT_S = 120
#: A job waits this long for nodes that are connected but have not yet installed the people it is about ...
INSTALL_WAIT_MS = 30_000
#: ... and a replay this long for logged nodes that are out of reach; then it runs without them.
LOGGED_WAIT_MS = 60_000
#: Attempts that insist on every logged node that is reachable; later ones take more than half of them.
STRICT_ATTEMPTS = 2


def node_kind(kind: JobKind) -> types.LearningKind:
    """Return what a node is asked to do: a cohort's rounds are training rounds like any other."""
    return types.LEARNING_KIND_TRAIN_LORA if kind in COHORT_KINDS else LEARNING_KIND.values[kind]


class Rounds(Part):
    """Attempts of learning jobs, round by round."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._cohort_jobs = work.part(CohortJobs)
        self._erasers = work.part(Erasers)
        self._revisions = work.part(Revisions)

    def live_nodes(self) -> list[NodeRow]:
        """Return the nodes that can take part in a round: connected, up to date, not held, their SuperNodes as well."""
        generation, plane = self._tx.fleet.get().generation, self._env.learning
        # While nodes have yet to say what was lost with a restore, whoever is trained on may be forgotten.
        connected = frozenset() if self._tx.fleet.awaited() else self._env.sessions.connected()
        return [
            node
            for node in self._tx.nodes.list()
            if node.node_id in connected
            and node.generation == generation
            and not node.held_reason
            and node.flower_node_id is not None
            and self._env.sessions.of(node.node_id).session_key
            and (plane is None or not plane.is_gone(node.flower_public_key))
        ]

    def startable(self, job: LearningJobRow) -> bool:
        """Whether a queued job may begin now, as far as nodes and other jobs go."""
        live = self.live_nodes()
        if job.kind in COHORT_KINDS:
            return self._cohort_startable(job, live)
        # A node that is about to catch up would miss the first round: give it a moment, not for ever.
        return bool(live)

    def begin(self, job: LearningJobRow) -> LearningJobRow | None:
        """Begin the next attempt of a queued job, if it may begin now; returns the job as it is then."""
        waits = job.retry_at_ms is not None and job.retry_at_ms > self._tx.now_ms
        if waits or not self.startable(self._tx.learning.get(job.job_id)):
            return None
        return self._tx.learning.next_attempt(job.job_id)

    def describe(self, job_id: str, attempt: int) -> wire.GetJobResponse:
        """Return what the ServerApp of an attempt needs."""
        job = self._tx.learning.fenced(job_id, attempt)
        live, in_cohort = self.live_nodes(), job.kind in COHORT_KINDS
        return wire.GetJobResponse(
            kind=node_kind(job.kind),
            rounds=job.rounds,
            round_offset=job.rounds_done,
            # More than half: one slow node must not stop a round, and one alone must not be it.
            quorum=self._cohort_quorum(job, live) if in_cohort else len(live) // 2 + 1,
            sealed_state=job.sealed_state,
            job_key=self._env.secrets.get(job_key_id(job_id)),
            round_timeout_s=ROUND_TIMEOUT_S,
        )

    def begin_round(self, job_id: str, attempt: int, round_number: int) -> wire.BeginRoundResponse:
        """Return the live nodes, each with its signed ticket for this round."""
        job = self._tx.learning.fenced(job_id, attempt)
        key = self._env.secrets.get(job_key_id(job_id))
        concept = self._erasers.concept_of(job)
        lora = None if concept else self._revisions.shape()
        verifies = _verifies(job, round_number)
        response = wire.BeginRoundResponse()
        nodes = self.live_nodes()
        if job.kind in COHORT_KINDS:
            nodes = self._cohort_nodes(job, round_number, nodes)
            self._tx.cohorts.set_begun(job.job_id, self._inputs(job))
        for node in nodes:
            session_key = self._env.sessions.of(node.node_id).session_key
            try:
                job_key = self._env.randomness.seal(session_key, job_key_purpose(job_id, node.node_id), key)
            except SealError as error:
                # The round goes on with the others.
                logger.error("node %s is left out of round %d of %s: %s", node.node_id, round_number, job_id, error)
                continue
            ticket = types.JobTicket(
                fleet_id=self._env.fleet_id,
                node_id=node.node_id,
                job_id=job_id,
                attempt=attempt,
                round=round_number,
                kind=types.LEARNING_KIND_EVALUATE_QUALITY if verifies else node_kind(job.kind),
                generation=job.generation,
                # A round may wait its timeout for nodes and again for replies.
                expires_at_unix_ms=self._tx.now_ms + 3000 * ROUND_TIMEOUT_S,
                job_key=job_key,
                subject_tags=() if concept else job.tags,
                forget_tags=job.forget_tags,
                lora=lora,
                concept=concept,
            )
            response.nodes.add(
                node_id=node.node_id, flower_node_id=node.flower_node_id or 0, ticket=self._env.keys.sign(ticket)
            )
        return response

    def checkpoint(
        self, job_id: str, attempt: int, round_number: int, sealed_state: bytes, metrics: Mapping[str, float]
    ) -> None:
        """Keep the state after a round; a later attempt goes on from it.

        A repair's job also remembers what was measured before its first round, and keeps the very state that its
        last round has verified.
        """
        job, kept = self._tx.learning.fenced(job_id, attempt), dict(metrics)
        if job.kind is JobKind.UNLEARN_LORA:
            start = {name.removesuffix("_before") + START: v for name, v in metrics.items() if "_before" in name}
            kept |= start if round_number == 1 else {n: v for n, v in job.metrics.items() if n.endswith(START)}
        state = None if _verifies(job, round_number) else sealed_state or None
        self._tx.learning.checkpoint(job_id, attempt, round_number, sealed_state=state, metrics=kept)

    def report_round(self, request: wire.ReportRoundRequest) -> None:
        """Keep the state after a round and, for a cohort, note who took part: both or neither."""
        job = self._tx.learning.fenced(request.job_id, request.attempt)
        if job.kind in COHORT_KINDS:
            self._log_round(job, request.round, list(request.node_ids))
        self.checkpoint(request.job_id, request.attempt, request.round, request.sealed_state, dict(request.metrics))

    def finish(self, job_id: str, attempt: int, error: str) -> None:
        """End an attempt: on success its state becomes a revision, on failure it is tried again or given up."""
        job = self._tx.learning.fenced(job_id, attempt)
        if error:
            self.fail_attempt(job, error)
            return
        revision = None
        if job.kind is not JobKind.EVALUATE_QUALITY:
            if job.sealed_state is None:
                raise ConflictError(f"job {job_id} has no state to finish with")
            key = self._env.secrets.get(job_key_id(job_id))
            concept = self._erasers.concept_of(job)
            try:
                state = open_state(job_id, key, job.sealed_state)
                if concept:
                    self._tx.learning.finish(job_id, attempt, revision=self._erasers.install(job, concept, state))
                    return
                lora = installable(state, self._revisions.shape())
            except StateError as unusable:
                # No other attempt: it would go on from this very state, and end here again.
                self._tx.learning.cancel(job_id, f"what was learned cannot be installed: {unusable}")
                logger.error("learning job %s: what was learned cannot be installed: %s", job_id, unusable)
                return
            if job.kind is JobKind.UNLEARN_LORA and not accepted(lines := judge_repair(job.metrics)):
                failed = "; ".join(str(line) for line in lines if not line.passed)
                self._tx.learning.cancel(job_id, f"the repair was rejected: {failed}")
                logger.warning("learning job %s: the repair was rejected: %s", job_id, failed)
                return
            cohort = job.kind in COHORT_KINDS
            revision = self._cohort_jobs.finish(job, lora) if cohort else self._revisions.build(lora)
        self._tx.learning.finish(job_id, attempt, revision=revision)
        logger.info("learning job %s has succeeded (revision %s)", job_id, revision)

    def fail_attempt(self, job: LearningJobRow, error: str) -> None:
        """Note that an attempt has failed; the next one follows after a back-off, if one is left."""
        # An attempt that a forget ended has not failed.
        overtaken = self._tx.cohorts.job(job.job_id).overtaken if job.kind in COHORT_KINDS else 0
        share = int.from_bytes(self._env.randomness.draw(4), "big") / 2**32
        retry_at_ms = RETRY.retry_at_ms(job.attempt - overtaken, self._tx.now_ms, share)
        self._tx.learning.fail_attempt(job.job_id, job.attempt, error, retry_at_ms=retry_at_ms)
        logger.warning(
            "attempt %d of learning job %s failed: %s (%s)",
            job.attempt,
            job.job_id,
            error,
            "given up" if retry_at_ms is None else "will be retried",
        )

    # Rounds of cohort shards

    def _cohort_startable(self, job: LearningJobRow, live: Sequence[NodeRow]) -> bool:
        """Whether a queued job of a shard may begin: one at a time, and with the nodes that it needs."""
        found = self._tx.cohorts.job(job.job_id)
        if self._revisions.settled() is None:
            return False
        ready = {node.node_id for node in live if node.revision >= found.min_revision}
        since = self._env.waiting_since
        began_ms = since.setdefault((job.job_id, job.attempt, job.generation), self._tx.now_ms)
        if not ready or (len(ready) < len(live) and self._tx.now_ms - began_ms < INSTALL_WAIT_MS):
            return False
        if found.purpose is not CohortPurpose.TRAIN:
            # A replay is a chain of jobs: what was out of reach for its first is not awaited again.
            chain = f"shard-{found.shard}" if found.purpose is CohortPurpose.REPLAY else job.job_id
            began_ms = since.setdefault((chain, 0, job.generation), began_ms)
            history = self._tx.cohorts.get(found.shard).history
            needed = history.nodes_from(found.first_round + job.rounds_done, found.first_round + job.rounds)
            awaited = {n.node_id for n in self._tx.nodes.list() if not n.held_reason and n.retired_at_ms is None}
            if (needed & awaited) - ready and self._tx.now_ms - began_ms < LOGGED_WAIT_MS:
                return False
        return not self._tx.cohorts.one_is_running()

    def _cohort_quorum(self, job: LearningJobRow, live: Sequence[NodeRow]) -> int:
        """Return how many replies each round of an attempt needs."""
        found = self._tx.cohorts.job(job.job_id)
        if found.purpose is CohortPurpose.TRAIN:
            return len(live) // 2 + 1
        rounds = range(job.rounds_done + 1, job.rounds + 1)
        named = min((len(self._cohort_nodes(job, number, live)) for number in rounds), default=1)
        strict = job.attempt - found.overtaken <= STRICT_ATTEMPTS
        return max(1, named if strict else named // 2 + 1)

    def _cohort_nodes(self, job: LearningJobRow, round_number: int, live: Sequence[NodeRow]) -> list[NodeRow]:
        """Return who is asked: nodes with the people's adapters; in a replay only those that are logged.

        If none of the logged ones is reachable, all are asked: the log will say what happened.
        """
        found = self._tx.cohorts.job(job.job_id)
        ready = [node for node in live if node.revision >= found.min_revision]
        if found.purpose is CohortPurpose.TRAIN:
            return ready
        log = self._tx.cohorts.get(found.shard).history.log
        logged = log[found.first_round + round_number - 1].nodes
        return [node for node in ready if node.node_id in logged] or ready

    def _log_round(self, job: LearningJobRow, round_number: int, nodes: Sequence[str]) -> None:
        """Note who took part in a round, in the transaction that keeps its state. A repeat changes nothing."""
        found = self._tx.cohorts.job(job.job_id)
        if round_number != len(found.log) + 1:
            return
        inputs = self._inputs(job)
        entry = LoggedRound(frozenset(nodes), inputs if inputs == found.begun_inputs else "")
        self._tx.cohorts.log_job_round(job.job_id, [*found.log, entry])

    def _inputs(self, job: LearningJobRow) -> str:
        lines = [f"{tag}/{node}/{sequence}" for tag, node, sequence in self._tx.subjects.sequences(job.tags)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _verifies(job: LearningJobRow, round_number: int) -> bool:
    """Whether a round only measures what the rounds before it have made of a LoRA."""
    return job.kind is JobKind.UNLEARN_LORA and round_number == job.rounds
