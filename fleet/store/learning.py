"""Learning jobs: attempts, checkpoints, and the fence against attempts of the past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from fleet.domain import learning as domain
from fleet.domain.learning import FINISHED, JobKind, JobState
from fleet.domain.tags import validate_id, validate_tag
from fleet.errors import ConflictError, InvalidInputError, StaleAttemptError
from fleet.store import schema
from fleet.store.repository import Repository, given
from fleet.store.rows import LearningJobRow

_JOB = schema.learning_job
_ONE = select(_JOB).where(given(_JOB.c.job_id))
_OLDEST_FIRST = select(_JOB).order_by(_JOB.c.created_at_ms, _JOB.c.job_id)
_OPEN = _OLDEST_FIRST.where(_JOB.c.state.not_in(sorted(FINISHED)))


class LearningJobs(Repository):
    """One attempt runs at a time; reports of any other raise `StaleAttemptError`."""

    def create(
        self,
        job_id: str,
        *,
        request_id: str,
        request_digest: bytes,
        kind: JobKind,
        rounds: int,
        generation: int,
        tags: Iterable[str],
        forget_tags: Iterable[str] = (),
        campaign_id: str | None = None,
        sealed_state: bytes | None = None,
    ) -> LearningJobRow:
        """Queue a job. `tags` keep their order: they are the rows of the LoRA.

        `ConflictError` if the request id is taken: ask `by_request` first.
        """
        if rounds < 1:
            raise InvalidInputError(f"a learning job needs at least one round, got {rounds}")
        if self.by_request(request_id) is not None:
            raise ConflictError(f"request {request_id!r} has a learning job already")
        self._insert(
            _JOB,
            job_id=validate_id(job_id),
            request_id=request_id,
            request_digest=request_digest,
            kind=kind,
            state=JobState.QUEUED,
            attempt=0,
            rounds=rounds,
            rounds_done=0,
            generation=generation,
            campaign_id=campaign_id,
            error="",
            sealed_state=sealed_state,
            tags=[validate_tag(tag) for tag in tags],
            forget_tags=[validate_tag(tag) for tag in forget_tags],
            metrics={},
            created_at_ms=self._now_ms,
        )
        return self.get(job_id)

    def get(self, job_id: str) -> LearningJobRow:
        """Return the job; `NotFoundError` if there is none of this id."""
        missing = f"no learning job {job_id[:40]!r}"
        return self._one(LearningJobRow, _ONE, missing, hint="fleet learn list", job_id=job_id)

    def by_request(self, request_id: str, request_digest: bytes | None = None) -> LearningJobRow | None:
        """Return the job that this request made, or None.

        `ConflictError` if a digest is given and the request id was used with another body.
        """
        row = self._row(LearningJobRow, select(_JOB).where(_JOB.c.request_id == request_id))
        if row is not None and request_digest not in (None, row.request_digest):
            raise ConflictError(
                f"request id {request_id!r} was used for a different learning job, {row.job_id}",
                hint="choose a new request id for a new request",
            )
        return row

    def list(self, state: JobState | None = None) -> Sequence[LearningJobRow]:
        """Return the jobs, oldest first."""
        query = _OLDEST_FIRST
        return self._rows(LearningJobRow, query if state is None else query.where(_JOB.c.state == state))

    def by_state(self) -> Mapping[JobState, int]:
        """Return how many jobs are in each state."""
        return self._counted(schema.learning_job.c.state)

    def list_open(self) -> Sequence[LearningJobRow]:
        """Return the jobs that are queued or running, oldest first."""
        return self._rows(LearningJobRow, _OPEN)

    def next_attempt(self, job_id: str) -> LearningJobRow:
        """Start the next attempt of a queued job: RUNNING, attempt + 1, no Flower run yet.

        `ConflictError` if its back-off has not passed; `IllegalTransitionError` if it is not queued.
        """
        row = self.get(job_id)
        domain.advance(row.state, JobState.RUNNING)
        if row.retry_at_ms is not None and row.retry_at_ms > self._now_ms:
            raise ConflictError(f"job {job_id} is to wait {row.retry_at_ms - self._now_ms} ms before it is tried again")
        return self._set(job_id, state=JobState.RUNNING, attempt=row.attempt + 1, flower_run_id=None, retry_at_ms=None)

    def fenced(self, job_id: str, attempt: int) -> LearningJobRow:
        """Return the job if this attempt is the one that runs.

        `StaleAttemptError` if it is not: the caller is a run of the past, and must stop.
        """
        row = self.get(job_id)
        if row.state is not JobState.RUNNING or row.attempt != attempt:
            raise StaleAttemptError(f"attempt {attempt} of job {job_id}: it is {row.state}, attempt {row.attempt}")
        return row

    def set_flower_run(self, job_id: str, attempt: int, flower_run_id: int) -> LearningJobRow:
        """Note the Flower run of the current attempt."""
        self.fenced(job_id, attempt)
        return self._set(job_id, flower_run_id=flower_run_id)

    def checkpoint(
        self, job_id: str, attempt: int, round_number: int, *, sealed_state: bytes | None, metrics: Mapping[str, float]
    ) -> LearningJobRow:
        """Keep the state after a round. A round that is already kept is a repeat, and changes nothing.

        `StaleAttemptError` if the attempt is not the current one; `ConflictError` if a round was left out.

        Rounds count from 1 over all attempts; `sealed_state` is a LoraState under the job key, None for a job that
        changes nothing.
        """
        row = self.fenced(job_id, attempt)
        if round_number <= row.rounds_done:
            return row
        if round_number != row.rounds_done + 1 or round_number > row.rounds:
            raise ConflictError(
                f"round {round_number} of job {job_id} does not follow {row.rounds_done} (of {row.rounds})"
            )
        values: dict[str, Any] = {"rounds_done": round_number, "metrics": dict(metrics)}
        if sealed_state is not None:
            values["sealed_state"] = sealed_state
        return self._set(job_id, **values)

    def finish(self, job_id: str, attempt: int, *, revision: int | None = None) -> LearningJobRow:
        """Mark the job SUCCEEDED and wipe its sealed state; `revision` is what its result became.

        `ConflictError` if rounds are missing.
        """
        row = self.fenced(job_id, attempt)
        if row.rounds_done != row.rounds:
            raise ConflictError(f"job {job_id} has done {row.rounds_done} of {row.rounds} rounds")
        return self._set(job_id, state=JobState.SUCCEEDED, revision=revision, error="", sealed_state=None)

    def fail_attempt(self, job_id: str, attempt: int, error: str, *, retry_at_ms: int | None) -> LearningJobRow:
        """Give up the current attempt: back to QUEUED until `retry_at_ms`, or FAILED without one."""
        self.fenced(job_id, attempt)
        if retry_at_ms is None:
            return self.cancel(job_id, error)
        return self._set(job_id, state=JobState.QUEUED, error=error or "no reason given", retry_at_ms=retry_at_ms)

    def cancel(self, job_id: str, reason: str) -> LearningJobRow:
        """Mark an open job FAILED whatever its attempt, and wipe its sealed state.

        For a job that a forget has overtaken: its rows may know the forgotten.
        """
        domain.advance(self.get(job_id).state, JobState.FAILED)
        return self._set(job_id, state=JobState.FAILED, error=reason or "no reason given", sealed_state=None)

    def requeue(self, job_id: str, generation: int) -> LearningJobRow:
        """Let an open job go on at another generation, by a new attempt; a run of the past is fenced off."""
        row = self.get(job_id)
        if row.state is JobState.RUNNING:
            domain.advance(row.state, JobState.QUEUED)
        return self._set(job_id, state=JobState.QUEUED, generation=generation, retry_at_ms=None, flower_run_id=None)

    def _set(self, job_id: str, **values: Any) -> LearningJobRow:
        self._update(_JOB, _JOB.c.job_id == job_id, **values)
        return self.get(job_id)
