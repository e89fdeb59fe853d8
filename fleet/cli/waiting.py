"""Waiting for a campaign or a job, with progress on stderr."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from fleet.cli import forget_view
from fleet.cli.exits import PartialError, WaitTimedOutError
from fleet.cli.output import note
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import TERMINAL, ExecutionState
from fleet.domain.learning import JobState
from fleet.errors import FleetError

if TYPE_CHECKING:
    from reram_fleet.v1.operator_pb2 import CohortShard, Forget, LearningJob

    from fleet.client import FleetClient

#: Between two looks at a coordinator that does not answer, or at a job.
_RETRY_S = 0.5


class JobFailedError(FleetError):
    """A learning job ended without a result."""


def wait_for_forget(client: FleetClient, campaign_id: str, timeout_s: float) -> Forget:
    """Follow a campaign until it has converged; a restart of the coordinator is waited out.

    Raises
    ------
    PartialError
        If every node that is not done is held: waiting does not help, an operator has to.
    WaitTimedOutError
        If it has not converged in time. Suppression stays in force all the same.
    """
    from fleet.client import UnavailableError

    deadline = time.monotonic() + timeout_s
    line = ""
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            for forget in client.watch_forget(campaign_id, left_s):
                if (now := progress(forget)) != line:
                    line = now
                    note(line)
                if forget.state == CampaignState.CONVERGED:
                    return forget
                _refuse_hopeless(forget)
        except UnavailableError:
            pass
        # Also when the stream ended early: ask again, but not in a tight loop.
        time.sleep(min(_RETRY_S, max(0.0, deadline - time.monotonic())))
    raise WaitTimedOutError(
        f"campaign {campaign_id} has not converged after {timeout_s:g} s ({line or 'no answer'})",
        hint=f"it goes on; follow it with `fleet forget watch {campaign_id}`. For a node that does not come "
        "back: `fleet node retire NODE --reason ...`",
    )


def progress(forget: Forget) -> str:
    """Return one line: state, how many nodes are where, and which ones are waited for or may serve."""
    from fleet.documents import forget_document

    counts = Counter(e.state for e in forget.executions)
    where = ", ".join(f"{counts[state]} {state}" for state in ExecutionState if counts[state])
    found = forget_document(forget)
    line = f"generation {forget.generation}: {forget_view.state(found)} ({where or 'no nodes'})"
    if waits := forget_view.awaited(found):
        line += f"; waits for {waits}"
    if late := forget_view.may_serve(found):
        line += f"; {late}"
    return line


def _refuse_hopeless(forget: Forget) -> None:
    open_states = {e.state for e in forget.executions} - {str(state) for state in TERMINAL}
    if open_states == {ExecutionState.HELD}:
        held = ", ".join(f"{e.node_id} ({e.detail})" for e in forget.executions if e.state == ExecutionState.HELD)
        raise PartialError(
            f"campaign {forget.campaign_id} is done everywhere but on held nodes: {held}",
            hint="held nodes get no lease, and serve the backbone only. `fleet node release NODE "
            "--reason ...` orders anew, `fleet node retire NODE --reason ...` goes on without the node",
        )


def wait_for_job(client: FleetClient, job_id: str, timeout_s: float) -> LearningJob:
    """Follow a learning job until it has succeeded.

    Raises
    ------
    JobFailedError
        If it failed for good.
    WaitTimedOutError
        If it is not over in time.
    """
    from fleet.client import UnavailableError

    deadline = time.monotonic() + timeout_s
    line = ""
    while True:
        try:
            job = client.get_learning(job_id)
        except UnavailableError:
            job = None
        if job is not None:
            now = f"{job_id}: {job.state}, attempt {job.attempt}, round {job.rounds_done} of {job.rounds}"
            if now != line:
                line = now
                note(line)
            if job.state == JobState.SUCCEEDED:
                return job
            if job.state == JobState.FAILED:
                raise JobFailedError(f"learning job {job_id} failed: {job.error}")
        if time.monotonic() >= deadline:
            raise WaitTimedOutError(
                f"learning job {job_id} is not over after {timeout_s:g} s ({line or 'no answer'})",
                hint=f"it goes on; look with `fleet learn show {job_id}`",
            )
        time.sleep(_RETRY_S)


def wait_for_audit(client: FleetClient, shard: int, timeout_s: float) -> CohortShard:
    """Follow the audit of a cohort shard until it is over, however it ends.

    Raises
    ------
    WaitTimedOutError
        If it is not over in time.
    """
    from fleet.client import UnavailableError

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = next((c for c in client.get_cohorts().cohorts if c.shard == shard), None)
        except UnavailableError:
            found = None
        if found is not None and found.audit.state != "running":
            return found
        if time.monotonic() >= deadline:
            raise WaitTimedOutError(
                f"the audit of shard {shard} is not over after {timeout_s:g} s",
                hint="it goes on; look with `fleet learn cohorts`",
            )
        time.sleep(_RETRY_S)
