"""Learning jobs over real processes: SuperLink, proxy, SuperNodes, our ServerApp, the nodes' ClientApp."""

from __future__ import annotations

import os
import signal
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.v1.types_pb2 import LEARNING_KIND_EVALUATE_QUALITY, LEARNING_KIND_TRAIN_LORA, LoraState

from fleet.learning.proxy import FleetProxy
from fleet.learning.superlink import SuperLink
from tests.integration.learning.engines import Learner, ProbeNode, arrays_of
from tests.integration.learning.jobs import Job, ProbeCoordinator
from tests.tls import issued, local_tls

pytestmark = pytest.mark.slow

TAGS = ["a" * 32, "b" * 32]
LEARNERS = {"edge-1": Learner(TAGS[0], examples=1), "edge-2": Learner(TAGS[1], examples=3)}
#: Bytes that nothing else has: the planted rows.
PLANTED = np.array([[1234.5, -77.25, 3.140625], [2468.75, 91.5, -2.71875]], np.float32)


@dataclass
class Plane:
    superlink: SuperLink
    proxy: FleetProxy
    tls: ssl.SSLContext
    coordinator: ProbeCoordinator
    nodes: dict[int, ProbeNode]
    token_file: Path
    folder: Path

    def submit(self, job: Job) -> int:
        self.coordinator.serve(job, self.nodes)
        return self.superlink.command.submit(
            self.superlink.app_folder,
            job.job_id,
            job.attempt,
            self.coordinator.address,
            self.folder / "ca.pem",
            self.token_file,
        )

    def wait_finished(self, run_id: int) -> str:
        for _ in range(20):
            run = self.superlink.command.run_status(run_id)
            if run.finished:
                return run.status
            time.sleep(0.5)
        return run.status


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("learning plane")
    command_key = Ed25519PrivateKey.generate()
    coordinator = ProbeCoordinator(command_key)
    token_file = folder / "learning.token"
    token_file.write_text(coordinator.token + "\n")
    local_tls().ca_file(folder)
    superlink = SuperLink.embedded(folder)
    files, authority = issued(folder)
    proxy = superlink.open_proxy(files)
    nodes: dict[int, ProbeNode] = {}
    superlink.start()
    try:
        superlink.wait_ready()
        proxy.start()
        for node_id, learner in LEARNERS.items():
            public = command_key.public_key().public_bytes_raw()
            node = ProbeNode(folder / node_id, node_id, learner, public)
            nodes[superlink.register_supernode(node.flower_public_key, node_id)] = node
            node.start_supernode(proxy.address, authority.pem)
        tls = ssl.create_default_context(cadata=authority.pem.decode())
        yield Plane(superlink, proxy, tls, coordinator, nodes, token_file, folder)
    finally:
        for node in nodes.values():
            node.stop()
        proxy.stop()
        superlink.stop()
        coordinator.stop()


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


def test_a_killed_superlink_takes_its_runs_along_and_comes_back(plane: Plane) -> None:
    job = Job("job-killed", LEARNING_KIND_TRAIN_LORA, rounds=2, initial=initial_state())
    run = plane.submit(job)
    job.wait_for("reports")
    before = plane.superlink.incarnation
    family = superlink_processes(plane)
    victim = next(process for process, command in family.items() if "flower-superlink" in command)
    assert any("flwr-serverapp" in command for command in family.values())

    os.kill(victim.pid, signal.SIGKILL)

    # Flower starts the ServerApp in a process group of its own: without the reaper it outlives the SuperLink.
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    plane.superlink.wait_ready()
    assert plane.superlink.incarnation == before + 1
    # The next attempt is the coordinator's to start: tests/faults/test_superlink_killed.py.
    plane.superlink.command.stop(run)
    assert plane.superlink.command.run_status(run).finished


def superlink_processes(plane: Plane) -> dict[psutil.Process, str]:
    """Return the command line of every live process of the SuperLink."""
    reaper = plane.superlink.process_id
    assert reaper is not None
    family = {}
    for process in psutil.Process(reaper).children(recursive=True):
        try:
            family[process] = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            # Flower's SuperExec reaps the ServerApp of a finished run with the next one: a zombie till then.
            continue
    return family
