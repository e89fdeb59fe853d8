"""Learning jobs of cohort shards: training, replay after a forget, and re-execution for an audit.

A job is one Flower run over rounds in which nobody enters; a replay is a chain of them. To nodes they are
rounds of `train.lora` whose tickets name the people of one shard.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass

from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import cohort_audit, cohorts
from fleet.coordinator.core import Coordinator
from fleet.domain.cohort import Segment
from fleet.domain.learning import CohortPurpose, JobKind, JobState
from fleet.errors import ConflictError, InvalidInputError, NotFoundError
from fleet.store.cohorts import CohortJobRow, CohortShardRow
from fleet.store.database import Transaction
from fleet.store.rows import LearningJobRow

logger = logging.getLogger(__name__)

DEFAULT_SHARDS = 4
MAX_SHARDS = 256


@dataclass(frozen=True)
class CohortStart:
    """Jobs that a request made, one per shard with people, and shards left out since they are replayed."""

    jobs: tuple[LearningJobRow, ...]
    skipped: tuple[int, ...]
    created: bool


def train(coordinator: Coordinator, tx: Transaction, request_id: str, rounds: int, shards: int) -> CohortStart:
    """Queue the training of all shards; who is new enters before its first round.

    Parameters
    ----------
    shards
        0: as many as there are, or the default.

    Raises
    ------
    InvalidInputError
        If the number of shards is out of range.
    ConflictError
        If it is not what the fleet has, its LoRA is a shared one, a shard is at work, or all are being
        replayed.
    """
    there = tx.cohorts.count()
    wanted = shards or there or DEFAULT_SHARDS
    if not 1 <= wanted <= MAX_SHARDS:
        raise InvalidInputError(f"a fleet has 1 to {MAX_SHARDS} cohort shards, got {wanted}")
    digest = _request_digest(rounds, shards)
    _refuse_conflicts(tx, there, wanted)
    if not there:
        tx.cohorts.create(wanted)
    newest = tx.revisions.latest()
    named = set() if newest is None else set(newest.tags)
    people = [row.tag for row in tx.subjects.list() if not row.canary and row.tag in named]
    made, skipped = [], []
    for row in tx.cohorts.list():
        shard = row.history.shard
        here = tuple(tag for tag in people if cohorts.shard_in(coordinator, tx, tag) == shard)
        if row.replay_from is not None:
            skipped.append(shard)
        elif here:
            segment = Segment(row.history.rounds, row.history.rounds + rounds, here)
            known = cohorts.rows_of(coordinator, tx, shard)
            name = f"{request_id}/shard-{shard}"
            made.append(
                cohorts.queue_segment(coordinator, tx, CohortPurpose.TRAIN, shard, segment, known, name, digest)
            )
    if not made:
        raise ConflictError(
            f"no shard can be trained now: {len(skipped)} of {wanted} are being replayed after a forget",
            hint="fleet learn cohorts, and try again later",
        )
    return CohortStart(tuple(made), tuple(skipped), created=True)


def made_by(tx: Transaction, request_id: str, rounds: int, shards: int) -> CohortStart | None:
    """Return the jobs that a training request has made before; None if it is new."""
    digest = _request_digest(rounds, shards)
    names = [f"{request_id}/shard-{shard}" for shard in range(tx.cohorts.count())]
    found = [job for name in names if (job := tx.learning.by_request(name, digest)) is not None]
    return CohortStart(tuple(found), (), created=False) if found else None


def _request_digest(rounds: int, shards: int) -> bytes:
    return hashlib.sha256(f"train.cohort/{rounds}/{shards}".encode()).digest()


def _refuse_conflicts(tx: Transaction, there: int, wanted: int) -> None:
    newest = tx.revisions.latest()
    if there and wanted != there:
        raise ConflictError(
            f"this fleet has {there} cohort shards, and a person's shard depends on that number",
            hint="leave out --shards, or start over with `fleet learn drop`",
        )
    if not there and newest is not None and newest.lora_tags:
        raise ConflictError(
            f"this fleet has a shared LoRA of {len(newest.lora_tags)} people; cohorts cannot stand beside it",
            hint="fleet learn drop",
        )
    at_work = [job.job_id for job in tx.learning.list_open() if job.kind is JobKind.TRAIN_LORA]
    at_work += [job.job_id for job in tx.cohorts.open_jobs() if job.purpose is not CohortPurpose.REPLAY]
    if at_work:
        raise ConflictError(f"learning job {at_work[0]} is not finished", hint=f"fleet learn show {at_work[0]}")


def advance(coordinator: Coordinator, tx: Transaction) -> bool:
    """See to it that shards that must be replayed are; returns whether anything changed."""
    newest = tx.revisions.latest()
    settled = newest is not None and newest.built_at_generation == tx.fleet.get().generation
    changed = False
    for row in tx.cohorts.list():
        # Before that, the rows of the shard are still on their way out.
        if row.replay_from is not None and settled:
            changed |= _replay(coordinator, tx, row, row.replay_from)
        if row.audit.get("state") == "running":
            changed |= cohort_audit.failed(tx, row)
    return changed


def _replay(coordinator: Coordinator, tx: Transaction, row: CohortShardRow, first: int) -> bool:
    shard = row.history.shard
    if row.replay_job_id is not None:
        job = tx.learning.get(row.replay_job_id)
        if job.state is not JobState.FAILED:
            return False
        cohorts.give_up(tx, shard, job.error)
        return True
    segment = row.history.segment(first)
    if coordinator.learning is None or segment is None:
        return False
    known = types.SharedLora()
    if row.history.has_members_before(segment.first):
        try:
            known = cohorts.load_checkpoint(coordinator, tx, shard, segment.first)
        except NotFoundError as lost:
            cohorts.give_up(tx, shard, str(lost))
            return True
    forgets = tx.cohorts.replaying(shard)
    campaign_id = forgets[-1].campaign_id if forgets else None
    job = cohorts.queue_segment(coordinator, tx, CohortPurpose.REPLAY, shard, segment, known, campaign_id=campaign_id)
    tx.cohorts.set_replay(shard, segment.first, job.job_id)
    for forget in forgets:
        tx.forgets.set_repair_job(forget.campaign_id, job.job_id)
    return True


def is_unaffected(tx: Transaction, job: LearningJobRow, tags: Collection[str], shards: Collection[int]) -> bool:
    """Whether a job knows nobody of a forget that was just committed; then its attempt is one overtaken."""
    found = tx.cohorts.job(job.job_id)
    if found.shard in shards or not set(tags).isdisjoint(job.tags):
        return False
    if job.state is JobState.RUNNING:
        tx.cohorts.overtake(job.job_id, found.overtaken + 1)
    return True


def finish(coordinator: Coordinator, tx: Transaction, job: LearningJobRow, lora: types.SharedLora) -> int | None:
    """Make a job's result the shard's, or compare it; returns the revision that it became."""
    found = tx.cohorts.job(job.job_id)
    match found.purpose:
        case CohortPurpose.TRAIN:
            return _trained(coordinator, tx, job, found, lora)
        case CohortPurpose.REPLAY:
            return _replayed(coordinator, tx, job, found, lora)
        case CohortPurpose.AUDIT:
            cohort_audit.compared(coordinator, tx, job, found, lora)
            return None


def _trained(
    coordinator: Coordinator, tx: Transaction, job: LearningJobRow, found: CohortJobRow, lora: types.SharedLora
) -> int | None:
    shard, history = found.shard, tx.cohorts.get(found.shard).history
    new = sorted(set(job.tags) - set(history.entries))
    if new and history.entries:
        before = cohorts.rows_of(coordinator, tx, shard)
        cohorts.save_checkpoint(coordinator, tx, shard, found.first_round, before, job.job_id)
    tx.cohorts.enter(shard, new, found.first_round)
    tx.cohorts.log_rounds(shard, found.first_round, found.log)
    built = cohorts.install(coordinator, tx, shard, lora)
    return None if built is None else built.revision


def _replayed(
    coordinator: Coordinator, tx: Transaction, job: LearningJobRow, found: CohortJobRow, lora: types.SharedLora
) -> int | None:
    shard, end = found.shard, found.first_round + job.rounds
    logged = tx.cohorts.get(shard).history.log[found.first_round : end]
    tx.cohorts.log_rounds(
        shard, found.first_round, (then.replaced_by(now) for then, now in zip(logged, found.log, strict=True))
    )
    history = tx.cohorts.get(shard).history
    if end < history.rounds:
        # Also the state from which the chain goes on.
        cohorts.save_checkpoint(coordinator, tx, shard, end, lora, job.job_id)
        tx.cohorts.set_replay(shard, end)
        return None
    kept = history.checkpoint_rounds()
    tx.cohorts.delete_checkpoints(shard, lambda number: number not in kept)
    built = cohorts.install(coordinator, tx, shard, lora)
    cohorts.replayed(tx, shard, cohorts.digest_of(lora))
    tx.cohorts.set_replay(shard, None)
    logger.info("cohort shard %d has been replayed up to round %d", shard, history.rounds - 1)
    return None if built is None else built.revision
