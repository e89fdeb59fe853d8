"""Learning jobs: conditions for their start, and what a forget makes of them; `job_rounds` runs them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection

from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.learning.cohort_jobs import CohortJobs, CohortStart
from fleet.coordinator.learning.cohorts import Cohorts
from fleet.coordinator.learning.lora_state import JobQueue
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.work import Part, Work
from fleet.domain.learning import COHORT_KINDS, JobKind, JobState
from fleet.errors import ConflictError, InvalidInputError
from fleet.store.rows import LearningJobRow, RevisionRow

logger = logging.getLogger(__name__)

#: Steps of hinged NegGrad+ happen inside a round; two rounds average them twice. The third changes nothing:
#: nodes measure the average, and the repair is judged by that (`fleet.domain.repair`).
REPAIR_ROUNDS = 3
MAX_ROUNDS = 1000


class Jobs(Part):
    """Learning jobs: conditions for their start, and what a forget makes of them."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._cohort_jobs = work.part(CohortJobs)
        self._cohorts = work.part(Cohorts)
        self._queue = work.part(JobQueue)
        self._revisions = work.part(Revisions)

    def start(self, request_id: str, kind: JobKind, rounds: int) -> tuple[LearningJobRow, bool]:
        """Queue a job that an operator asked for; returns it and whether this call made it.

        Raises `InvalidInputError` if the request is malformed, or repairs are asked for by hand; `ConflictError` if
        there is nobody to learn, no learning plane, adapters that are no feature codes, a forget is still being erased,
        or a training job is open: two would start from the same rows, and the later one would undo the earlier.
        """
        if kind is JobKind.UNLEARN_LORA:
            raise InvalidInputError(
                "repairs are started by a forget, never by hand", hint="fleet forget create --subject NAME"
            )
        if kind in COHORT_KINDS:
            raise InvalidInputError(f"{kind} is not started as one job: cohorts are, or an audit of one is")
        _check_request(request_id, rounds)
        digest = hashlib.sha256(f"{kind}/{rounds}".encode()).digest()
        existing = self._tx.learning.by_request(request_id, digest)
        if existing is not None:
            return existing, False
        newest = self._check_ready()
        if kind is JobKind.EVALUATE_QUALITY and not newest.lora_tags:
            raise ConflictError("there is no LoRA to evaluate", hint="fleet learn start")
        if kind is JobKind.TRAIN_LORA and self._tx.cohorts.count():
            raise ConflictError(
                f"this fleet has {self._tx.cohorts.count()} cohort shards; a shared LoRA cannot stand beside them",
                hint="fleet learn start --lora cohort, or `fleet learn drop` first",
            )
        training = [job.job_id for job in self._tx.learning.list_open() if job.kind is JobKind.TRAIN_LORA]
        if kind is JobKind.TRAIN_LORA and training:
            raise ConflictError(f"training job {training[0]} is not finished", hint=f"fleet learn show {training[0]}")
        return self._create(request_id, digest, kind, rounds, ()), True

    def start_cohorts(self, request_id: str, rounds: int, shards: int) -> CohortStart:
        """Queue the training of all cohort shards that an operator asked for.

        Raises `InvalidInputError` or `ConflictError` as `start` and `cohort_jobs.train`.
        """
        _check_request(request_id, rounds)
        if (other := self._tx.learning.by_request(request_id)) is not None:
            raise ConflictError(f"request id {request_id!r} was used for learning job {other.job_id}")
        if (made := self._cohort_jobs.made_by(request_id, rounds, shards)) is not None:
            return made
        self._check_ready()
        return self._cohort_jobs.train(request_id, rounds, shards)

    def _check_ready(self) -> RevisionRow:
        subjects = self._revisions.latest_content().subjects
        if any(subject.kind == types.SUBJECT_ADAPTER_KIND_TRAINED for subject in subjects):
            raise ConflictError(
                "the adapters of this fleet are trained on the nodes, when a class is enrolled: there are no "
                "feature codes that a shared LoRA could be trained on",
                hint="learning jobs are for fleets that recognise: edge-node run --task speakers",
            )
        if self._env.learning is None:
            raise ConflictError("this fleet runs without a learning plane", hint="fleet serve without --no-flower")
        newest = self._tx.revisions.latest()
        if newest is None:
            raise ConflictError("nobody is enrolled yet", hint="enrol people on nodes: edge-node enroll")
        if newest.built_at_generation < self._tx.fleet.get().generation:
            raise ConflictError("a forget is still being erased", hint="fleet forget list, and try again later")
        return newest

    def drop_lora(self) -> tuple[int, int]:
        """Drop what was learned by gradient, shared or in cohorts; returns the revision without it, and its rows.

        Raises `ConflictError` if nobody is enrolled, or a forget is still being erased: its repair may be at work.
        """
        newest = self._revisions.settled()
        if newest is None:
            raise ConflictError("nobody is enrolled yet, or a forget is still being erased", hint="fleet forget list")
        for job in self._tx.learning.list_open():
            self._tx.learning.cancel(job.job_id, "the LoRA was dropped")
        rows = len(self._revisions.latest_content().shared_lora.rows)
        self._cohorts.drop()
        built = self._revisions.build(None)
        return newest.revision if built is None else built, rows

    def _create(
        self,
        request_id: str,
        digest: bytes,
        kind: JobKind,
        rounds: int,
        forget_tags: tuple[str, ...],
        campaign_id: str | None = None,
    ) -> LearningJobRow:
        people = self._revisions.enrolled_adapters()
        known = self._revisions.latest_content().shared_lora
        tags = [person.subject_tag for person in people]
        if kind is not JobKind.TRAIN_LORA:
            # A repair must not teach; who has no row yet gets none.
            tags = [row.subject_tag for row in known.rows if row.subject_tag in set(tags)]
        return self._queue.add(
            request_id=request_id,
            request_digest=digest,
            kind=kind,
            rounds=rounds,
            tags=tags,
            shape=self._revisions.shape(),
            known=known,
            forget_tags=forget_tags,
            campaign_id=campaign_id,
        )

    def preempt(self, generation: int, tags: Collection[str] = (), shards: Collection[int] = ()) -> None:
        """Cancel every open job: its tickets are for an older generation, and its rows may know the forgotten.

        A job of a cohort shard that knows none of them goes on at the new generation.

        `tags` are forgotten, and `shards` are those of these people.
        """
        for job in self._tx.learning.list_open():
            if job.kind in COHORT_KINDS and self._cohort_jobs.is_unaffected(job, tags, shards):
                self._tx.learning.requeue(job.job_id, generation)
                continue
            self._tx.learning.cancel(job.job_id, f"overtaken by the forget of generation {generation}")
            logger.info("learning job %s is overtaken by generation %d", job.job_id, generation)

    def repair(self, affected: list[str], *, nodes_left: bool) -> bool:
        """Have the shared LoRA repaired at the current generation, or drop it; returns whether anything changed.

        `affected` are forgotten people who have a row in the newest revision's LoRA; `nodes_left` says whether there is
        any node that could repair it.
        """
        generation = self._tx.fleet.get().generation
        possible = self._env.learning is not None and nodes_left
        request_id = f"repair-{generation}"
        job = self._tx.learning.by_request(request_id)
        if job is not None and job.state is not JobState.FAILED and not possible:
            # Restarted without the learning plane, or all nodes given up: a forget must not wait for what will never
            # run.
            reason = "no node is left" if self._env.learning is not None else "the learning plane is off"
            job = self._tx.learning.cancel(job.job_id, reason)
        if job is not None and job.state is JobState.FAILED:
            logger.warning("the shared LoRA could not be repaired (%s) and is dropped", job.error)
        elif job is not None:
            # A learning job is at it.
            return False
        rows = self._revisions.latest_content().shared_lora.rows
        left = {row.subject_tag for row in rows} - set(affected)
        if job is not None or not possible or not left:
            # Nothing trained on the forgotten may stay: without the LoRA the rest is exact.
            return self._revisions.build(None) is not None
        digest = hashlib.sha256(request_id.encode()).digest()
        # It repairs what earlier campaigns left open as well; the newest is the one that made it necessary now.
        newest = self._tx.forgets.by_generation(generation)
        job = self._create(request_id, digest, JobKind.UNLEARN_LORA, REPAIR_ROUNDS, tuple(affected), newest.campaign_id)
        for campaign in self._tx.forgets.list_open():
            if campaign.lora_affected:
                self._tx.forgets.set_repair_job(campaign.campaign_id, job.job_id)
        return True


def _check_request(request_id: str, rounds: int) -> None:
    if not request_id:
        raise InvalidInputError("a learning job needs a request id")
    if not 1 <= rounds <= MAX_ROUNDS:
        raise InvalidInputError(f"rounds must lie in 1..{MAX_ROUNDS}, got {rounds}")
