from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.v1 import learning_pb2 as pb
from reram_fleet.v1.learning_pb2_grpc import LearningServiceServicer, add_LearningServiceServicer_to_server
from reram_fleet.v1.types_pb2 import LEARNING_KIND_TRAIN_LORA, LoraState

from fleet.errors import StaleAttemptError
from fleet.learning.errors import CoordinatorError
from fleet.learning.job_client import JobClient
from fleet.learning.ports import remembered_port
from tests.integration.learning.jobs import Job, ProbeCoordinator
from tests.tls import local_tls


@pytest.fixture
def coordinator() -> Iterator[ProbeCoordinator]:
    coordinator = ProbeCoordinator(Ed25519PrivateKey.generate())
    coordinator.serve(Job("job-1", LEARNING_KIND_TRAIN_LORA, rounds=3, initial=LoraState(rank=1)), {})
    yield coordinator
    coordinator.stop()


def test_a_round_is_reported_with_what_came_out(coordinator: ProbeCoordinator) -> None:
    with JobClient(coordinator.address, coordinator.token, "job-1", 1, ca_pem=local_tls().ca_pem) as client:
        client.report_round(2, b"sealed", {"loss": 0.5}, ["edge-1"])
        client.finish()

    assert coordinator.job is not None
    report = coordinator.job.reports[0]
    assert (report.round, report.sealed_state, list(report.node_ids)) == (2, b"sealed", ["edge-1"])
    assert report.metrics == {"loss": 0.5}
    assert coordinator.job.finishes[0].error == ""


def test_an_attempt_that_was_replaced_is_told_so(coordinator: ProbeCoordinator) -> None:
    with (
        JobClient(coordinator.address, coordinator.token, "job-1", 7, ca_pem=local_tls().ca_pem) as client,
        pytest.raises(StaleAttemptError, match="attempt 7 of job job-1 is not the current one"),
    ):
        client.get_job()


def test_a_wrong_token_is_an_error_at_once(coordinator: ProbeCoordinator) -> None:
    with (
        JobClient(coordinator.address, "guess", "job-1", 1, away_s=60.0, ca_pem=local_tls().ca_pem) as client,
        pytest.raises(CoordinatorError, match="UNAUTHENTICATED"),
    ):
        client.get_job()


def test_a_coordinator_that_stays_away_for_too_long_is_an_error(tmp_path) -> None:
    address = f"127.0.0.1:{remembered_port(tmp_path / 'port')}"
    with (
        JobClient(address, "token", "job-1", 1, ca_pem=local_tls().ca_pem, away_s=0.2) as client,
        pytest.raises(CoordinatorError, match="UNAVAILABLE"),
    ):
        client.get_job()


def test_a_coordinator_that_restarts_is_waited_for() -> None:
    calls: list[pb.FinishJobRequest] = []

    class Restarting(LearningServiceServicer):
        def FinishJob(  # noqa: N802
            self, request: pb.FinishJobRequest, context: grpc.ServicerContext
        ) -> pb.FinishJobResponse:
            calls.append(request)
            if len(calls) == 1:
                context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
            return pb.FinishJobResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_LearningServiceServicer_to_server(Restarting(), server)
    address = local_tls().listen(server)
    server.start()
    try:
        with JobClient(address, "token", "job-1", 1, ca_pem=local_tls().ca_pem) as client:
            client.finish()
    finally:
        server.stop(None).wait()

    assert len(calls) == 2
