"""Reconcile loops: one for forgets and revisions, one for learning jobs; desired state against actual (ADR 3)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from fleet.coordinator.core import Coordinator, LearningPlane
from fleet.coordinator.unit import UnitOfWork
from fleet.domain.learning import JobState
from fleet.errors import FleetError, SupersededError
from fleet.learning.errors import LearningPlaneError, RunNotFoundError
from fleet.store.rows import LearningJobRow

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Longest pause between two looks, for what happens without a change in the store (a node goes away).
PAUSE_S = 1.0
#: Times the duration of a look that passes before the next one, within the longest pause.
REST = 4.0
#: How often heartbeats and telemetry are written.
WRITE_EVERY_S = 2.0
#: How often Flower is asked about a run: each time costs two CPU seconds.
STATUS_EVERY_S = 20.0


async def reconcile_forgets(coordinator: Coordinator) -> None:
    """Move campaigns on and keep the desired revision up to date, for ever."""
    version, clock, written_s = -1, asyncio.get_running_loop().time, 0.0
    while True:
        version = await coordinator.changes.wait_beyond(version, PAUSE_S)
        began_s = clock()
        coordinator.looked_s = time.monotonic()
        if began_s - written_s > WRITE_EVERY_S:
            written_s = began_s
            await _tried("what nodes said", coordinator.write_contacts())
        # If it cannot be solved ahead, it is solved when the revision is built, or that has none.
        await _tried("the closed-form head", coordinator.solve_head_ahead())
        await move_on(coordinator)
        # Thousands of reports are thousands of changes: most of the time is for those who report.
        await asyncio.sleep(min(PAUSE_S, REST * (clock() - began_s)))


#: Steps of a look, in this order.
_STEPS: Mapping[str, Callable[[UnitOfWork], Callable[[], bool]]] = {
    "decisions about nodes": attrgetter("decisions.note_held"),
    "lost nodes": attrgetter("decisions.note_lost"),
    "forgets": attrgetter("campaigns.advance_all"),
    "the revision": attrgetter("campaigns.refresh_revision"),
    "cohorts": attrgetter("cohort_jobs.advance"),
}


async def move_on(coordinator: Coordinator) -> bool:
    """Do once what follows from the store as it is; returns whether anything changed.

    All steps share a transaction and what they read in it. If one fails, each is done again in a transaction of its
    own.
    """
    try:
        changed = await _moved(coordinator, _STEPS.values())
    except SupersededError:
        raise
    except Exception as error:  # noqa: BLE001  # Whose it is, is told when each is tried alone.
        logger.info("the steps of a look are tried one by one: %s", error)
        changed = any([await _tried(what, _moved(coordinator, [step])) for what, step in _STEPS.items()])
    if changed:
        await coordinator.destroy_orphaned_keys()
        coordinator.announce()
    return changed


async def _moved(coordinator: Coordinator, steps: Iterable[Callable[[UnitOfWork], Callable[[], bool]]]) -> bool:
    def work(unit: UnitOfWork) -> bool:
        # A sum: none is left out because of one before it.
        return sum(step(unit)() for step in steps) > 0

    return await coordinator.run(work)


async def _tried(what: str, work: Awaitable[T]) -> T | None:
    """Return what some work comes to; None if it fails.

    The next look may find it mended, a dead loop would find nothing; and what one row prevents, other steps need not
    wait for.
    """
    try:
        return await work
    except SupersededError:
        # For good: whoever leads now does all of this.
        raise
    except Exception:
        logger.exception("%s could not be moved on", what)
        return None


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
            await self.look()

    async def look(self) -> None:
        """Move every open job on once, as far as Flower and the nodes allow."""
        for job in await self._coordinator.read(lambda unit: unit.tx.learning.list_open()):
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
        started = await self._coordinator.run(lambda unit: unit.rounds.begin(job))
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
                self._plane.address or self._coordinator.endpoint.address,
                self._plane.ca_path or self._coordinator.endpoint.ca_path,
                self._plane.token_path,
            )
        except LearningPlaneError as error:
            await self._failed(started, f"cannot start the Flower run: {error}")
            return
        logger.info("learning job %s, attempt %d is Flower run %d", job.job_id, started.attempt, run_id)
        await self._coordinator.run(lambda unit: unit.tx.learning.set_flower_run(job.job_id, started.attempt, run_id))
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
        def fail(unit: UnitOfWork) -> None:
            current = unit.tx.learning.get(job.job_id)
            # It may have finished, or been overtaken by a forget, while Flower was asked.
            if current.state is JobState.RUNNING and current.attempt == job.attempt:
                unit.rounds.fail_attempt(current, error)

        await self._coordinator.run(fail)
        await self._coordinator.destroy_orphaned_keys()
        self._coordinator.announce()
