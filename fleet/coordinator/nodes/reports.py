"""Reports of nodes, one transaction each: durable before it is acknowledged, harmless when repeated."""

from __future__ import annotations

import logging
from typing import TypeVar

from google.protobuf.message import DecodeError
from reram_fleet.crypto import sealing
from reram_fleet.crypto.signing import open_envelope
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.campaigns.receipts import Receipts
from fleet.coordinator.nodes.recovery import Recovery
from fleet.coordinator.nodes.report_checks import (
    MOST_CONCEPTS,
    Effect,
    QuarantineError,
    ReportError,
    check_bounds,
    check_overhead,
    possible_chip,
)
from fleet.coordinator.nodes.restored import Restored
from fleet.coordinator.revisions.contributions import Contributions
from fleet.coordinator.revisions.heads import Heads
from fleet.coordinator.work import Part, Work
from fleet.domain.tallies import ALL, Refusal, Tally
from fleet.errors import ConflictError, FleetError, StaleContributionError, SubjectForgottenError
from fleet.store.nodes import NodeReport
from fleet.store.rows import NodeRow

logger = logging.getLogger(__name__)

HELD_CONTRIBUTES_NOTHING = "the node is held: it contributes nothing until an operator releases it"

Signed = TypeVar("Signed", wire.Hello, wire.Contribution)


class Reports(Part):
    """Reports of nodes, one at a time."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._contributions = work.part(Contributions)
        self._heads = work.part(Heads)
        self._receipts = work.part(Receipts)
        self._recovery = work.part(Recovery)
        self._restored = work.part(Restored)

    def check_hello(self, request: wire.ConnectRequest, nonce: bytes) -> str:
        """Return the id of the node that answered the challenge; believe what it says about its generation.

        But for one beyond the log: of such a node the entries are asked that it has, and nothing else passes before.

        Raises `SignatureError` if it is not signed by that node, or answers another challenge; `NotFoundError` if the
        node was never enrolled; `ReportError` if it was retired, belongs to another fleet, announces a session key that
        nothing can be sealed to, or goes back to a backup again and again.
        """
        claimed = claimed_hello(request)
        node = self._tx.nodes.get(claimed.node_id)
        hello = _opened(request.hello, wire.Hello, node)
        if hello.challenge_nonce != nonce:
            raise ReportError(f"node {node.node_id} answers another challenge")
        if hello.fleet_id != self._env.fleet_id:
            raise ReportError(f"node {node.node_id} belongs to fleet {hello.fleet_id}, not {self._env.fleet_id}")
        if node.retired_at_ms is not None:
            raise ReportError(f"node {node.node_id} was retired; enrol the device under a new id")
        _check_session_key(node, hello.session_public_key, ReportError)
        ahead = hello.generation > self._tx.fleet.get().generation
        if not ahead:
            self._recovery.check_prefix(node, hello.generation, hello.log_head)
        self._restored.check_rollback(node, hello)
        said = NodeReport(
            revision=hello.revision, revision_digest=hello.revision_digest, software_version=hello.software_version
        )
        if hello.HasField("chip"):
            said |= NodeReport(chip=possible_chip(node.node_id, hello.chip).SerializeToString(deterministic=True))
        if not ahead:
            said |= NodeReport(generation=hello.generation, log_head=hello.log_head)
        self._tx.nodes.touch(node.node_id, **said)
        if not ahead:
            self._restored.note_suppressed(node.node_id, hello.generation)
        announced = self._env.sessions.of(node.node_id)
        announced.session_key, announced.key_generation = hello.session_public_key, hello.generation
        announced.log_end, announced.awaited_since_ms = (hello.generation, hello.log_head), node.awaited_since_ms
        announced.concepts = frozenset(hello.concepts[:MOST_CONCEPTS])
        self._tx.tallies.add(Tally.STREAMS, ALL)
        return node.node_id

    def handle(self, node_id: str, request: wire.ConnectRequest) -> Effect:
        """Take one message of a connected node.

        Raises `ReportError` or `SignatureError` if the node contradicts the log, itself, or its signature;
        `QuarantineError` if the message cannot be acted upon and is to be put aside.
        """
        node = self._tx.nodes.get(node_id)
        check_bounds(request)
        match request.WhichOneof("message"):
            case "suppressed":
                report = request.suppressed
                self._recovery.check_prefix(node, report.generation, report.log_head)
                if report.generation < node.generation:
                    # Late: only a hello can say that a node went back.
                    return Effect()
                if report.HasField("session_key"):
                    self._renew_session_key(node, report)
                self._tx.nodes.touch(node_id, generation=report.generation, log_head=report.log_head)
                self._restored.note_suppressed(node_id, report.generation)
                return Effect(changed=True)
            case "forget_log":
                return Effect(changed=self._recovery.take(node, request.forget_log.entries))
            case "receipt":
                return self._receipts.take(node, request.receipt)
            case "contribution":
                return self._contribution(node, request.contribution)
            case "revision_result":
                return self._revision_result(node, request.revision_result)
            case "public_codes":
                return self._public_codes(node, request.public_codes)
            case other:
                raise ReportError(f"node {node_id} sent {other or 'an empty message'} where a report was expected")

    def put_aside(self, node_id: str, request: wire.ConnectRequest, reason: str, why: Refusal) -> None:
        """Note, for operators, a message of a node that is not acted upon."""
        self._tx.nodes.quarantine(node_id, request.WhichOneof("message") or "empty", reason)
        self._tx.tallies.add(Tally.REFUSED_REPORTS, why)

    def _renew_session_key(self, node: NodeRow, report: wire.Suppressed) -> None:
        session = open_envelope(report.session_key, wire.SessionKey, node.receipt_public_key)
        expected = (self._env.fleet_id, node.node_id, report.generation)
        if (session.fleet_id, session.node_id, session.generation) != expected:
            raise ReportError(f"node {node.node_id} announced a session key of another node or generation")
        _check_session_key(node, session.public_key, QuarantineError)
        announced = self._env.sessions.of(node.node_id)
        # One of this generation or an earlier one comes late: the node has let go of it since.
        if session.generation > announced.key_generation:
            announced.session_key, announced.key_generation = session.public_key, session.generation

    def _contribution(self, node: NodeRow, envelope: types.Envelope) -> Effect:
        report = _opened(envelope, wire.Contribution, node)
        if (report.fleet_id, report.node_id) != (self._env.fleet_id, node.node_id):
            raise ReportError(f"node {node.node_id} sent a contribution of {report.node_id}")
        if node.held_reason:
            # Without an answer: the node sends it again when it may serve again.
            raise QuarantineError(HELD_CONTRIBUTES_NOTHING)
        refusal, changed = "", False
        try:
            changed = self._contributions.take(node, report)
        except (StaleContributionError, SubjectForgottenError) as error:
            # Nothing is wrong with the node: it has not heard yet.
            refusal = str(error)
        except FleetError as error:
            refusal = str(error)
            self._tx.nodes.quarantine(node.node_id, "contribution", refusal)
        if refusal:
            logger.warning("contribution of node %s refused: %s", node.node_id, refusal)
        ack = wire.ContributionAck(subject_tag=report.subject_tag, sequence=report.sequence, refusal=refusal)
        return Effect((wire.ConnectResponse(contribution_ack=ack),), changed)

    def _public_codes(self, node: NodeRow, envelope: types.Envelope) -> Effect:
        if node.held_reason:
            raise QuarantineError(HELD_CONTRIBUTES_NOTHING)
        try:
            return Effect(
                changed=self._heads.take_public_codes(self._env.fleet_id, self._env.settings.codes, node, envelope)
            )
        except ConflictError as error:
            # The head does without this node's.
            raise QuarantineError(f"public codes refused: {error}") from error

    def _revision_result(self, node: NodeRow, result: wire.RevisionResult) -> Effect:
        if result.revision < node.revision:
            # Late: nodes do not go back, and one that was restored says so in its hello.
            return Effect()
        if not result.active:
            logger.warning("node %s refused revision %d: %s", node.node_id, result.revision, result.refusal)
            return Effect()
        check_overhead(result.overhead)
        self._tx.nodes.touch(
            node.node_id,
            revision=result.revision,
            revision_digest=result.digest,
            overhead=result.overhead.SerializeToString(deterministic=True),
        )
        return Effect(changed=True)


def claimed_hello(request: wire.ConnectRequest) -> wire.Hello:
    """Return a hello as it is claimed: only to learn whose signature to expect, and over which challenge."""
    if request.WhichOneof("message") == "hello":
        try:
            return wire.Hello.FromString(request.hello.payload)
        except DecodeError:
            logger.warning("a stream was opened with a hello that cannot be parsed")
    raise ReportError("a stream must be opened by a signed hello")


def _opened(envelope: types.Envelope, kind: type[Signed], node: NodeRow) -> Signed:
    """Return a signed message of a node, within bounds."""
    message = open_envelope(envelope, kind, node.receipt_public_key)
    check_bounds(message)
    return message


def _check_session_key(node: NodeRow, public_key: bytes, refusal: type[FleetError]) -> None:
    """Refuse a key that no job key can be sealed to: the rounds of all nodes would fail over it."""
    try:
        sealing.check_public_key(public_key)
    except sealing.SealError as error:
        raise refusal(f"the session key of node {node.node_id} cannot be used: {error}") from error
