"""LearningService: the side of the coordinator towards the ServerApp of a learning job."""

from __future__ import annotations

from reram_fleet.v1 import learning_pb2 as wire
from reram_fleet.v1 import learning_pb2_grpc

from fleet.coordinator.servicer import Context, Servicer


class LearningService(Servicer, learning_pb2_grpc.LearningServiceServicer):
    """Every call is fenced: an attempt that is not the current one gets FAILED_PRECONDITION."""

    async def GetJob(self, request: wire.GetJobRequest, context: Context) -> wire.GetJobResponse:
        """Return kind, rounds, state and key of the job."""
        return await self._run(context, lambda unit: unit.rounds.describe(request.job_id, request.attempt))

    async def BeginRound(self, request: wire.BeginRoundRequest, context: Context) -> wire.BeginRoundResponse:
        """Return the live nodes and their tickets."""
        return await self._run(
            context,
            lambda unit: unit.rounds.begin_round(request.job_id, request.attempt, request.round),
        )

    async def ReportRound(self, request: wire.ReportRoundRequest, context: Context) -> wire.ReportRoundResponse:
        """Keep the state after a round."""
        await self._change(context, lambda unit: unit.rounds.report_round(request))
        return wire.ReportRoundResponse()

    async def FinishJob(self, request: wire.FinishJobRequest, context: Context) -> wire.FinishJobResponse:
        """Turn the last state into a revision, or note the failure."""
        await self._run(context, lambda unit: unit.rounds.finish(request.job_id, request.attempt, request.error))
        # The job's key opens what Flower's database still holds of it.
        await self._coordinator.destroy_orphaned_keys()
        self._coordinator.announce()
        return wire.FinishJobResponse()
