"""The federated LoRA: a learning job, followed to its end."""

from __future__ import annotations

from collections.abc import Callable

from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types

from fleet.client import FleetClient
from fleet.domain.learning import JobState
from fleet.domain.tags import new_tag
from fleet.local.deadline import Deadline
from fleet.local.errors import LocalFleetError


class JobFailedError(LocalFleetError):
    """A learning job ended without a result."""


def train(client: FleetClient, rounds: int, deadline: Deadline, say: Callable[[str], None]) -> operator.LearningJob:
    """Train the shared LoRA; returns the finished job.

    Raises
    ------
    JobFailedError
        If it failed for good.
    """
    started = client.start_learning(new_tag(), types.LEARNING_KIND_TRAIN_LORA, rounds)
    said = -1

    def finished() -> operator.LearningJob | None:
        nonlocal said
        job = client.get_learning(started.job.job_id)
        if job.state == JobState.FAILED:
            raise JobFailedError(f"the learning job {job.job_id} failed: {job.error}")
        if job.rounds_done != said and job.flower_run_id:
            said = job.rounds_done
            say(f"Flower run {job.flower_run_id}: {said} of {job.rounds} rounds")
        return job if job.state == JobState.SUCCEEDED else None

    return deadline.until("the LoRA is trained", finished, poll_s=0.5)
