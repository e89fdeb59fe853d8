"""Attempts of learning jobs: who takes part, tickets, checkpoints, and what a finished one becomes."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping

from google.protobuf.message import DecodeError
from reram_fleet.crypto.sealing import SealError, job_key_purpose, open_symmetric, seal, state_purpose
from reram_fleet.v1 import learning_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import cohort_jobs, cohort_rounds, lora_state, revisions
from fleet.coordinator.at_rest import job_key_id
from fleet.coordinator.core import Coordinator
from fleet.coordinator.revisions import shape
from fleet.coordinator.wire_enums import LEARNING_KIND
from fleet.domain.learning import COHORT_KINDS, JobKind, RetryPolicy
from fleet.domain.repair import START, accepted, judge_repair
from fleet.errors import ConflictError
from fleet.store.database import Transaction
from fleet.store.rows import LearningJobRow, NodeRow

logger = logging.getLogger(__name__)

RETRY = RetryPolicy(max_attempts=5, first_s=1.0, longest_s=30.0)
#: A round on a busy two-core machine takes 10 s; a node that needs longer is left out by the quorum.
ROUND_TIMEOUT_S = 120


def node_kind(kind: JobKind) -> types.LearningKind:
    """Return what a node is asked to do: a cohort's rounds are training rounds like any other."""
    return types.LEARNING_KIND_TRAIN_LORA if kind in COHORT_KINDS else LEARNING_KIND.values[kind]


def live_nodes(coordinator: Coordinator, tx: Transaction) -> list[NodeRow]:
    """Return the nodes that can take part in a round: connected, up to date, not held, known to Flower."""
    generation = tx.fleet.get().generation
    connected = coordinator.sessions.connected()
    return [
        node
        for node in tx.nodes.list()
        if node.node_id in connected
        and node.generation == generation
        and not node.held_reason
        and node.flower_node_id is not None
        and coordinator.sessions.key_of(node.node_id) is not None
    ]


def startable(coordinator: Coordinator, tx: Transaction, job: LearningJobRow) -> bool:
    """Whether a queued job may begin now, as far as nodes and other jobs go."""
    live = live_nodes(coordinator, tx)
    if job.kind in COHORT_KINDS:
        return cohort_rounds.startable(coordinator, tx, job, live)
    # A node that is about to catch up would miss the first round: give it a moment, not for ever.
    return bool(live)


def describe(coordinator: Coordinator, tx: Transaction, job_id: str, attempt: int) -> wire.GetJobResponse:
    """Return what the ServerApp of an attempt needs."""
    job = tx.learning.fenced(job_id, attempt)
    live, in_cohort = live_nodes(coordinator, tx), job.kind in COHORT_KINDS
    return wire.GetJobResponse(
        kind=node_kind(job.kind),
        rounds=job.rounds,
        round_offset=job.rounds_done,
        # More than half: one slow node must not stop a round, and one alone must not be it.
        quorum=cohort_rounds.quorum(tx, job, live) if in_cohort else len(live) // 2 + 1,
        sealed_state=job.sealed_state,
        job_key=coordinator.secrets.get(job_key_id(job_id)),
        round_timeout_s=ROUND_TIMEOUT_S,
        scale_bits=lora_state.SCALE_BITS if in_cohort else 0,
    )


def begin_round(
    coordinator: Coordinator, tx: Transaction, job_id: str, attempt: int, round_number: int
) -> wire.BeginRoundResponse:
    """Return the live nodes, each with its signed ticket for this round."""
    job = tx.learning.fenced(job_id, attempt)
    key = coordinator.secrets.get(job_key_id(job_id))
    lora = shape(coordinator, tx)
    verifies = _verifies(job, round_number)
    response = wire.BeginRoundResponse()
    nodes = live_nodes(coordinator, tx)
    if job.kind in COHORT_KINDS:
        nodes = cohort_rounds.nodes_of_round(tx, job, round_number, nodes)
        cohort_rounds.note_inputs(tx, job)
    for node in nodes:
        session_key = coordinator.sessions.key_of(node.node_id) or b""
        try:
            job_key = seal(session_key, job_key_purpose(job_id, node.node_id), key)
        except SealError as error:
            # The round goes on with the others.
            logger.error("node %s is left out of round %d of %s: %s", node.node_id, round_number, job_id, error)
            continue
        ticket = types.JobTicket(
            fleet_id=coordinator.fleet_id,
            node_id=node.node_id,
            job_id=job_id,
            attempt=attempt,
            round=round_number,
            kind=types.LEARNING_KIND_EVALUATE_QUALITY if verifies else node_kind(job.kind),
            generation=job.generation,
            # A round may wait its timeout for nodes and again for replies.
            expires_at_unix_ms=tx.now_ms + 3000 * ROUND_TIMEOUT_S,
            job_key=job_key,
            subject_tags=job.tags,
            forget_tags=job.forget_tags,
            lora=lora,
        )
        response.nodes.add(
            node_id=node.node_id, flower_node_id=node.flower_node_id or 0, ticket=coordinator.keys.sign(ticket)
        )
    return response


def checkpoint(
    tx: Transaction, job_id: str, attempt: int, round_number: int, sealed_state: bytes, metrics: Mapping[str, float]
) -> None:
    """Keep the state after a round; a later attempt goes on from it.

    A repair's job also remembers what was measured before its first round, and keeps the very state that its
    last round has verified.
    """
    job, kept = tx.learning.fenced(job_id, attempt), dict(metrics)
    if job.kind is JobKind.UNLEARN_LORA:
        start = {name.removesuffix("_before") + START: v for name, v in metrics.items() if "_before" in name}
        kept |= start if round_number == 1 else {n: v for n, v in job.metrics.items() if n.endswith(START)}
    state = None if _verifies(job, round_number) else sealed_state or None
    tx.learning.checkpoint(job_id, attempt, round_number, sealed_state=state, metrics=kept)


def _verifies(job: LearningJobRow, round_number: int) -> bool:
    """Whether a round only measures what the rounds before it have made of a LoRA."""
    return job.kind is JobKind.UNLEARN_LORA and round_number == job.rounds


def report_round(coordinator: Coordinator, tx: Transaction, request: wire.ReportRoundRequest) -> None:
    """Keep the state after a round and, for a cohort, note who took part: both or neither."""
    job = tx.learning.fenced(request.job_id, request.attempt)
    if job.kind in COHORT_KINDS:
        cohort_rounds.log_round(coordinator, tx, job, request.round, list(request.node_ids))
    checkpoint(tx, request.job_id, request.attempt, request.round, request.sealed_state, dict(request.metrics))


def finish(coordinator: Coordinator, tx: Transaction, job_id: str, attempt: int, error: str) -> None:
    """End an attempt: on success its state becomes a revision, on failure it is tried again or given up."""
    job = tx.learning.fenced(job_id, attempt)
    if error:
        fail_attempt(tx, job, error)
        return
    revision = None
    if job.kind is not JobKind.EVALUATE_QUALITY:
        if job.sealed_state is None:
            raise ConflictError(f"job {job_id} has no state to finish with")
        key = coordinator.secrets.get(job_key_id(job_id))
        try:
            state = types.LoraState.FromString(open_symmetric(key, state_purpose(job_id), job.sealed_state))
            lora = lora_state.quantise(state, shape(coordinator, tx))
        except (SealError, DecodeError, lora_state.LoraStateError) as unusable:
            # No other attempt: it would go on from this very state, and end here again.
            tx.learning.cancel(job_id, f"what was learned cannot be installed: {unusable}")
            logger.error("learning job %s: what was learned cannot be installed: %s", job_id, unusable)
            return
        if job.kind is JobKind.UNLEARN_LORA and not accepted(lines := judge_repair(job.metrics)):
            failed = "; ".join(str(line) for line in lines if not line.passed)
            tx.learning.cancel(job_id, f"the repair was rejected: {failed}")
            logger.warning("learning job %s: the repair was rejected: %s", job_id, failed)
            return
        if job.kind in COHORT_KINDS:
            revision = cohort_jobs.finish(coordinator, tx, job, lora)
        else:
            built = revisions.build(coordinator, tx, lora)
            revision = None if built is None else built.revision
    tx.learning.finish(job_id, attempt, revision=revision)
    logger.info("learning job %s has succeeded (revision %s)", job_id, revision)


def fail_attempt(tx: Transaction, job: LearningJobRow, error: str) -> None:
    """Note that an attempt has failed; the next one follows after a back-off, if one is left."""
    # An attempt that a forget ended has not failed.
    overtaken = tx.cohorts.job(job.job_id).overtaken if job.kind in COHORT_KINDS else 0
    retry_at_ms = RETRY.retry_at_ms(job.attempt - overtaken, tx.now_ms, random.random())
    tx.learning.fail_attempt(job.job_id, job.attempt, error, retry_at_ms=retry_at_ms)
    logger.warning(
        "attempt %d of learning job %s failed: %s (%s)",
        job.attempt,
        job.job_id,
        error,
        "given up" if retry_at_ms is None else "will be retried",
    )
