"""The ServerApp's side of LearningService: one attempt of one job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message
from reram_fleet.processes.token_client import R, TokenClient
from reram_fleet.v1 import learning_pb2 as pb
from reram_fleet.v1.learning_pb2_grpc import LearningServiceStub

from fleet.errors import StaleAttemptError
from fleet.learning.errors import CoordinatorError

CALL_TIMEOUT_S = 10.0
#: How long a coordinator may be away (it restarts) before the attempt gives up.
AWAY_S = 30.0
_RETRY_S = 0.5
_RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Attempt(Protocol):
    """One attempt of one job, as the ServerApp sees its coordinator; `JobClient` is the one over gRPC.

    Every call raises `StaleAttemptError` if another attempt is the current one.
    """

    @property
    def job_id(self) -> str:
        """Id of the job."""

    def get_job(self) -> pb.GetJobResponse:
        """Return what to do, from which state, and the job key."""

    def begin_round(self, round_number: int) -> Sequence[pb.RoundNode]:
        """Return the live nodes, each with its signed ticket for this round."""

    def report_round(
        self, round_number: int, sealed_state: bytes, metrics: Mapping[str, float], node_ids: Sequence[str]
    ) -> None:
        """Hand over the state after a round: a later attempt goes on from here."""

    def finish(self, error: str = "") -> None:
        """Report that this attempt is over; `error` is empty on success."""


class JobClient(TokenClient):
    """Caller of LearningService for one attempt of one job.

    Calls are repeated for `away_s` while the coordinator does not answer; all of them are idempotent. Every call raises
    `StaleAttemptError` if another attempt is the current one, and `CoordinatorError` if the coordinator refuses for
    another reason or stays away.
    """

    def __init__(
        self,
        coordinator: str,
        token: str,
        job_id: str,
        attempt: int,
        *,
        ca_pem: bytes = b"",
        away_s: float = AWAY_S,
    ) -> None:
        super().__init__(coordinator, token, LearningServiceStub, ca_pem=ca_pem)
        self.job_id, self.attempt, self._away_s = job_id, attempt, away_s

    def get_job(self) -> pb.GetJobResponse:
        """Return what to do, from which state, and the job key."""
        return self._repeat(self.stub.GetJob, pb.GetJobResponse, pb.GetJobRequest)

    def begin_round(self, round_number: int) -> Sequence[pb.RoundNode]:
        """Return the nodes that the coordinator sees live, each with its signed ticket for this round."""
        return self._repeat(self.stub.BeginRound, pb.BeginRoundResponse, pb.BeginRoundRequest, round=round_number).nodes

    def report_round(
        self, round_number: int, sealed_state: bytes, metrics: Mapping[str, float], node_ids: Sequence[str]
    ) -> None:
        """Hand over the state after a round: a later attempt goes on from here."""
        report = {"round": round_number, "sealed_state": sealed_state, "metrics": metrics, "node_ids": node_ids}
        self._repeat(self.stub.ReportRound, pb.ReportRoundResponse, pb.ReportRoundRequest, **report)

    def finish(self, error: str = "") -> None:
        """Report that this attempt is over; `error` is empty on success."""
        self._repeat(self.stub.FinishJob, pb.FinishJobResponse, pb.FinishJobRequest, error=error)

    def _repeat(self, method: Any, answer: type[R], kind: Callable[..., Message], **fields: Any) -> R:
        request = kind(job_id=self.job_id, attempt=self.attempt, **fields)
        deadline = time.monotonic() + self._away_s
        while True:
            try:
                return self.call(method, answer, request, CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
                if code == grpc.StatusCode.FAILED_PRECONDITION:
                    raise StaleAttemptError(
                        f"attempt {self.attempt} of job {self.job_id} is not the current one: {details}"
                    ) from error
                if code not in _RETRYABLE or time.monotonic() >= deadline:
                    raise CoordinatorError(
                        f"the coordinator at {self.address} refused or did not answer "
                        f"{type(request).__name__} for job {self.job_id}: {code.name}: {details}"
                    ) from error
            time.sleep(_RETRY_S)
