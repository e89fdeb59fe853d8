"""Learning jobs over real processes: SuperLink, proxy, SuperNodes, our ServerApp, the nodes' ClientApp.

A SuperLink that is killed within one: tests/faults/learning_fleet/test_superlink_killed.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from reram_fleet.v1.types_pb2 import LEARNING_KIND_EVALUATE_QUALITY, LEARNING_KIND_TRAIN_LORA, LoraShape, LoraState
from reram_fleet.wire.lora_states import StateArrays

from tests.integration.learning.jobs import Job
from tests.integration.learning.plane import TAGS, Plane

pytestmark = pytest.mark.slow

#: Bytes that nothing else has: the planted rows.
PLANTED = np.array([[12345, -7725, 31406], [24687, 9150, -27187]], np.int16)


def initial_state() -> LoraState:
    return replace(StateArrays.empty(TAGS, LoraShape(rank=3)), rows=PLANTED).encode()


def rows_of(state: LoraState) -> np.ndarray:
    return StateArrays.decode(state).rows


def files_with(folder: Path, needle: bytes) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if needle in path.read_bytes()]


def test_a_training_job_ends_with_the_exact_average_and_leaves_no_plain_state(plane: Plane) -> None:
    job = Job("job-train", LEARNING_KIND_TRAIN_LORA, rounds=2, initial=initial_state())

    run_id = plane.submit(job)
    job.wait_for("finishes")

    assert [finish.error for finish in job.finishes] == [""]
    for number, report in enumerate(job.reports, start=1):
        state = job.opened(report.sealed_state)
        # Each row moves by one per round: only the node that knows it counts.
        np.testing.assert_array_equal(rows_of(state), PLANTED + number)
        assert (report.round, list(report.node_ids)) == (number, ["edge-1", "edge-2"])
        assert report.metrics == {"loss": (1 * 1 + 3 * 3) / 4}
    assert len(job.reports) == 2

    assert plane.wait_finished(run_id) == "finished:completed"
    assert str(run_id) in [run["run-id"] for run in plane.superlink.command("ls")["runs"]]

    # The search itself works: the run configuration is found in the database.
    assert files_with(plane.superlink.folder, b"job-train")
    for secret in (PLANTED[0].tobytes(), PLANTED[1].tobytes(), state.rows[:6], job.key):
        assert files_with(plane.folder, secret) == []
    assert files_with(plane.folder, plane.coordinator.token.encode()) == [plane.token_file]


def test_an_evaluation_job_is_one_round_with_averaged_metrics(plane: Plane) -> None:
    job = Job("job-evaluate", LEARNING_KIND_EVALUATE_QUALITY, rounds=1, initial=initial_state())

    plane.submit(job)
    job.wait_for("finishes")

    assert [finish.error for finish in job.finishes] == [""]
    assert [report.metrics for report in job.reports] == [{"accuracy": (1 * 1 + 3 * 3) / 4}]
    np.testing.assert_array_equal(rows_of(job.state()), PLANTED)


def test_nodes_do_not_reach_the_control_api(plane: Plane) -> None:
    with httpx.Client(verify=plane.tls, trust_env=False) as client:
        answers = {
            path: client.post(f"https://{plane.proxy.address}{path}").status_code
            for path in ("/v1/control/start-run", "/v1/control/list-runs", "/v1/runtime/acquire-task", "/docs")
        }

    assert set(answers.values()) == {403}
