"""ServerApp of a learning job: Flower starts it in a process of its own, once per run.

It is thin. What to do, with whom and from which state comes from the coordinator, which also keeps what comes out after
every round; the average is Flower's own FedAvg.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from reram_fleet.processes.flower import MESSAGE_TYPES
from reram_fleet.processes.hardening import keep_memory_private
from reram_fleet.v1.types_pb2 import LEARNING_KIND_EVALUATE_QUALITY

from fleet.errors import FleetError, StaleAttemptError
from fleet.learning.errors import LearningPlaneError
from fleet.learning.fab import ATTEMPT, CA_FILE, COORDINATOR, JOB_ID, TOKEN_FILE
from fleet.learning.job_client import Attempt, JobClient
from fleet.learning.job_grid import JobGrid
from fleet.learning.state_codec import StateCodec, record_of

logger = logging.getLogger("flwr.reram_fleet.server_app")

app = ServerApp()


def client_of(context: Context) -> JobClient:
    """Return the client of the attempt that a run was submitted for; `LearningPlaneError` if it was for none."""
    values = context.run_config
    if not (values[JOB_ID] and values[ATTEMPT] and values[COORDINATOR] and values[TOKEN_FILE]):
        raise LearningPlaneError(
            "this run has no job: learning jobs are started with `fleet learn start`, not `flwr run`"
        )
    token = Path(str(values[TOKEN_FILE])).read_text().strip()
    ca_pem = Path(str(values[CA_FILE])).read_bytes() if values[CA_FILE] else b""
    return JobClient(str(values[COORDINATOR]), token, str(values[JOB_ID]), int(values[ATTEMPT]), ca_pem=ca_pem)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one attempt of a job, as `run_attempt` does."""
    keep_memory_private()
    with client_of(context) as client:
        run_attempt(grid, client)


def run_attempt(
    grid: Grid,
    client: Attempt,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Run one attempt of a job; report its end unless another attempt has taken over.

    Raises what `run_job` raises, once it is reported.
    """
    try:
        run_job(grid, client, clock=clock, sleep=sleep)
    except StaleAttemptError:
        raise
    except Exception as error:
        try:
            client.finish(error=f"{type(error).__name__}: {error}")
        except FleetError as unreported:
            logger.warning("the failure of job %s could not be reported: %s", client.job_id, unreported)
        raise
    client.finish()


def run_job(
    grid: Grid,
    client: Attempt,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Run the rounds that are left of a job, handing over the state after each.

    `clock` and `sleep` are by what it waits for nodes and replies. `LearningPlaneError` if the coordinator refuses, a
    state does not open, or a round misses its quorum.
    """
    job = client.get_job()
    if job.kind not in MESSAGE_TYPES:
        raise LearningPlaneError(f"job {client.job_id} is of unknown kind {job.kind}: update this coordinator")
    codec = StateCodec.opening(client.job_id, job.job_key, job.sealed_state)
    rounds_left = job.rounds - job.round_offset
    if rounds_left <= 0:
        return
    job_grid = JobGrid(
        grid,
        codec,
        kind=job.kind,
        begin_round=client.begin_round,
        quorum=job.quorum,
        round_offset=job.round_offset,
        round_timeout_s=job.round_timeout_s,
        clock=clock,
        sleep=sleep,
    )

    def checkpoint(round_of_attempt: int, state: ArrayRecord) -> MetricRecord | None:
        # Flower also calls this before the first round.
        outcome = job_grid.last_round
        if round_of_attempt > 0 and outcome is not None:
            client.report_round(outcome.round_number, job_grid.sealed(state), outcome.metrics, outcome.node_ids)
        return None

    # Training rounds only, or evaluation rounds only.
    evaluates = job.kind == LEARNING_KIND_EVALUATE_QUALITY
    strategy = FedAvg(
        fraction_train=0.0 if evaluates else 1.0,
        fraction_evaluate=1.0 if evaluates else 0.0,
        min_train_nodes=job.quorum,
        min_evaluate_nodes=job.quorum,
        min_available_nodes=job.quorum,
    )
    strategy.start(
        grid=job_grid,
        initial_arrays=record_of(codec.first),
        num_rounds=rounds_left,
        timeout=job.round_timeout_s,
        evaluate_fn=checkpoint,
    )
