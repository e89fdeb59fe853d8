"""Learning jobs over real processes: SuperLink, proxy, SuperNodes, our ServerApp, the nodes' ClientApp.

A SuperLink that is killed within one: tests/faults/test_superlink_killed.py.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest
from reram_fleet.v1.types_pb2 import LEARNING_KIND_EVALUATE_QUALITY, LEARNING_KIND_TRAIN_LORA, LoraState

from tests.integration.learning.engines import arrays_of
from tests.integration.learning.jobs import Job
from tests.integration.learning.plane import LEARNERS, TAGS, Plane

pytestmark = pytest.mark.slow

#: Bytes that nothing else has: the planted rows.
PLANTED = np.array([[1234.5, -77.25, 3.140625], [2468.75, 91.5, -2.71875]], np.float32)


def initial_state() -> LoraState:
    weight = np.ones(len(TAGS), np.float32)
    return LoraState(subject_tags=TAGS, rank=3, numerator=PLANTED.tobytes(), weight=weight.tobytes())


def fedavg(state: LoraState) -> tuple[np.ndarray, np.ndarray]:
    """One round, computed here: the average of both nodes weighted by their examples, in node order."""
    total = sum(learner.examples for learner in LEARNERS.values())
    numerator, weight = np.float32(0), np.float32(0)
    for node_id in sorted(LEARNERS):
        contribution = LEARNERS[node_id].step(TAGS, *arrays_of(state))
        share = LEARNERS[node_id].examples / total
        numerator, weight = numerator + contribution[0] * share, weight + contribution[1] * share
    return numerator, weight


def files_with(folder: Path, needle: bytes) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if needle in path.read_bytes()]


def test_a_training_job_ends_with_the_exact_average_and_leaves_no_plain_state(plane: Plane) -> None:
    job = Job("job-train", LEARNING_KIND_TRAIN_LORA, rounds=2, initial=initial_state())

    run_id = plane.submit(job)
    job.wait_for("finishes")

    assert [finish.error for finish in job.finishes] == [""]
    state = job.initial
    for number, report in enumerate(job.reports, start=1):
        numerator, weight = fedavg(state)
        state = job.opened(report.sealed_state)
        np.testing.assert_array_equal(arrays_of(state)[0], numerator)
        np.testing.assert_array_equal(arrays_of(state)[1], weight)
        assert (report.round, list(report.node_ids)) == (number, ["edge-1", "edge-2"])
        assert report.metrics == {"loss": (1 * 1 + 3 * 3) / 4}
    assert len(job.reports) == 2
    # Each row moved by about one per round: only the node that knows it counts.
    rows = arrays_of(state)[0] / arrays_of(state)[1][:, None]
    np.testing.assert_allclose(rows, PLANTED + 2, atol=1e-3)

    assert plane.wait_finished(run_id) == "finished:completed"
    assert str(run_id) in [run["run-id"] for run in plane.superlink.command("ls")["runs"]]

    # The search itself works: the run configuration is found in the database.
    assert files_with(plane.superlink.folder, b"job-train")
    for secret in (PLANTED[0].tobytes(), PLANTED[1].tobytes(), state.numerator[:12], job.key):
        assert files_with(plane.folder, secret) == []
    assert files_with(plane.folder, plane.coordinator.token.encode()) == [plane.token_file]


def test_an_evaluation_job_is_one_round_with_averaged_metrics(plane: Plane) -> None:
    job = Job("job-evaluate", LEARNING_KIND_EVALUATE_QUALITY, rounds=1, initial=initial_state())

    plane.submit(job)
    job.wait_for("finishes")

    assert [finish.error for finish in job.finishes] == [""]
    assert [report.metrics for report in job.reports] == [{"accuracy": (1 * 1 + 3 * 3) / 4}]
    np.testing.assert_array_equal(arrays_of(job.state())[0], PLANTED)


def test_nodes_do_not_reach_the_control_api(plane: Plane) -> None:
    with httpx.Client(verify=plane.tls, trust_env=False) as client:
        answers = {
            path: client.post(f"https://{plane.proxy.address}{path}").status_code
            for path in ("/v1/control/start-run", "/v1/control/list-runs", "/v1/runtime/acquire-task", "/docs")
        }

    assert set(answers.values()) == {403}
