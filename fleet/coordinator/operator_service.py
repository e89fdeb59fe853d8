"""OperatorService: the API that the `fleet` command uses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from importlib.metadata import version

import grpc
from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import operator_pb2_grpc
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.servicer import Context, Servicer
from fleet.coordinator.unit import UnitOfWork
from fleet.coordinator.views import MOST_LISTED, copied, costs_view, execution_view
from fleet.coordinator.wire_enums import LEARNING_KIND
from fleet.domain.campaign import CampaignState
from fleet.domain.learning import JobKind
from fleet.domain.node import ServeState
from fleet.errors import InvalidInputError
from fleet.learning.errors import LearningPlaneError

logger = logging.getLogger(__name__)

#: A watcher looks again this often even if nothing was announced.
WATCH_PAUSE_S = 5.0
#: And not more often than this.
WATCH_EVERY_S = 0.3


class OperatorService(Servicer, operator_pb2_grpc.OperatorServiceServicer):
    """The operator's API over the store."""

    async def GetFleet(self, request: wire.GetFleetRequest, context: Context) -> wire.GetFleetResponse:
        """Return the state of the whole."""

        def read(unit: UnitOfWork) -> wire.GetFleetResponse:
            fleet, newest = unit.tx.fleet.get(), unit.tx.revisions.latest()
            plane, sessions = self._coordinator.learning, self._coordinator.env.sessions
            connected = sessions.connected()
            return copied(
                wire.GetFleetResponse,
                fleet,
                version=version("reram-fleet"),
                now_unix_ms=unit.tx.now_ms,
                revision=fleet.desired_revision,
                revision_digest=b"" if newest is None else newest.digest,
                nodes_registered=unit.tx.nodes.count(),
                metrics_address=self._coordinator.metrics_address,
                nodes_awaited=len(unit.tx.fleet.awaited()),
                nodes_connected=len(connected),
                nodes_serving=sum(sessions.of(node_id).serves[0] is ServeState.SERVING for node_id in connected),
                subjects=unit.tx.subjects.count(),
                forgets_open=len(unit.tx.forgets.list_open()),
                superlink="disabled" if plane is None else plane.state,
                superlink_address="" if plane is None else plane.superlink.control_address,
                log_size=unit.tx.tree.size(),
                log_root=unit.tx.tree.root(),
                command_public_key=self._coordinator.env.keys.command_public_key,
            )

        return await self._read(context, read)

    async def EnrollNode(self, request: wire.EnrollNodeRequest, context: Context) -> wire.EnrollNodeResponse:
        """Register a node and return what it needs to join."""
        identity = request.identity
        node, created = await self._run(context, lambda unit: unit.decisions.enroll(identity))
        plane = self._coordinator.learning
        flower_node_id = node.flower_node_id
        if plane is not None and flower_node_id is None and identity.flower_public_key:
            try:
                flower_node_id = await asyncio.to_thread(
                    plane.superlink.register_supernode, identity.flower_public_key, identity.node_id
                )
            except LearningPlaneError as error:
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"the SuperLink does not take the node: {error}")
            await self._run(
                context, lambda unit: unit.tx.nodes.set_flower_node_id(identity.node_id, int(flower_node_id or 0))
            )
        self._coordinator.announce()
        return wire.EnrollNodeResponse(
            fleet_id=self._coordinator.env.fleet_id,
            command_public_key=self._coordinator.env.keys.command_public_key,
            coordinator_sealing_public_key=self._coordinator.env.keys.sealing_public_key,
            node_service_address=self._coordinator.endpoint.node_address,
            coordinator_ca_pem=self._coordinator.endpoint.node_ca_pem.decode(),
            registry_public_key=self._coordinator.env.registry_public_key,
            flower_fleet_address="" if plane is None else plane.proxy.address,
            flower_ca_pem="" if plane is None else plane.tls.ca_pem.decode(),
            flower_node_id=flower_node_id or 0,
            created=created,
        )

    async def ListNodes(self, request: wire.ListNodesRequest, context: Context) -> wire.ListNodesResponse:
        """Return nodes, page by page."""
        return await self._read(context, lambda unit: unit.pages.nodes(request))

    async def GetNode(self, request: wire.GetNodeRequest, context: Context) -> wire.GetNodeResponse:
        """Return one node and what was decided about it."""
        connected = self._coordinator.env.sessions.connected()
        return await self._read(
            context,
            lambda unit: wire.GetNodeResponse(
                node=unit.views.node(unit.tx.nodes.get(request.node_id), connected),
                audit_events=[envelope for envelope, _ in unit.decisions.about(request.node_id)[-MOST_LISTED:]],
                quarantined=[copied(wire.QuarantinedReport, row) for row in unit.tx.nodes.quarantined(request.node_id)],
            ),
        )

    async def ReleaseNode(self, request: wire.ReleaseNodeRequest, context: Context) -> wire.ReleaseNodeResponse:
        """Give a held node leases again."""
        connected = self._coordinator.env.sessions.connected()

        def release(unit: UnitOfWork) -> wire.ReleaseNodeResponse:
            node = unit.decisions.release(request.node_id, request.reason)
            return wire.ReleaseNodeResponse(node=unit.views.node(node, connected))

        return await self._change(context, release)

    async def RetireNode(self, request: wire.RetireNodeRequest, context: Context) -> wire.RetireNodeResponse:
        """Take a node out of the fleet for good."""
        connected = self._coordinator.env.sessions.connected() - {request.node_id}
        before: frozenset[str] = frozenset()

        def retire(unit: UnitOfWork) -> wire.RetireNodeResponse:
            nonlocal before
            before = unit.decisions.open_campaigns()
            node = unit.decisions.retire(request.node_id, request.reason, discard=request.discard_contributions)
            return wire.RetireNodeResponse(node=unit.views.node(node, connected))

        response = await self._change(context, retire)
        # A transaction of its own: what keeps one forget from moving on must not keep the node in the fleet. The
        # reconciler may have been quicker.
        converged = await self._run(context, lambda unit: unit.decisions.move_on(before))
        response.converged_campaign_ids.extend(converged)
        plane = self._coordinator.learning
        if plane is not None and response.node.flower_node_id:
            try:
                await asyncio.to_thread(plane.superlink.unregister_supernode, response.node.flower_node_id)
            except LearningPlaneError as error:
                # A second line: rounds address nodes with an open stream only. Retiring again tries again.
                logger.warning("the SuperLink keeps the key of node %s: %s", request.node_id, error)
        await self._coordinator.destroy_orphaned_keys()
        return response

    async def RetryForget(self, request: wire.RetryForgetRequest, context: Context) -> wire.RetryForgetResponse:
        """Have an erase order sent to a node anew."""

        def retry(unit: UnitOfWork) -> wire.RetryForgetResponse:
            execution = unit.decisions.retry(request.node_id, request.campaign_id, request.reason)
            return wire.RetryForgetResponse(execution=execution_view(execution))

        return await self._change(context, retry)

    async def AcceptRestore(self, request: wire.AcceptRestoreRequest, context: Context) -> wire.AcceptRestoreResponse:
        """Go on without the nodes that have not said where they are since the coordinator was restored."""

        def accept(unit: UnitOfWork) -> wire.AcceptRestoreResponse:
            return wire.AcceptRestoreResponse(node_ids=unit.decisions.accept_restore(request.reason))

        return await self._change(context, accept)

    async def CreateForget(self, request: wire.CreateForgetRequest, context: Context) -> wire.CreateForgetResponse:
        """Commit a forget."""

        def commit(unit: UnitOfWork) -> wire.CreateForgetResponse:
            campaign, created = unit.campaigns.create(
                request.request_id,
                list(request.subject_tags),
                allow_unknown=request.allow_unknown,
                concepts=list(request.concepts),
            )
            return wire.CreateForgetResponse(forget=unit.views.forget(campaign), created=created)

        response = await self._change(context, commit)
        await self._coordinator.destroy_orphaned_keys()
        return response

    async def GetForget(self, request: wire.GetForgetRequest, context: Context) -> wire.GetForgetResponse:
        """Return one forget."""
        return await self._read(
            context,
            lambda unit: wire.GetForgetResponse(forget=unit.views.forget(unit.tx.forgets.get(request.campaign_id))),
        )

    async def ListForgets(self, request: wire.ListForgetsRequest, context: Context) -> wire.ListForgetsResponse:
        """Return forgets, newest first, page by page."""
        return await self._read(context, lambda unit: unit.pages.forgets(request))

    async def ListExecutions(
        self, request: wire.ListExecutionsRequest, context: Context
    ) -> wire.ListExecutionsResponse:
        """Return executions of a forget or of a node, page by page."""
        return await self._read(context, lambda unit: unit.pages.executions(request))

    async def WatchForget(
        self, request: wire.WatchForgetRequest, context: Context
    ) -> AsyncIterator[wire.WatchForgetResponse]:
        """Send the forget now, and again when it has changed, until it has converged."""
        clock, version, last = asyncio.get_running_loop().time, -1, None
        while True:
            looked_s = clock()
            forget = await self._read(context, lambda unit: unit.views.forget(unit.tx.forgets.get(request.campaign_id)))
            if forget != last:
                yield wire.WatchForgetResponse(forget=forget)
                last = forget
            if forget.state == CampaignState.CONVERGED:
                return
            version = await self._coordinator.changes.wait_beyond(version, WATCH_PAUSE_S)
            # Thousands of nodes report at once.
            await asyncio.sleep(max(0.0, looked_s + WATCH_EVERY_S - clock()))

    async def GetCertificate(
        self, request: wire.GetCertificateRequest, context: Context
    ) -> wire.GetCertificateResponse:
        """Return the signed certificate of a forget that has converged."""
        return await self._read(
            context,
            lambda unit: wire.GetCertificateResponse(certificate=unit.certificates.issue(request.campaign_id)),
        )

    async def ListEvidence(self, request: wire.ListEvidenceRequest, context: Context) -> wire.ListEvidenceResponse:
        """Return what a certificate's root binds, page by page or of one node."""
        return await self._read(context, lambda unit: unit.certificates.evidence(request))

    async def StartLearning(self, request: wire.StartLearningRequest, context: Context) -> wire.StartLearningResponse:
        """Queue a learning job."""

        def begin(unit: UnitOfWork) -> wire.StartLearningResponse:
            if request.kind not in LEARNING_KIND.words:
                raise InvalidInputError("a learning job needs a kind: train.lora, train.cohort or evaluate.quality")
            kind = LEARNING_KIND.words[request.kind]
            if kind is JobKind.TRAIN_COHORT:
                return self._start_cohorts(unit, request)
            job, created = unit.jobs.start(request.request_id, kind, request.rounds)
            found = unit.views.job(job)
            return wire.StartLearningResponse(job=found, created=created, jobs=[found])

        return await self._change(context, begin)

    def _start_cohorts(self, unit: UnitOfWork, request: wire.StartLearningRequest) -> wire.StartLearningResponse:
        made = unit.jobs.start_cohorts(request.request_id, request.rounds, request.shards)
        found = [unit.views.job(job) for job in made.jobs]
        return wire.StartLearningResponse(job=found[0], created=made.created, jobs=found, skipped_shards=made.skipped)

    async def GetCohorts(self, request: wire.GetCohortsRequest, context: Context) -> wire.GetCohortsResponse:
        """Return the cohort shards with their history."""
        return await self._read(context, lambda unit: unit.views.cohorts())

    async def AuditCohort(self, request: wire.AuditCohortRequest, context: Context) -> wire.AuditCohortResponse:
        """Queue the re-execution of a shard."""
        return await self._change(
            context,
            lambda unit: wire.AuditCohortResponse(job=unit.views.job(unit.cohort_jobs.start_audit(request.shard))),
        )

    async def DropLora(self, request: wire.DropLoraRequest, context: Context) -> wire.DropLoraResponse:
        """Drop what was learned by gradient."""
        revision, rows = await self._change(context, lambda unit: unit.jobs.drop_lora())
        await self._coordinator.destroy_orphaned_keys()
        return wire.DropLoraResponse(revision=revision, rows=rows)

    async def GetLearning(self, request: wire.GetLearningRequest, context: Context) -> wire.GetLearningResponse:
        """Return one learning job."""
        return await self._read(
            context,
            lambda unit: wire.GetLearningResponse(job=unit.views.job(unit.tx.learning.get(request.job_id))),
        )

    async def ListLearning(self, request: wire.ListLearningRequest, context: Context) -> wire.ListLearningResponse:
        """Return all learning jobs, oldest first."""
        return await self._read(
            context,
            lambda unit: wire.ListLearningResponse(jobs=[unit.views.job(job) for job in unit.tx.learning.list()]),
        )

    async def GetEnergyReport(
        self, request: wire.GetEnergyReportRequest, context: Context
    ) -> wire.GetEnergyReportResponse:
        """Return joules, seconds, bytes and cell writes in all."""
        # What nodes said last is part of it.
        await self._coordinator.write_contacts()

        def read(unit: UnitOfWork) -> wire.GetEnergyReportResponse:
            model = unit.tx.nodes.energy_model()
            return wire.GetEnergyReportResponse(
                totals=costs_view(unit.tx.nodes.total_costs()),
                energy_model=model and types.EnergyModel(name=model[0], version=model[1]),
            )

        return await self._read(context, read)
