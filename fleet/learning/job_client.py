"""The ServerApp's side of LearningService: one attempt of one job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message
from reram_fleet.v1 import learning_pb2 as pb
from reram_fleet.v1.learning_pb2_grpc import LearningServiceStub

from fleet.errors import StaleAttemptError
from fleet.learning.errors import CoordinatorError

CALL_TIMEOUT_S = 10.0
#: How long a coordinator may be away (it restarts) before the attempt gives up.
PATIENCE_S = 30.0
_RETRY_S = 0.5
_RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class JobClient:
    """Caller of LearningService for one attempt of one job.

    The coordinator's host:port is plaintext: only ever the loopback interface. Calls are repeated for `patience_s`
    while it does not answer; all of them are idempotent. Every call raises `StaleAttemptError` if another attempt is
    the current one, and `CoordinatorError` if the coordinator refuses for another reason or stays away.
    """

    def __init__(
        self, coordinator: str, token: str, job_id: str, attempt: int, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.job_id, self.attempt = job_id, attempt
        self._coordinator, self._patience_s = coordinator, patience_s
        self._metadata = (("authorization", f"Bearer {token}"),)
        # The environment's proxy is for the outside.
        self._channel = grpc.insecure_channel(coordinator, options=(("grpc.enable_http_proxy", 0),))
        self._stub: Any = LearningServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> JobClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def get_job(self) -> pb.GetJobResponse:
        """Return what to do, from which state, and the job key."""
        job: pb.GetJobResponse = self._call(self._stub.GetJob, pb.GetJobRequest)
        return job

    def begin_round(self, round_number: int) -> Sequence[pb.RoundNode]:
        """Return the nodes that the coordinator sees live, each with its signed ticket for this round."""
        return list(self._call(self._stub.BeginRound, pb.BeginRoundRequest, round=round_number).nodes)

    def report_round(
        self, round_number: int, sealed_state: bytes, metrics: Mapping[str, float], node_ids: Sequence[str]
    ) -> None:
        """Hand over the state after a round: a later attempt goes on from here."""
        report = {"round": round_number, "sealed_state": sealed_state, "metrics": metrics, "node_ids": node_ids}
        self._call(self._stub.ReportRound, pb.ReportRoundRequest, **report)

    def finish(self, error: str = "") -> None:
        """Report that this attempt is over; `error` is empty on success."""
        self._call(self._stub.FinishJob, pb.FinishJobRequest, error=error)

    def _call(self, method: Callable[..., Any], kind: Callable[..., Message], **fields: Any) -> Any:
        request = kind(job_id=self.job_id, attempt=self.attempt, **fields)
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return method(request, metadata=self._metadata, timeout=CALL_TIMEOUT_S)
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
                if code == grpc.StatusCode.FAILED_PRECONDITION:
                    raise StaleAttemptError(
                        f"attempt {self.attempt} of job {self.job_id} is not the current one: {details}"
                    ) from error
                if code not in _RETRYABLE or time.monotonic() >= deadline:
                    raise CoordinatorError(
                        f"the coordinator at {self._coordinator} refused or did not answer "
                        f"{type(request).__name__} for job {self.job_id}: {code.name}: {details}"
                    ) from error
            time.sleep(_RETRY_S)
