"""Learning jobs: made, ticketed, checkpointed, and turned into revisions."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Mapping
from enum import Enum, auto

from google.protobuf.message import DecodeError
from reram_fleet.sealing import (
    SealError,
    job_key_purpose,
    open_symmetric,
    seal,
    seal_symmetric,
    state_purpose,
)
from reram_fleet.v1 import learning_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import lora_state, revisions
from fleet.coordinator.core import Coordinator
from fleet.coordinator.key_ids import job_key_id
from fleet.domain.learning import JobKind, JobState, RetryPolicy
from fleet.domain.repair import START, accepted, judge_repair
from fleet.domain.tags import new_id
from fleet.errors import ConflictError, InvalidInputError
from fleet.store.database import Transaction
from fleet.store.rows import LearningJobRow, NodeRow

logger = logging.getLogger(__name__)

RETRY = RetryPolicy(max_attempts=5, first_s=1.0, longest_s=30.0)
#: A round on a busy two-core machine takes 10 s; a node that needs longer is left out by the quorum.
ROUND_TIMEOUT_S = 120
#: Steps of hinged NegGrad+ happen inside a round; two rounds average them twice. The third changes nothing:
#: nodes measure the average, and the repair is judged by that (`fleet.domain.repair`).
REPAIR_ROUNDS = 3
MAX_ROUNDS = 1000

WIRE_KINDS = {
    JobKind.TRAIN_LORA: types.LEARNING_KIND_TRAIN_LORA,
    JobKind.UNLEARN_LORA: types.LEARNING_KIND_UNLEARN_LORA,
    JobKind.EVALUATE_QUALITY: types.LEARNING_KIND_EVALUATE_QUALITY,
}
KINDS = {wire_kind: kind for kind, wire_kind in WIRE_KINDS.items()}


class Repair(Enum):
    """What becomes of a shared LoRA that knows somebody who was forgotten."""

    #: A learning job was made for it just now.
    STARTED = auto()
    #: A learning job is at it.
    UNDER_WAY = auto()
    #: It cannot be repaired, or nobody's rows would be left.
    DROP_LORA = auto()


def start(
    coordinator: Coordinator, tx: Transaction, request_id: str, kind: JobKind, rounds: int
) -> tuple[LearningJobRow, bool]:
    """Queue a job that an operator asked for; returns it and whether this call made it.

    Raises
    ------
    InvalidInputError
        If the request is malformed, or repairs are asked for by hand.
    ConflictError
        If there is nobody to learn, no learning plane, adapters that are no feature codes, a forget is still
        being erased, or a training job is open: two would start from the same rows, and the later one would
        undo the earlier.
    """
    if not request_id:
        raise InvalidInputError("a learning job needs a request id")
    if kind is JobKind.UNLEARN_LORA:
        raise InvalidInputError(
            "repairs are started by a forget, never by hand", hint="fleet forget create --subject NAME"
        )
    if not 1 <= rounds <= MAX_ROUNDS:
        raise InvalidInputError(f"rounds must lie in 1..{MAX_ROUNDS}, got {rounds}")
    digest = hashlib.sha256(f"{kind}/{rounds}".encode()).digest()
    existing = tx.learning.by_request(request_id, digest)
    if existing is not None:
        return existing, False
    if _trained_by_nodes(coordinator, tx):
        raise ConflictError(
            "the adapters of this fleet are trained on the nodes, when a class is enrolled: there are no "
            "feature codes that a shared LoRA could be trained on",
            hint="learning jobs are for fleets that recognise: edge-node run --task speakers",
        )
    if coordinator.learning is None:
        raise ConflictError(
            "this fleet runs without a learning plane", hint="fleet serve without --no-flower"
        )
    newest = tx.revisions.latest()
    if newest is None:
        raise ConflictError("nobody is enrolled yet", hint="enrol people on nodes: edge-node enroll")
    if newest.built_at_generation < tx.fleet.get().generation:
        raise ConflictError("a forget is still being erased", hint="fleet forget list, and try again later")
    if kind is JobKind.EVALUATE_QUALITY and not newest.lora_tags:
        raise ConflictError("there is no shared LoRA to evaluate", hint="fleet learn start --kind train.lora")
    training = [job.job_id for job in tx.learning.list_open() if job.kind is JobKind.TRAIN_LORA]
    if kind is JobKind.TRAIN_LORA and training:
        raise ConflictError(
            f"training job {training[0]} is not finished", hint=f"fleet learn show {training[0]}"
        )
    return _create(coordinator, tx, request_id, digest, kind, rounds, ()), True


def _trained_by_nodes(coordinator: Coordinator, tx: Transaction) -> bool:
    subjects = revisions.latest_content(coordinator, tx).subjects
    return any(subject.kind == types.SUBJECT_ADAPTER_KIND_TRAINED for subject in subjects)


def _create(
    coordinator: Coordinator,
    tx: Transaction,
    request_id: str,
    digest: bytes,
    kind: JobKind,
    rounds: int,
    forget_tags: tuple[str, ...],
    campaign_id: str | None = None,
) -> LearningJobRow:
    people = revisions.people(coordinator, tx)
    known = revisions.latest_content(coordinator, tx).shared_lora
    tags = [person.subject_tag for person in people]
    if kind is not JobKind.TRAIN_LORA:
        # A repair must not teach; who has no row yet gets none.
        tags = [row.subject_tag for row in known.rows if row.subject_tag in set(tags)]
    job_id = new_id(tx.now_ms)
    key_id = job_key_id(job_id)
    key = coordinator.secrets.create(key_id)
    state = lora_state.initial_state(tags, shape(coordinator, tx), known)
    return tx.learning.create(
        job_id,
        request_id=request_id,
        request_digest=digest,
        kind=kind,
        rounds=rounds,
        generation=tx.fleet.get().generation,
        tags=tags,
        forget_tags=forget_tags,
        campaign_id=campaign_id,
        sealed_state=seal_symmetric(key, state_purpose(job_id), state.SerializeToString()),
    )


def shape(coordinator: Coordinator, tx: Transaction) -> types.LoraShape:
    """Return the shape of the fleet's shared LoRA: that of the newest revision, or a new one."""
    content = revisions.latest_content(coordinator, tx)
    if content.shared_lora.rows:
        return content.shared_lora.shape
    seed = hashlib.sha256(f"reram-fleet/lora-a/{coordinator.fleet_id}".encode()).digest()
    features = len(content.subjects[0].code_sum)
    # 63 bits: generators take signed seeds.
    return lora_state.lora_shape(features, int.from_bytes(seed[:8], "big") >> 1)


def preempt(coordinator: Coordinator, tx: Transaction, generation: int) -> None:
    """Cancel every open job: its tickets are for an older generation, and its rows may know the forgotten."""
    for job in tx.learning.list_open():
        tx.learning.cancel(job.job_id, f"overtaken by the forget of generation {generation}")
        logger.info("learning job %s is overtaken by generation %d", job.job_id, generation)


def repair(coordinator: Coordinator, tx: Transaction, stained: list[str]) -> Repair:
    """See to it that the shared LoRA is repaired at the current generation.

    Parameters
    ----------
    stained
        Forgotten people who have a row in the newest revision's LoRA.
    """
    generation = tx.fleet.get().generation
    request_id = f"repair-{generation}"
    job = tx.learning.by_request(request_id)
    if job is not None and job.state is not JobState.FAILED and coordinator.learning is None:
        # Restarted without the learning plane: a forget must not wait for what will never run.
        job = tx.learning.cancel(job.job_id, "the learning plane is off")
    if job is not None and job.state is JobState.FAILED:
        logger.warning("the shared LoRA could not be repaired (%s) and is dropped", job.error)
        return Repair.DROP_LORA
    if job is not None:
        return Repair.UNDER_WAY
    rows = revisions.latest_content(coordinator, tx).shared_lora.rows
    left = {row.subject_tag for row in rows} - set(stained)
    if coordinator.learning is None or not left:
        return Repair.DROP_LORA
    digest = hashlib.sha256(request_id.encode()).digest()
    # It repairs what earlier campaigns left open as well; the newest is the one that made it necessary now.
    newest = tx.forgets.by_generation(generation)
    job = _create(
        coordinator,
        tx,
        request_id,
        digest,
        JobKind.UNLEARN_LORA,
        REPAIR_ROUNDS,
        tuple(stained),
        newest.campaign_id,
    )
    for campaign in tx.forgets.list_open():
        if campaign.lora_affected:
            tx.forgets.set_repair_job(campaign.campaign_id, job.job_id)
    return Repair.STARTED


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


def describe(coordinator: Coordinator, tx: Transaction, job_id: str, attempt: int) -> wire.GetJobResponse:
    """Return what the ServerApp of an attempt needs."""
    job = tx.learning.fenced(job_id, attempt)
    return wire.GetJobResponse(
        kind=WIRE_KINDS[job.kind],
        rounds=job.rounds,
        round_offset=job.rounds_done,
        # More than half: one slow node must not stop a round, and one alone must not be it.
        quorum=len(live_nodes(coordinator, tx)) // 2 + 1,
        sealed_state=job.sealed_state,
        job_key=coordinator.secrets.get(job_key_id(job_id)),
        round_timeout_s=ROUND_TIMEOUT_S,
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
    for node in live_nodes(coordinator, tx):
        session_key = coordinator.sessions.key_of(node.node_id) or b""
        ticket = types.JobTicket(
            fleet_id=coordinator.fleet_id,
            node_id=node.node_id,
            job_id=job_id,
            attempt=attempt,
            round=round_number,
            kind=types.LEARNING_KIND_EVALUATE_QUALITY if verifies else WIRE_KINDS[job.kind],
            generation=job.generation,
            # A round may wait its timeout for nodes and again for replies.
            expires_at_unix_ms=tx.now_ms + 3000 * ROUND_TIMEOUT_S,
            job_key=seal(session_key, job_key_purpose(job_id, node.node_id), key),
            subject_tags=job.tags,
            forget_tags=job.forget_tags,
            lora=lora,
        )
        response.nodes.add(
            node_id=node.node_id,
            flower_node_id=node.flower_node_id or 0,
            ticket=coordinator.keys.sign(ticket),
        )
    return response


def checkpoint(
    tx: Transaction,
    job_id: str,
    attempt: int,
    round_number: int,
    sealed_state: bytes,
    metrics: Mapping[str, float],
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
        built = revisions.build(coordinator, tx, lora)
        revision = None if built is None else built.revision
    tx.learning.finish(job_id, attempt, revision=revision)
    logger.info("learning job %s has succeeded (revision %s)", job_id, revision)


def fail_attempt(tx: Transaction, job: LearningJobRow, error: str) -> None:
    """Note that an attempt has failed; the next one follows after a back-off, if one is left."""
    retry_at_ms = RETRY.retry_at_ms(job.attempt, tx.now_ms, random.random())
    tx.learning.fail_attempt(job.job_id, job.attempt, error, retry_at_ms=retry_at_ms)
    logger.warning(
        "attempt %d of learning job %s failed: %s (%s)",
        job.attempt,
        job.job_id,
        error,
        "given up" if retry_at_ms is None else "will be retried",
    )
