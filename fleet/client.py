"""Client of the OperatorService: token, deadlines, and errors that say what to do.

::

    ClientError                a call failed; the kinds below are also what they are in `fleet.errors`
    ├── RefusedError           InvalidInputError: the coordinator refuses the request as it is
    ├── AbsentError            NotFoundError: there is no such node, campaign, job or subject
    ├── ForbiddenStateError    ConflictError: the state of the fleet, or an earlier request, forbids it
    ├── PermissionDeniedError  the token is missing, wrong or not enough
    └── UnavailableError       nobody answers, or not in time
        └── UntrustedServerError   somebody answers who is not the coordinator
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, Self, TypeVar

import grpc
from google.protobuf.message import Message
from reram_fleet.processes.channel import is_unvouched
from reram_fleet.processes.token_client import R, TokenClient
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1.operator_pb2_grpc import OperatorServiceStub
from reram_fleet.v1.types_pb2 import LearningKind, NodeIdentity

from fleet.errors import ConflictError, FleetError, InvalidInputError, NotFoundError, UnknownTagsError
from fleet.trust import certificate

#: A call that only reads or writes the coordinator's database.
CALL_TIMEOUT_S = 15.0
#: Enrolling and retiring tell the SuperLink of the node by Flower's command line, which takes seconds.
ENROLL_TIMEOUT_S = 90.0


#: Entries that are asked for at once.
LARGEST_PAGE = 1000

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Entries of a list, in order."""

    items: Sequence[T]
    #: Where the next page begins; "" if there is none.
    next_token: str


class ClientError(FleetError):
    """A call to the coordinator failed."""


class RefusedError(ClientError, InvalidInputError):
    """The coordinator refuses the request as it is."""


class AbsentError(ClientError, NotFoundError):
    """There is no such thing.

    Attributes
    ----------
    unknown_tags
        Subject tags of the call that no node has ever reported.
    """

    unknown_tags: frozenset[str] = frozenset()


class ForbiddenStateError(ClientError, ConflictError):
    """The state of the fleet, or an earlier request, forbids it."""


class PermissionDeniedError(ClientError):
    """The token is missing, wrong or not enough."""


class UnavailableError(ClientError):
    """Nobody answers, or not in time."""


class UntrustedServerError(UnavailableError):
    """Somebody answers whom the coordinator's authority does not vouch for; the token was not sent."""


_BY_STATUS: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: RefusedError,
    grpc.StatusCode.OUT_OF_RANGE: RefusedError,
    grpc.StatusCode.NOT_FOUND: AbsentError,
    grpc.StatusCode.ALREADY_EXISTS: ForbiddenStateError,
    grpc.StatusCode.FAILED_PRECONDITION: ForbiddenStateError,
    grpc.StatusCode.ABORTED: ForbiddenStateError,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDeniedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: UnavailableError,
}


def translate(error: grpc.RpcError, address: str) -> ClientError:
    """Return our error for a failed call."""
    code = error.code()
    detail = error.details() or code.name.lower()
    kind = _BY_STATUS.get(code, ClientError)
    if is_unvouched(error):
        return UntrustedServerError(
            f"whoever answers at {address} is not the coordinator: {detail}; no token was sent",
            hint="find out who holds its port (`ss -ltnp`), and whether the coordinator runs; --ca names its CA",
        )
    if code is grpc.StatusCode.UNAVAILABLE:
        return kind(
            f"no answer from the coordinator at {address}: {detail}",
            hint="`fleet up` starts a fleet on this machine; --address names another one",
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return kind(f"the coordinator at {address} did not answer in time")
    if kind is PermissionDeniedError:
        return kind(
            f"the coordinator at {address} refuses the token: {detail}",
            hint="--token-file names the operator.token in the coordinator's state folder",
        )
    text, _, hint = detail.partition("\n")
    translated = kind(text, hint=hint)
    if isinstance(translated, AbsentError):
        trailing = error.trailing_metadata() or ()
        key = UnknownTagsError.METADATA_KEY
        translated.unknown_tags = frozenset(str(tag) for name, tag in trailing if name == key)
    return translated


class FleetClient(TokenClient):
    """Connection to one coordinator, with the operator token."""

    def __init__(self, address: str, token: str, *, ca_pem: bytes = b"") -> None:
        super().__init__(address, token, OperatorServiceStub, ca_pem=ca_pem)

    @classmethod
    def from_files(cls, address: str, token_file: Path, ca_file: Path | None) -> Self:
        """Open a connection with the token and the CA certificate in files; `unix:PATH` needs no CA.

        Raises
        ------
        PermissionDeniedError
            If one of them cannot be read.
        """
        try:
            token = token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise PermissionDeniedError(f"cannot read the operator token: {error}") from error
        try:
            ca_pem = b"" if ca_file is None else ca_file.read_bytes()
        except OSError as error:
            raise PermissionDeniedError(f"cannot read the CA certificate: {error}") from error
        return cls(address, token, ca_pem=ca_pem)

    def call(self, method: Any, answer: type[R], request: Message, timeout_s: float = CALL_TIMEOUT_S) -> R:
        """Call a method of the stub; raises `ClientError`."""
        return super().call(method, answer, request, timeout_s)

    def _refuse(self, error: grpc.RpcError) -> NoReturn:
        raise translate(error, self.address) from error

    def get_fleet(self) -> operator.GetFleetResponse:
        """Return the fleet's totals."""
        return self.call(self.stub.GetFleet, operator.GetFleetResponse, operator.GetFleetRequest())

    def enroll_node(self, identity: NodeIdentity) -> operator.EnrollNodeResponse:
        """Register a node; the same identity again changes nothing."""
        request = operator.EnrollNodeRequest(identity=identity)
        return self.call(self.stub.EnrollNode, operator.EnrollNodeResponse, request, ENROLL_TIMEOUT_S)

    def list_nodes(self, limit: int | None = None, after: str = "") -> Page[operator.Node]:
        """Return the first so many nodes behind one, by id, or all of them."""

        def page(size: int, token: str) -> Page[operator.Node]:
            request = operator.ListNodesRequest(page_size=size, page_token=token)
            response = self.call(self.stub.ListNodes, operator.ListNodesResponse, request)
            return Page(response.nodes, response.next_page_token)

        return _collected(page, limit, after)

    def get_node(self, node_id: str) -> operator.GetNodeResponse:
        """Return a node with its audit events; also one that was retired."""
        return self.call(self.stub.GetNode, operator.GetNodeResponse, operator.GetNodeRequest(node_id=node_id))

    def release_node(self, node_id: str, reason: str) -> operator.Node:
        """Give a held node leases again; its held executions are ordered anew."""
        request = operator.ReleaseNodeRequest(node_id=node_id, reason=reason)
        return self.call(self.stub.ReleaseNode, operator.ReleaseNodeResponse, request).node

    def retire_node(
        self, node_id: str, reason: str, *, discard_contributions: bool = False
    ) -> operator.RetireNodeResponse:
        """Take a node out of the fleet for good."""
        request = operator.RetireNodeRequest(
            node_id=node_id, reason=reason, discard_contributions=discard_contributions
        )
        return self.call(self.stub.RetireNode, operator.RetireNodeResponse, request, ENROLL_TIMEOUT_S)

    def retry_forget(self, node_id: str, campaign_id: str, reason: str) -> operator.Execution:
        """Have an erase order sent to a node anew, with another challenge."""
        request = operator.RetryForgetRequest(node_id=node_id, campaign_id=campaign_id, reason=reason)
        return self.call(self.stub.RetryForget, operator.RetryForgetResponse, request).execution

    def accept_restore(self, reason: str) -> list[str]:
        """Go on without the nodes that are awaited since the coordinator was restored; returns their ids."""
        request = operator.AcceptRestoreRequest(reason=reason)
        return list(self.call(self.stub.AcceptRestore, operator.AcceptRestoreResponse, request).node_ids)

    def create_forget(
        self,
        request_id: str,
        subject_tags: Sequence[str] = (),
        *,
        allow_unknown: bool = False,
        concepts: Sequence[str] = (),
    ) -> operator.CreateForgetResponse:
        """Commit a forget of these tags, or of a concept; irrevocable. The same id and names again do nothing twice."""
        request = operator.CreateForgetRequest(
            request_id=request_id, subject_tags=subject_tags, allow_unknown=allow_unknown, concepts=concepts
        )
        return self.call(self.stub.CreateForget, operator.CreateForgetResponse, request)

    def get_forget(self, campaign_id: str) -> operator.Forget:
        """Return the summary of a campaign."""
        return self.call(
            self.stub.GetForget, operator.GetForgetResponse, operator.GetForgetRequest(campaign_id=campaign_id)
        ).forget

    def list_forgets(self, limit: int | None = None, after: str = "") -> Page[operator.Forget]:
        """Return the newest campaigns, newest first, or all of them."""

        def page(size: int, token: str) -> Page[operator.Forget]:
            request = operator.ListForgetsRequest(page_size=size, page_token=token)
            response = self.call(self.stub.ListForgets, operator.ListForgetsResponse, request)
            return Page(response.forgets, response.next_page_token)

        return _collected(page, limit, after)

    def list_executions(
        self,
        campaign_id: str = "",
        node_id: str = "",
        *,
        states: Iterable[str] = (),
        limit: int | None = None,
        after: str = "",
    ) -> Page[operator.Execution]:
        """Return a campaign's executions, by node id, or a node's, newest campaign first; in some states, or any."""

        def page(size: int, token: str) -> Page[operator.Execution]:
            request = operator.ListExecutionsRequest(
                campaign_id=campaign_id, node_id=node_id, states=states, page_size=size, page_token=token
            )
            response = self.call(self.stub.ListExecutions, operator.ListExecutionsResponse, request)
            return Page(response.executions, response.next_page_token)

        return _collected(page, limit, after)

    def watch_forget(self, campaign_id: str, timeout_s: float | None = None) -> Iterator[operator.Forget]:
        """Yield the summary of a campaign now and when it has changed, until it has converged.

        Raises
        ------
        UnavailableError
            If the stream breaks, or `timeout_s` passes first.
        """
        request = operator.WatchForgetRequest(campaign_id=campaign_id)
        stream = self.stub.WatchForget(request, metadata=self._metadata, timeout=timeout_s)
        try:
            for response in stream:
                yield response.forget
        except grpc.RpcError as error:
            self._refuse(error)
        finally:
            stream.cancel()

    def get_certificate(self, campaign_id: str, *, with_receipts: bool | None = None) -> str:
        """Return the signed certificate (JSON text) of a forget that has converged.

        With or without all nodes' receipts beside it; if that is not said, with them unless it is large.
        """
        request = operator.GetCertificateRequest(campaign_id=campaign_id)
        signed = str(self.call(self.stub.GetCertificate, operator.GetCertificateResponse, request).certificate)
        if with_receipts is False:
            return signed

        def page(log_size: int, token: str) -> tuple[Sequence[str], str]:
            request = operator.ListEvidenceRequest(campaign_id=campaign_id, tree_size=log_size, page_token=token)
            response = self.call(self.stub.ListEvidence, operator.ListEvidenceResponse, request)
            return response.nodes, response.next_page_token

        return certificate.with_receipts(signed, page, most_bytes=None if with_receipts else certificate.SMALL_BYTES)

    def get_proof(self, campaign_id: str, log_size: int, node_id: str) -> str:
        """Return the evidence of one node (JSON text of a file) beside a certificate of when the log had that size."""
        request = operator.ListEvidenceRequest(campaign_id=campaign_id, tree_size=log_size, node_id=node_id)
        return certificate.proof_text(self.call(self.stub.ListEvidence, operator.ListEvidenceResponse, request).nodes)

    def start_learning(
        self, request_id: str, kind: LearningKind, rounds: int, shards: int = 0
    ) -> operator.StartLearningResponse:
        """Queue a learning job, or one per cohort shard."""
        request = operator.StartLearningRequest(request_id=request_id, kind=kind, rounds=rounds, shards=shards)
        return self.call(self.stub.StartLearning, operator.StartLearningResponse, request)

    def get_learning(self, job_id: str) -> operator.LearningJob:
        """Return a learning job."""
        return self.call(
            self.stub.GetLearning, operator.GetLearningResponse, operator.GetLearningRequest(job_id=job_id)
        ).job

    def list_learning(self) -> list[operator.LearningJob]:
        """Return all learning jobs."""
        return list(
            self.call(self.stub.ListLearning, operator.ListLearningResponse, operator.ListLearningRequest()).jobs
        )

    def get_cohorts(self) -> operator.GetCohortsResponse:
        """Return the cohort shards with their history."""
        return self.call(self.stub.GetCohorts, operator.GetCohortsResponse, operator.GetCohortsRequest())

    def audit_cohort(self, shard: int) -> operator.LearningJob:
        """Queue the re-execution of a shard; returns its first job."""
        return self.call(
            self.stub.AuditCohort, operator.AuditCohortResponse, operator.AuditCohortRequest(shard=shard)
        ).job

    def drop_lora(self) -> operator.DropLoraResponse:
        """Drop what was learned by gradient, shared or in cohorts."""
        return self.call(self.stub.DropLora, operator.DropLoraResponse, operator.DropLoraRequest())

    def get_energy_report(self) -> operator.GetEnergyReportResponse:
        """Return joules, seconds, bytes and cell writes of the whole fleet by phase."""
        return self.call(self.stub.GetEnergyReport, operator.GetEnergyReportResponse, operator.GetEnergyReportRequest())


def _collected(page: Callable[[int, str], Page[T]], limit: int | None, after: str) -> Page[T]:
    """Return the first so many entries, or all, out of pages of some size that begin behind a token."""
    found: list[T] = []
    while True:
        left = LARGEST_PAGE if limit is None else limit - len(found)
        some = page(min(left, LARGEST_PAGE), after)
        found += some.items
        after = some.next_token
        if not after or len(found) == limit:
            return Page(found, after)
