"""Reconcile loops: one for forgets and revisions, one for learning jobs; desired state against actual (ADR 3)."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial

from fleet.coordinator import cohort_jobs, forgets, job_rounds, node_decisions, revisions
from fleet.coordinator.core import Coordinator, LearningPlane
from fleet.coordinator.heads import HeadPrecomputer
from fleet.domain.execution import AWAITED, ExecutionState
from fleet.domain.learning import JobState
from fleet.errors import FleetError
from fleet.learning.errors import LearningPlaneError, RunNotFoundError
from fleet.store.database import Transaction
from fleet.store.rows import LearningJobRow, RevisionRow

logger = logging.getLogger(__name__)

#: Longest pause between two looks, for what happens without a change in the store (a node goes away).
PAUSE_S = 1.0
#: How often Flower is asked about a run: each time costs two CPU seconds.
STATUS_EVERY_S = 20.0
#: A revision is replaced after this time also while nodes have orders over it.
MAX_IN_USE_MS = 10 * forgets.ANSWER_MS


async def reconcile_forgets(coordinator: Coordinator) -> None:
    """Move campaigns on and keep the desired revision up to date, for ever."""
    version = -1
    coordinator.head_precomputer = precomputer = HeadPrecomputer(coordinator.database, coordinator.secrets)
    while True:
        version = await coordinator.changes.wait_beyond(version, PAUSE_S)
        try:
            await precomputer.prepare()
        except Exception:
            # Then it is solved when the revision is built, or that has none.
            logger.exception("the closed-form head could not be solved ahead")
        changed = False
        for what, work in STEPS:
            try:
                changed |= await coordinator.database.run(partial(work, coordinator))
            except Exception:
                # The next look may find it mended, a dead loop would find nothing; and what one row prevents,
                # the other steps need not wait for.
                logger.exception("%s could not be moved on", what)
        if changed:
            await coordinator.destroy_orphaned_keys()
            coordinator.announce()


def _refresh(coordinator: Coordinator, tx: Transaction) -> bool:
    """Build the next revision if people have changed; after a forget its campaign does."""
    newest = tx.revisions.latest()
    if (newest is not None and revisions.settled(tx) is None) or _in_use(coordinator, tx, newest):
        return False
    return revisions.refresh(coordinator, tx) is not None


def _in_use(coordinator: Coordinator, tx: Transaction, newest: RevisionRow | None) -> bool:
    """Whether nodes install the newest revision for a forget, or sign receipts over it: leave it in place.

    Not for ever, or a node that answers nothing would keep everybody out who is enrolled.
    """
    if newest is None:
        return False
    age_ms = tx.now_ms - newest.created_at_ms
    if age_ms < forgets.ANSWER_MS and _erasing(coordinator, tx):
        return True
    return age_ms < MAX_IN_USE_MS and _ordered(coordinator, tx)


#: All that follows from the store as it is, a transaction each.
STEPS = (
    ("decisions about nodes", node_decisions.note_held),
    ("lost nodes", node_decisions.note_lost),
    ("forgets", forgets.advance_all),
    ("the revision", _refresh),
    ("cohorts", cohort_jobs.advance),
)


def _erasing(coordinator: Coordinator, tx: Transaction) -> bool:
    """Whether some connected node, not a held one, still has an open forget to carry out."""
    reached = coordinator.sessions.connected() - {n.node_id for n in tx.nodes.list() if n.held_reason}
    return any(execution.state in AWAITED and execution.node_id in reached for execution in forgets.open_executions(tx))


def _ordered(coordinator: Coordinator, tx: Transaction) -> bool:
    """Whether some node is about to sign a receipt over the newest revision."""
    ordered = {
        execution.node_id
        for execution in forgets.open_executions(tx)
        if execution.state is ExecutionState.APPLYING and forgets.is_awaited(tx, execution)
    }
    return bool(ordered) and not ordered.isdisjoint(forgets.orderable(coordinator, tx))


@dataclass(frozen=True)
class _Run:
    """The Flower run of a job's current attempt, as this process knows it."""

    attempt: int
    incarnation: int
    asked_at_s: float


class LearningReconciler:
    """Starts the attempts of learning jobs, and finds those that died."""

    def __init__(self, coordinator: Coordinator, plane: LearningPlane) -> None:
        self._coordinator = coordinator
        self._plane = plane
        self._runs: dict[str, _Run] = {}

    async def run(self) -> None:
        """Look after learning jobs, for ever."""
        version = -1
        while True:
            version = await self._coordinator.changes.wait_beyond(version, PAUSE_S)
            for job in await self._coordinator.database.read(lambda tx: tx.learning.list_open()):
                try:
                    if job.state is JobState.QUEUED:
                        await self._start(job)
                    else:
                        await self._watch(job)
                except (FleetError, LearningPlaneError) as error:
                    logger.warning("learning job %s: %s", job.job_id, error)
                except Exception:
                    # The other jobs need not wait for this one.
                    logger.exception("learning job %s could not be moved on", job.job_id)

    async def _start(self, job: LearningJobRow) -> None:
        def begin(tx: Transaction) -> LearningJobRow | None:
            waits = job.retry_at_ms is not None and job.retry_at_ms > tx.now_ms
            if waits or not job_rounds.startable(self._coordinator, tx, tx.learning.get(job.job_id)):
                return None
            return tx.learning.next_attempt(job.job_id)

        started = await self._coordinator.database.run(begin)
        if started is None:
            return
        incarnation = self._plane.superlink.incarnation
        clock = asyncio.get_running_loop().time
        self._runs[job.job_id] = _Run(started.attempt, incarnation, clock())
        self._coordinator.announce()
        try:
            run_id = await asyncio.to_thread(
                self._plane.superlink.command.submit,
                self._plane.superlink.app_folder,
                job.job_id,
                started.attempt,
                self._coordinator.address,
                self._plane.token_path,
            )
        except LearningPlaneError as error:
            await self._failed(started, f"cannot start the Flower run: {error}")
            return
        logger.info("learning job %s, attempt %d is Flower run %d", job.job_id, started.attempt, run_id)
        await self._coordinator.database.run(lambda tx: tx.learning.set_flower_run(job.job_id, started.attempt, run_id))
        self._coordinator.announce()

    async def _watch(self, job: LearningJobRow) -> None:
        now_s = asyncio.get_running_loop().time()
        run = self._runs.get(job.job_id)
        if run is None or run.attempt != job.attempt:
            # Started by an earlier life of this process: with it, an embedded SuperLink has died.
            await self._stop_run(job)
            await self._failed(job, "the coordinator was restarted")
        elif run.incarnation != self._plane.superlink.incarnation:
            await self._stop_run(job)
            await self._failed(job, "the SuperLink was restarted")
        elif job.flower_run_id is not None and now_s - run.asked_at_s > STATUS_EVERY_S:
            self._runs[job.job_id] = _Run(run.attempt, run.incarnation, now_s)
            try:
                status = await asyncio.to_thread(self._plane.superlink.command.run_status, job.flower_run_id)
            except RunNotFoundError:
                await self._failed(job, "the SuperLink has lost the run")
                return
            if status.finished:
                await self._failed(job, f"the Flower run is {status.status} {status.details}".strip())

    async def _stop_run(self, job: LearningJobRow) -> None:
        if job.flower_run_id is not None:
            await asyncio.to_thread(self._plane.superlink.wait_ready)
            await asyncio.to_thread(self._plane.superlink.command.stop, job.flower_run_id)

    async def _failed(self, job: LearningJobRow, error: str) -> None:
        def fail(tx: Transaction) -> None:
            current = tx.learning.get(job.job_id)
            # It may have finished, or been overtaken by a forget, while Flower was asked.
            if current.state is JobState.RUNNING and current.attempt == job.attempt:
                job_rounds.fail_attempt(tx, current, error)

        await self._coordinator.database.run(fail)
        await self._coordinator.destroy_orphaned_keys()
        self._coordinator.announce()
