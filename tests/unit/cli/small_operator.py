"""A small real OperatorService: gRPC on a free port, state in memory, answers like a coordinator's."""

# ruff: noqa: N802 - gRPC names the methods.
from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import operator_pb2_grpc
from reram_fleet.v1 import types_pb2 as types

from tests.tls import local_tls

TOKEN = "test-operator-token"
COSTS = [
    types.PhaseCost(phase=types.ENERGY_PHASE_PROGRAM, energy_j=0.012, seconds=3.0, bytes=0, cell_writes=900),
    types.PhaseCost(phase=types.ENERGY_PHASE_RADIO, energy_j=2e-4, seconds=0.1, bytes=4096, cell_writes=0),
]
MODEL = types.EnergyModel(name="180nm-1t1r", version="1")


class SmallOperator(operator_pb2_grpc.OperatorServiceServicer):
    """Keeps forgets and jobs by request id; `advance` moves a campaign on."""

    def __init__(self) -> None:
        self.known_tags: set[str] = set()
        self.tags: dict[str, set[str]] = {}
        self.forgets: dict[str, operator.Forget] = {}
        self.executions: defaultdict[str, list[operator.Execution]] = defaultdict(list)
        self.jobs: dict[str, operator.LearningJob] = {}
        self.nodes = {
            name: operator.Node(
                node_id=name,
                connected=True,
                last_contact_unix_ms=1_700_000_000_000,
                serve_state=types.SERVE_STATE_SERVING,
                costs=COSTS,
                energy_model=MODEL,
                overhead=types.DeploymentOverhead(energy_j=1e-6, bytes=100, reprogramming_ratio=250.0),
                subject_adapters=4,
            )
            for name in ("node-1", "node-2")
        }
        self.audit_events: defaultdict[str, list[types.Envelope]] = defaultdict(list)
        self.discarded: set[str] = set()
        self.quarantined: defaultdict[str, list[operator.QuarantinedReport]] = defaultdict(list)
        self.dropped = False
        self.changed = threading.Condition()
        self.next_job_states = ["queued", "running", "succeeded"]
        entry = operator.CohortRound(nodes=["node-1"], inputs="i" * 64)
        self.cohorts = [
            operator.CohortShard(
                shard=0,
                rounds=1,
                members=[operator.CohortMember(subject_tag="a" * 32, entry=0)],
                log=[entry],
                digest=bytes(32),
            ),
            operator.CohortShard(shard=1, replay_from=0, audit=operator.CohortAudit(state="none")),
        ]
        self.next_audit = operator.CohortAudit(state="reproduced")
        self.fleet = operator.GetFleetResponse(fleet_id="fleet-test", version="0.1.0", subjects=4, superlink="running")
        self.certificates: dict[str, str] = {}
        #: Evidence (JSON) by node id.
        self.evidence: dict[str, str] = {}

    def advance(self, campaign_id: str, state: str, executions: dict[str, str]) -> None:
        """Move a campaign and its executions."""
        with self.changed:
            forget = self.forgets[campaign_id]
            forget.state = state
            for execution in self.executions[campaign_id]:
                execution.state = executions.get(execution.node_id, execution.state)
            if state == "converged":
                forget.seconds_to_verify = 1.5
            given_up = [e.node_id for e in self.executions[campaign_id] if e.state in ("lost", "retired")]
            forget.excepted_node_ids[:] = given_up
            self.changed.notify_all()

    def summary(self, campaign_id: str) -> operator.Forget:
        """Return a campaign with the counts of its executions, and the first five of each state as examples."""
        forget, by_state = operator.Forget.FromString(self.forgets[campaign_id].SerializeToString()), defaultdict(list)
        for execution in sorted(self.executions[campaign_id], key=lambda each: each.node_id):
            by_state[execution.state].append(execution)
        forget.counts.extend(operator.StateCount(state=state, nodes=len(found)) for state, found in by_state.items())
        for state, found in by_state.items():
            forget.examples.extend(found[:5] if state not in ("verified", "not_affected") else ())
        return forget

    def GetFleet(self, request, context):
        self.fleet.generation = len(self.forgets)
        self.fleet.nodes_registered = self.fleet.nodes_connected = 2
        self.fleet.nodes_serving = sum(node.connected for node in self.nodes.values())
        self.fleet.forgets_open = sum(f.state != "converged" for f in self.forgets.values())
        return self.fleet

    def GetCertificate(self, request, context):
        return operator.GetCertificateResponse(certificate=self.certificates[request.campaign_id])

    def ListEvidence(self, request, context):
        if request.node_id and request.node_id not in self.evidence:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no execution on {request.node_id}")
        nodes = [self.evidence[request.node_id]] if request.node_id else list(self.evidence.values())
        return operator.ListEvidenceResponse(nodes=nodes)

    def EnrollNode(self, request, context):
        name = request.identity.node_id
        created = name not in self.nodes
        self.nodes.setdefault(name, operator.Node(node_id=name))
        return operator.EnrollNodeResponse(
            fleet_id="fleet-test",
            command_public_key=bytes(32),
            node_service_address="127.0.0.1:1",
            flower_node_id=2**63 + 5,
            created=created,
        )

    def ListNodes(self, request, context):
        found, token = page(sorted(self.nodes.values(), key=lambda node: node.node_id), request)
        return operator.ListNodesResponse(nodes=found, next_page_token=token)

    def GetNode(self, request, context):
        if request.node_id not in self.nodes:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no node {request.node_id!r}")
        return operator.GetNodeResponse(
            node=self.nodes[request.node_id],
            audit_events=self.audit_events[request.node_id],
            quarantined=self.quarantined[request.node_id],
        )

    def _decide(self, request, kind, **fields):
        event = types.AuditEvent(kind=kind, node_id=request.node_id, reason=request.reason, **fields)
        self.audit_events[request.node_id].append(types.Envelope(payload=event.SerializeToString()))

    def ReleaseNode(self, request, context):
        node = self.nodes[request.node_id]
        if not node.held_reason:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"node {request.node_id} is not held")
        node.held_reason = ""
        self._decide(request, types.AUDIT_EVENT_KIND_NODE_RELEASED)
        return operator.ReleaseNodeResponse(node=node)

    def RetireNode(self, request, context):
        node = self.nodes[request.node_id]
        node.held_reason, node.retired_at_unix_ms = f"retired: {request.reason}", 1_700_000_000_000
        node.connected = False
        self.discarded |= {request.node_id} if request.discard_contributions else set()
        self._decide(request, types.AUDIT_EVENT_KIND_NODE_RETIRED, at_unix_ms=1_700_000_000_000)
        return operator.RetireNodeResponse(node=node, converged_campaign_ids=["campaign-1"])

    def RetryForget(self, request, context):
        for execution in self.executions[request.campaign_id]:
            if execution.node_id == request.node_id:
                execution.state, execution.detail = "suppressed", f"ordered anew: {request.reason}"
                return operator.RetryForgetResponse(execution=execution)
        context.abort(grpc.StatusCode.NOT_FOUND, f"no execution on {request.node_id}")

    def AcceptRestore(self, request, context):
        awaited = [node.node_id for node in self.nodes.values() if node.awaited_since_unix_ms]
        for node_id in awaited:
            kind = types.AUDIT_EVENT_KIND_NODE_PASSED_OVER
            self._decide(operator.ReleaseNodeRequest(node_id=node_id, reason=request.reason), kind)
        self.fleet.nodes_awaited = 0
        return operator.AcceptRestoreResponse(node_ids=awaited)

    def CreateForget(self, request, context):
        with self.changed:
            for forget in self.forgets.values():
                if forget.request_id == request.request_id:
                    if self.tags[forget.campaign_id] != set(request.subject_tags):
                        context.abort(grpc.StatusCode.ALREADY_EXISTS, "this request id had another body")
                    return operator.CreateForgetResponse(forget=self.summary(forget.campaign_id), created=False)
            if unknown := set() if request.allow_unknown else set(request.subject_tags) - self.known_tags:
                context.set_trailing_metadata([("unknown-tag", tag) for tag in sorted(unknown)])
                context.abort(grpc.StatusCode.NOT_FOUND, "no node has reported this tag")
            generation = len(self.forgets) + 1
            campaign_id = f"campaign-{generation}"
            self.tags[campaign_id] = set(request.subject_tags)
            forget = operator.Forget(
                campaign_id=campaign_id,
                request_id=request.request_id,
                generation=generation,
                state="suppressing",
                created_at_unix_ms=1_700_000_000_000,
                concepts=request.concepts,
                verdicts=[
                    operator.Verdict(
                        adapter_kind="subject-adapter", verdict=operator.VERDICT_CLASS_EXACT, basis="integer sums"
                    )
                ],
            )
            self.forgets[campaign_id] = forget
            self.executions[campaign_id] = [
                operator.Execution(campaign_id=campaign_id, node_id=name, state="pending") for name in self.nodes
            ]
            return operator.CreateForgetResponse(forget=self.summary(campaign_id), created=True)

    def GetForget(self, request, context):
        if request.campaign_id not in self.forgets:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no campaign {request.campaign_id!r}")
        return operator.GetForgetResponse(forget=self.summary(request.campaign_id))

    def ListForgets(self, request, context):
        found, token = page([self.summary(each) for each in reversed(self.forgets)], request)
        return operator.ListForgetsResponse(forgets=found, next_page_token=token)

    def ListExecutions(self, request, context):
        found = [e for campaign_id in self.executions for e in self.executions[campaign_id]]
        found = [e for e in found if request.campaign_id in ("", e.campaign_id) and request.node_id in ("", e.node_id)]
        found, token = page([e for e in found if not request.states or e.state in request.states], request)
        return operator.ListExecutionsResponse(executions=found, next_page_token=token)

    def WatchForget(self, request, context):
        sent = None
        while context.is_active():
            with self.changed:
                now = self.summary(request.campaign_id).SerializeToString()
                if now == sent:
                    self.changed.wait(0.05)
                    continue
                copy = operator.Forget.FromString(now)
            sent = now
            yield operator.WatchForgetResponse(forget=copy)
            if copy.state == "converged":
                return

    def StartLearning(self, request, context):
        if request.kind == types.LEARNING_KIND_TRAIN_COHORT:
            return self._start_cohorts(request)
        for job in self.jobs.values():
            if job.request_id == request.request_id:
                return operator.StartLearningResponse(job=job, created=False)
        job = operator.LearningJob(
            job_id=f"job-{len(self.jobs) + 1}",
            request_id=request.request_id,
            kind=request.kind,
            state="queued",
            rounds=request.rounds,
        )
        self.jobs[job.job_id] = job
        return operator.StartLearningResponse(job=job, created=True)

    def _start_cohorts(self, request):
        jobs = [
            operator.LearningJob(
                job_id=f"job-{shard}", kind=request.kind, state="queued", rounds=request.rounds, shard=shard
            )
            for shard in (0, 2)
        ]
        self.jobs |= {job.job_id: job for job in jobs}
        return operator.StartLearningResponse(job=jobs[0], created=True, jobs=jobs, skipped_shards=[1])

    def GetCohorts(self, request, context):
        return operator.GetCohortsResponse(shards=len(self.cohorts), cohorts=self.cohorts)

    def AuditCohort(self, request, context):
        if request.shard >= len(self.cohorts):
            context.abort(grpc.StatusCode.NOT_FOUND, f"this fleet has no cohort shard {request.shard}")
        self.cohorts[request.shard].audit.CopyFrom(self.next_audit)
        return operator.AuditCohortResponse(job=operator.LearningJob(job_id="job-1", shard=request.shard))

    def DropLora(self, request, context):
        self.dropped = True
        return operator.DropLoraResponse(revision=9, rows=5)

    def GetLearning(self, request, context):
        if request.job_id not in self.jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no job {request.job_id!r}")
        job = self.jobs[request.job_id]
        if len(self.next_job_states) > 1:
            self.next_job_states.pop(0)
        job.state = self.next_job_states[0]
        job.error = "quorum not reached" if job.state == "failed" else ""
        return operator.GetLearningResponse(job=job)

    def ListLearning(self, request, context):
        return operator.ListLearningResponse(jobs=self.jobs.values())

    def GetEnergyReport(self, request, context):
        return operator.GetEnergyReportResponse(totals=COSTS, energy_model=MODEL)


def page(entries, request):
    """Return the entries of a page, whose token is how many come before it, and the token of the next."""
    start = int(request.page_token or 0)
    stop = start + (request.page_size or 100)
    return entries[start:stop], str(stop) if stop < len(entries) else ""


class _Token(grpc.ServerInterceptor):
    def intercept_service(self, continuation, details):
        if ("authorization", f"Bearer {TOKEN}") in details.invocation_metadata:
            return continuation(details)

        def refuse(request, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the operator token is wrong")

        return grpc.unary_unary_rpc_method_handler(refuse)


@contextmanager
def small_operator() -> Iterator[tuple[SmallOperator, str]]:
    """Serve on a free port; yields the service and its address."""
    service = SmallOperator()
    server = grpc.server(ThreadPoolExecutor(8), interceptors=[_Token()])
    operator_pb2_grpc.add_OperatorServiceServicer_to_server(service, server)
    address = local_tls().listen(server)
    server.start()
    try:
        yield service, address
    finally:
        server.stop(grace=None).wait()
