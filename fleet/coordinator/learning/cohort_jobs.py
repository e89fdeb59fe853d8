"""Learning jobs of cohort shards: training, replay after a forget, and re-execution for an audit.

A job is one Flower run over rounds in which nobody enters; a replay is a chain of them. To nodes they are
rounds of `train.lora` whose tickets name the people of one shard.

An audit runs on the nodes, which have captured the samples; the coordinator never sees those. So it shows that log and
rows belong together, not that nodes are honest: a node that lies does so twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass

from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.learning.cohorts import Cohorts, digest_of
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.work import Part, Work
from fleet.domain.cohort import AuditState, Segment, differences
from fleet.domain.learning import CohortPurpose, JobKind, JobState
from fleet.errors import ConflictError, InvalidInputError, NotFoundError
from fleet.store.cohorts import CohortJobRow, CohortShardRow
from fleet.store.rows import LearningJobRow
from fleet.trust.checks import compare

logger = logging.getLogger(__name__)

DEFAULT_SHARDS = 4
MAX_SHARDS = 256


@dataclass(frozen=True)
class CohortStart:
    """Jobs that a request made, one per shard with people, and shards left out since they are replayed."""

    jobs: tuple[LearningJobRow, ...]
    skipped: tuple[int, ...]
    created: bool


class CohortJobs(Part):
    """Training, replay and audit of cohort shards."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._cohorts = work.part(Cohorts)
        self._revisions = work.part(Revisions)

    def train(self, request_id: str, rounds: int, shards: int) -> CohortStart:
        """Queue the training of all shards; who is new enters before its first round.

        Raises `InvalidInputError` if the number of shards is out of range; `ConflictError` if it is not what the fleet
        has, its LoRA is a shared one, a shard is at work, or all are being replayed.

        With 0 `shards` there are as many as before, or the default.
        """
        there = self._tx.cohorts.count()
        wanted = shards or there or DEFAULT_SHARDS
        if not 1 <= wanted <= MAX_SHARDS:
            raise InvalidInputError(f"a fleet has 1 to {MAX_SHARDS} cohort shards, got {wanted}")
        digest = _request_digest(rounds, shards)
        self._refuse_conflicts(there, wanted)
        if not there:
            self._tx.cohorts.create(wanted)
        newest = self._tx.revisions.latest()
        named = set() if newest is None else set(newest.tags)
        people = [row.tag for row in self._tx.subjects.list() if not row.canary and row.tag in named]
        made, skipped = [], []
        for row in self._tx.cohorts.list():
            shard = row.history.shard
            here = tuple(tag for tag in people if self._cohorts.shard_in(tag) == shard)
            if row.replay_from is not None:
                skipped.append(shard)
            elif here:
                segment = Segment(row.history.rounds, row.history.rounds + rounds, here)
                known = self._cohorts.rows_of(shard)
                name = f"{request_id}/shard-{shard}"
                made.append(self._cohorts.queue_segment(CohortPurpose.TRAIN, shard, segment, known, name, digest))
        if not made:
            raise ConflictError(
                f"no shard can be trained now: {len(skipped)} of {wanted} are being replayed after a forget",
                hint="fleet learn cohorts, and try again later",
            )
        return CohortStart(tuple(made), tuple(skipped), created=True)

    def made_by(self, request_id: str, rounds: int, shards: int) -> CohortStart | None:
        """Return the jobs that a training request has made before; None if it is new."""
        digest = _request_digest(rounds, shards)
        names = [f"{request_id}/shard-{shard}" for shard in range(self._tx.cohorts.count())]
        found = [job for name in names if (job := self._tx.learning.by_request(name, digest)) is not None]
        return CohortStart(tuple(found), (), created=False) if found else None

    def _refuse_conflicts(self, there: int, wanted: int) -> None:
        newest = self._tx.revisions.latest()
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
        at_work = [job.job_id for job in self._tx.learning.list_open() if job.kind is JobKind.TRAIN_LORA]
        at_work += [job.job_id for job in self._tx.cohorts.open_jobs() if job.purpose is not CohortPurpose.REPLAY]
        if at_work:
            raise ConflictError(f"learning job {at_work[0]} is not finished", hint=f"fleet learn show {at_work[0]}")

    def advance(self) -> bool:
        """See to it that shards that must be replayed are; returns whether anything changed."""
        settled = self._revisions.settled() is not None
        changed = False
        for row in self._tx.cohorts.unsettled():
            # Before that, the rows of the shard are still on their way out.
            if row.replay_from is not None and settled:
                changed |= self._replay(row, row.replay_from)
            if row.audit.get("state") == AuditState.RUNNING:
                changed |= self._audit_failed(row)
        return changed

    def _replay(self, row: CohortShardRow, first: int) -> bool:
        shard = row.history.shard
        if row.replay_job_id is not None:
            job = self._tx.learning.get(row.replay_job_id)
            if job.state is not JobState.FAILED:
                return False
            self._cohorts.give_up(shard, job.error)
            return True
        segment = row.history.segment(first)
        if self._env.learning is None or segment is None:
            return False
        known = types.SharedLora()
        if row.history.has_members_before(segment.first):
            try:
                known = self._cohorts.load_checkpoint(shard, segment.first)
            except NotFoundError as lost:
                self._cohorts.give_up(shard, str(lost))
                return True
        forgets = self._tx.cohorts.replaying(shard)
        campaign_id = forgets[-1].campaign_id if forgets else None
        job = self._cohorts.queue_segment(CohortPurpose.REPLAY, shard, segment, known, campaign_id=campaign_id)
        self._tx.cohorts.set_replay(shard, segment.first, job.job_id)
        for forget in forgets:
            self._tx.forgets.set_repair_job(forget.campaign_id, job.job_id)
        return True

    def is_unaffected(self, job: LearningJobRow, tags: Collection[str], shards: Collection[int]) -> bool:
        """Whether a job knows nobody of a forget that was just committed; then its attempt is one overtaken."""
        found = self._tx.cohorts.job(job.job_id)
        if found.shard in shards or not set(tags).isdisjoint(job.tags):
            return False
        if job.state is JobState.RUNNING:
            self._tx.cohorts.overtake(job.job_id, found.overtaken + 1)
        return True

    def finish(self, job: LearningJobRow, lora: types.SharedLora) -> int | None:
        """Make a job's result the shard's, or compare it; returns the revision that it became."""
        found = self._tx.cohorts.job(job.job_id)
        match found.purpose:
            case CohortPurpose.TRAIN:
                return self._trained(job, found, lora)
            case CohortPurpose.REPLAY:
                return self._replayed(job, found, lora)
            case CohortPurpose.AUDIT:
                self._compare(job, found, lora)
                return None

    def _trained(self, job: LearningJobRow, found: CohortJobRow, lora: types.SharedLora) -> int | None:
        shard, history = found.shard, self._tx.cohorts.get(found.shard).history
        new = sorted(set(job.tags) - set(history.entries))
        if new and history.entries:
            before = self._cohorts.rows_of(shard)
            self._cohorts.save_checkpoint(shard, found.first_round, before, job.job_id)
        self._tx.cohorts.enter(shard, new, found.first_round)
        self._tx.cohorts.log_rounds(shard, found.first_round, found.log)
        return self._cohorts.install(shard, lora)

    def _replayed(self, job: LearningJobRow, found: CohortJobRow, lora: types.SharedLora) -> int | None:
        shard, end = found.shard, found.first_round + job.rounds
        logged = self._tx.cohorts.get(shard).history.log[found.first_round : end]
        self._tx.cohorts.log_rounds(
            shard, found.first_round, (then.replaced_by(now) for then, now in zip(logged, found.log, strict=True))
        )
        history = self._tx.cohorts.get(shard).history
        if end < history.rounds:
            # Also the state from which the chain goes on.
            self._cohorts.save_checkpoint(shard, end, lora, job.job_id)
            self._tx.cohorts.set_replay(shard, end)
            return None
        kept = history.checkpoint_rounds()
        self._tx.cohorts.delete_checkpoints(shard, lambda number: number not in kept)
        built = self._cohorts.install(shard, lora)
        self._cohorts.replayed(shard, digest_of(lora))
        self._tx.cohorts.set_replay(shard, None)
        logger.info("cohort shard %d has been replayed up to round %d", shard, history.rounds - 1)
        return built

    def start_audit(self, shard: int) -> LearningJobRow:
        """Queue the re-execution of a shard from its very first round.

        What it comes to is compared, at every entry and at the end, with the checkpoints and rows that are there.
        Nothing is installed. One that is at it already is returned as it is.

        Raises `NotFoundError` if there is no such shard; `ConflictError` if nobody is in it, it is being trained or
        replayed, or there is no learning plane.
        """
        row = self._tx.cohorts.get(shard)
        at_it = self._tx.cohorts.open_jobs(shard)
        if at_it and at_it[0].purpose is CohortPurpose.AUDIT:
            return self._tx.learning.get(at_it[0].job_id)
        if at_it or row.replay_from is not None:
            raise ConflictError(f"shard {shard} is being trained or replayed", hint="fleet learn cohorts")
        if self._env.learning is None:
            raise ConflictError("this fleet runs without a learning plane", hint="fleet serve without --no-flower")
        segment = row.history.segment(0)
        if segment is None:
            raise ConflictError(f"nobody is in shard {shard}", hint="fleet learn start --lora cohort")
        job = self._cohorts.queue_segment(CohortPurpose.AUDIT, shard, segment, types.SharedLora())
        self._tx.cohorts.set_audit(
            shard, {"state": AuditState.RUNNING, "job_id": job.job_id, "lines": [], "detail": ""}
        )
        return job

    def _audit_failed(self, row: CohortShardRow) -> bool:
        """Note that the job of an audit has failed; returns whether it has."""
        job = self._tx.learning.get(str(row.audit["job_id"]))
        if job.state is not JobState.FAILED:
            return False
        self._tx.cohorts.set_audit(row.history.shard, {**row.audit, "state": AuditState.FAILED, "detail": job.error})
        return True

    def _compare(self, job: LearningJobRow, found: CohortJobRow, lora: types.SharedLora) -> None:
        """Compare what a segment came to, and queue the next one if there is one."""
        row = self._tx.cohorts.get(found.shard)
        history, end = row.history, found.first_round + job.rounds
        last = end == history.rounds
        expected = self._cohorts.rows_of(found.shard) if last else self._cohorts.load_checkpoint(found.shard, end)
        name = "digest of the installed rows" if last else f"digest of the checkpoint before round {end}"
        line = compare(name, digest_of(expected), digest_of(lora))
        reasons = differences(history.log[found.first_round : end], found.log, found.first_round)
        detail = "; ".join(filter(None, [row.audit.get("detail", ""), *reasons]))
        audit = {**row.audit, "lines": [*row.audit.get("lines", []), vars(line)], "detail": detail}
        following = history.segment(end) if line.holds and not last else None
        if following is not None:
            following_job = self._cohorts.queue_segment(
                CohortPurpose.AUDIT, found.shard, Segment(end, following.end, following.tags), lora
            )
            audit |= {"state": AuditState.RUNNING, "job_id": following_job.job_id}
        elif line.holds:
            audit["state"] = AuditState.REPRODUCED
        else:
            # The same nodes and samples give the same bits, wherever they compute: nothing else excuses a difference.
            audit["state"] = AuditState.INCONCLUSIVE if detail else AuditState.NOT_REPRODUCED
        self._tx.cohorts.set_audit(found.shard, audit)


def _request_digest(rounds: int, shards: int) -> bytes:
    return hashlib.sha256(f"train.cohort/{rounds}/{shards}".encode()).digest()
