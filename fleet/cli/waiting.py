"""Waits for a campaign, a job or an audit, with progress on stderr; a restart of the coordinator is waited out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from fleet.cli import forget_view
from fleet.cli.exits import PartialError
from fleet.cli.output import note
from fleet.documents import forget_document
from fleet.domain.campaign import CampaignState
from fleet.domain.cohort import AuditState
from fleet.domain.execution import TERMINAL, ExecutionState
from fleet.domain.learning import JobState
from fleet.errors import FleetError
from fleet.local.deadline import Deadline
from fleet.local.errors import TimedOutError

if TYPE_CHECKING:
    from reram_fleet.v1.operator_pb2 import CohortShard, Forget, LearningJob

    from fleet.client import FleetClient

T = TypeVar("T")

#: Between two looks at a coordinator that does not answer, or at a job.
_RETRY_S = 0.5


class JobFailedError(FleetError):
    """A learning job ended without a result."""


def wait_for_forget(
    client: FleetClient, campaign_id: str, timeout_s: float, say: Callable[[str], None] = note
) -> Forget:
    """Follow a campaign until it has converged.

    Raises
    ------
    PartialError
        If every node that is not done is held: waiting does not help, an operator has to.
    TimedOutError
        If it has not converged in time. Suppression stays in force all the same.
    """

    def look(left_s: float) -> Iterator[tuple[str, Forget | None]]:
        for forget in client.watch_forget(campaign_id, left_s):
            yield progress(forget), forget if forget.state == CampaignState.CONVERGED else None
            _refuse_hopeless(forget)

    return _wait(
        f"campaign {campaign_id} has not converged",
        look,
        timeout_s,
        say,
        hint=f"it goes on; follow it with `fleet forget watch {campaign_id}`. For a node that does not come "
        "back: `fleet node retire NODE --reason ...`",
    )


def wait_for_job(client: FleetClient, job_id: str, timeout_s: float, say: Callable[[str], None] = note) -> LearningJob:
    """Follow a learning job until it has succeeded.

    Raises
    ------
    JobFailedError
        If it failed for good.
    TimedOutError
        If it is not over in time.
    """

    def look(_: float) -> Iterator[tuple[str, LearningJob | None]]:
        job = client.get_learning(job_id)
        line = f"{job_id}: {job.state}, attempt {job.attempt}, round {job.rounds_done} of {job.rounds}"
        yield line, job if job.state == JobState.SUCCEEDED else None
        if job.state == JobState.FAILED:
            raise JobFailedError(f"learning job {job_id} failed: {job.error}")

    hint = f"it goes on; look with `fleet learn show {job_id}`"
    return _wait(f"learning job {job_id} is not over", look, timeout_s, say, hint=hint)


def wait_for_audit(client: FleetClient, shard: int, timeout_s: float) -> CohortShard:
    """Follow the audit of a cohort shard until it is over, however it ends.

    Raises
    ------
    TimedOutError
        If it is not over in time.
    """

    def look(_: float) -> Iterator[tuple[str, CohortShard | None]]:
        for found in client.get_cohorts().cohorts:
            if found.shard == shard:
                yield (
                    f"audit of shard {shard}: {found.audit.state}",
                    found if found.audit.state != AuditState.RUNNING else None,
                )

    hint = "it goes on; look with `fleet learn cohorts`"
    return _wait(f"the audit of shard {shard} is not over", look, timeout_s, note, hint=hint)


def _wait(
    missing: str,
    look: Callable[[float], Iterator[tuple[str, T | None]]],
    timeout_s: float,
    say: Callable[[str], None],
    *,
    hint: str,
) -> T:
    """Look, for at most the seconds left, until there is a result; every new line of progress is told once."""
    from fleet.client import UnavailableError

    deadline, line = Deadline.of(timeout_s), ""
    while True:
        try:
            for now, result in look(deadline.left_s):
                if now != line:
                    line = now
                    say(line)
                if result is not None:
                    return result
        except UnavailableError:
            pass
        if deadline.left_s == 0.0:
            raise TimedOutError(f"{missing} after {timeout_s:g} s ({line or 'no answer'})", hint=hint)
        # Also when a stream ended early: ask again, but not in a tight loop.
        time.sleep(min(_RETRY_S, deadline.left_s))


def progress(forget: Forget) -> str:
    """Return one line: state, how many nodes are where, and which ones are waited for or may serve."""
    found = forget_document(forget)
    where = ", ".join(f"{count} {state}" for state, count in found["counts"].items())
    line = f"generation {forget.generation}: {forget_view.state(found)} ({where or 'no nodes'})"
    if waits := forget_view.awaited(found):
        line += f"; waits for {waits}"
    if late := forget_view.may_serve(found):
        line += f"; {late}"
    return line


def _refuse_hopeless(forget: Forget) -> None:
    open_states = {count.state for count in forget.counts} - {str(state) for state in TERMINAL}
    if open_states == {ExecutionState.HELD}:
        held = forget_view.named(forget_document(forget), {ExecutionState.HELD}, why="detail")
        raise PartialError(
            f"campaign {forget.campaign_id} is done everywhere but on held nodes: {held}",
            hint="held nodes get no lease, and serve the backbone only. `fleet node release NODE "
            "--reason ...` orders anew, `fleet node retire NODE --reason ...` goes on without the node",
        )
