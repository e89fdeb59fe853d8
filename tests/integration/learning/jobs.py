"""A coordinator's LearningService with nothing behind it: one job at a time, in memory."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass, field

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto.sealing import job_key_purpose, new_key, open_symmetric, seal, seal_symmetric, state_purpose
from reram_fleet.crypto.signing import sign
from reram_fleet.v1 import learning_pb2 as pb
from reram_fleet.v1.learning_pb2_grpc import LearningServiceServicer, add_LearningServiceServicer_to_server
from reram_fleet.v1.types_pb2 import JobTicket, LearningKind, LoraState

from tests.integration.learning.engines import ProbeNode
from tests.tls import local_tls


@dataclass
class Job:
    """A job and what was reported of it."""

    job_id: str
    kind: LearningKind
    rounds: int
    initial: LoraState
    quorum: int = 2
    attempt: int = 1
    key: bytes = field(default_factory=new_key)
    begun: list[tuple[int, int]] = field(default_factory=list)
    reports: list[pb.ReportRoundRequest] = field(default_factory=list)
    finishes: list[pb.FinishJobRequest] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, what: str, timeout_s: float = 80.0) -> None:
        """Return once the list `what` has an entry."""
        with self.changed:
            assert self.changed.wait_for(lambda: getattr(self, what), timeout_s), f"no {what} of {self.job_id}"

    @property
    def sealed_state(self) -> bytes:
        if self.reports:
            return self.reports[-1].sealed_state
        return seal_symmetric(self.key, state_purpose(self.job_id), self.initial.SerializeToString())

    def state(self) -> LoraState:
        """Return the last reported state."""
        return self.opened(self.sealed_state)

    def opened(self, sealed: bytes) -> LoraState:
        return LoraState.FromString(open_symmetric(self.key, state_purpose(self.job_id), sealed))


class ProbeCoordinator(LearningServiceServicer):
    """Serves `job`; checks the token and fences by attempt, as the real one does."""

    def __init__(self, command_key: Ed25519PrivateKey) -> None:
        self.token = secrets.token_hex(16)
        self.job: Job | None = None
        self._command_key = command_key
        self._nodes: Mapping[int, ProbeNode] = {}
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        add_LearningServiceServicer_to_server(self, self._server)
        self.address = local_tls().listen(self._server)
        self._server.start()

    def serve(self, job: Job, nodes: Mapping[int, ProbeNode]) -> None:
        """Serve a job to these nodes, by Flower node id."""
        self._nodes = nodes
        self.job = job

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _current(self, request: object, context: grpc.ServicerContext) -> Job:
        if ("authorization", f"Bearer {self.token}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such token")
        job = self.job
        if job is None or (request.job_id, request.attempt) != (job.job_id, job.attempt):  # type: ignore[attr-defined]
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "another attempt is the current one")
        assert job is not None
        return job

    def GetJob(self, request: pb.GetJobRequest, context: grpc.ServicerContext) -> pb.GetJobResponse:  # noqa: N802
        job = self._current(request, context)
        return pb.GetJobResponse(
            kind=job.kind,
            rounds=job.rounds,
            round_offset=len(job.reports),
            quorum=job.quorum,
            sealed_state=job.sealed_state,
            job_key=job.key,
            round_timeout_s=60,
        )

    def BeginRound(  # noqa: N802
        self, request: pb.BeginRoundRequest, context: grpc.ServicerContext
    ) -> pb.BeginRoundResponse:
        job = self._current(request, context)
        with job.changed:
            job.begun.append((request.attempt, request.round))
            job.changed.notify_all()
        return pb.BeginRoundResponse(
            nodes=[
                pb.RoundNode(node_id=node.node_id, flower_node_id=flower_id, ticket=self._ticket(job, request, node))
                for flower_id, node in self._nodes.items()
            ]
        )

    def _ticket(self, job: Job, request: pb.BeginRoundRequest, node: ProbeNode) -> object:
        return sign(
            self._command_key,
            JobTicket(
                fleet_id="probe",
                node_id=node.node_id,
                job_id=job.job_id,
                attempt=request.attempt,
                round=request.round,
                kind=job.kind,
                expires_at_unix_ms=int(time.time() * 1000) + 120_000,
                job_key=seal(
                    node.sealing_key.public_key().public_bytes_raw(), job_key_purpose(job.job_id, node.node_id), job.key
                ),
            ),
        )

    def ReportRound(  # noqa: N802
        self, request: pb.ReportRoundRequest, context: grpc.ServicerContext
    ) -> pb.ReportRoundResponse:
        job = self._current(request, context)
        with job.changed:
            job.reports.append(request)
            job.changed.notify_all()
        return pb.ReportRoundResponse()

    def FinishJob(self, request: pb.FinishJobRequest, context: grpc.ServicerContext) -> pb.FinishJobResponse:  # noqa: N802
        job = self._current(request, context)
        with job.changed:
            job.finishes.append(request)
            job.changed.notify_all()
        return pb.FinishJobResponse()
