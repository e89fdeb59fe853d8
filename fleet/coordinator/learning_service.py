"""LearningService: what the ServerApp of a learning job asks and reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from reram_fleet.v1 import learning_pb2 as wire
from reram_fleet.v1 import learning_pb2_grpc

from fleet.coordinator import job_rounds, revisions
from fleet.coordinator.core import Coordinator
from fleet.coordinator.grpc_errors import abort_with
from fleet.errors import FleetError
from fleet.store.database import Transaction

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


class LearningService(learning_pb2_grpc.LearningServiceServicer):
    """Every call is fenced: an attempt that is not the current one gets FAILED_PRECONDITION."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def GetJob(self, request: wire.GetJobRequest, context: Context) -> wire.GetJobResponse:
        """Return kind, rounds, state and key of the job."""
        return await self._run(
            context, lambda tx: job_rounds.describe(self._coordinator, tx, request.job_id, request.attempt)
        )

    async def BeginRound(self, request: wire.BeginRoundRequest, context: Context) -> wire.BeginRoundResponse:
        """Return the live nodes and their tickets."""
        return await self._run(
            context,
            lambda tx: job_rounds.begin_round(self._coordinator, tx, request.job_id, request.attempt, request.round),
        )

    async def ReportRound(self, request: wire.ReportRoundRequest, context: Context) -> wire.ReportRoundResponse:
        """Keep the state after a round."""
        await self._run(context, lambda tx: job_rounds.report_round(self._coordinator, tx, request))
        self._coordinator.announce()
        return wire.ReportRoundResponse()

    async def FinishJob(self, request: wire.FinishJobRequest, context: Context) -> wire.FinishJobResponse:
        """Turn the last state into a revision, or note the failure."""
        await self._run(
            context, lambda tx: job_rounds.finish(self._coordinator, tx, request.job_id, request.attempt, request.error)
        )
        # The job's key opens what Flower's database still holds of it.
        await self._run(context, lambda tx: revisions.destroy_dead_keys(self._coordinator, tx))
        self._coordinator.announce()
        return wire.FinishJobResponse()

    async def _run(self, context: Context, work: Callable[[Transaction], T]) -> T:
        try:
            return await self._coordinator.database.run(work)
        except FleetError as error:
            await abort_with(context, error)
            raise AssertionError("abort raises") from error
