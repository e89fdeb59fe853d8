"""The node: journal, engine, lease and keys as one state machine, without a network.

`receive` takes what the coordinator says and returns what to answer; `beat` is the sign of life. Link and
EngineService are rims around this class. One lock: every public method holds it from start to end, so that no
answer is computed from adapters that a forget is just removing. Two let go of it in between and look again
before they store or tell anything, since a forget must not wait so long: enrolling and drawing.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from reram_fleet.crypto import signing
from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.crypto.tickets import TicketError, check_ticket
from reram_fleet.tasks import code_range, task_names
from reram_fleet.v1 import engine_pb2, node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.agent.active import ActiveAdapters
from edge_node.agent.clock import Clock, boot_id
from edge_node.agent.contributions import Contributions
from edge_node.agent.enrolment import Enrolment
from edge_node.agent.forget_log import new_entries
from edge_node.agent.forgetting import Forgetting
from edge_node.agent.grpc_errors import answers_of
from edge_node.agent.image_generation import Drawing
from edge_node.agent.lease import LeaseKeeper, ServeStatus
from edge_node.agent.meter import NODE_INDEX, Meter
from edge_node.agent.node_engine import NodeEngine
from edge_node.agent.receipts import SOFTWARE_VERSION
from edge_node.agent.rounds import Rounds
from edge_node.agent.telemetry import Transitions, phase_costs
from edge_node.config import StateFolder
from edge_node.errors import (
    EngineError,
    LogRejectedError,
    NotAllowedError,
    ProtocolError,
    RefusedError,
    SampleError,
    TicketRefusedError,
)
from edge_node.recognition.environment import environment
from edge_node.storage.erasure import Eraser
from edge_node.storage.journal import Journal
from edge_node.storage.journal_schema import ReceiptRow, ReceiptState
from edge_node.storage.keys import NodeKeys
from edge_node.storage.record_cipher import RecordCipher
from hwmodel import LedgerMark

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator

logger = logging.getLogger(__name__)

Signed = TypeVar("Signed", types.Lease, types.RevisionManifest, types.JobTicket)


class Node:
    """One device's state machine.

    Parameters
    ----------
    journal, cipher
        Opened for this node.
    engine
        Built for this node alone.
    image_generator
        Where classes are learnt and drawn; None on a node that recognises.
    on_step
        Called at each of `erasure.STEPS`; tests end the process there.
    """

    def __init__(
        self,
        *,
        keys: NodeKeys,
        enrollment: EnrollNodeResponse,
        journal: Journal,
        cipher: RecordCipher,
        engine: NodeEngine,
        energy_model: types.EnergyModel,
        task: str,
        clock: Clock,
        image_generator: ImageGenerator | None = None,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._keys, self._enrollment = keys, enrollment
        self._journal, self._cipher, self._engine, self._clock = journal, cipher, engine, clock
        self._energy_model, self._task = energy_model, task
        self._lock = threading.RLock()
        self._leases = LeaseKeeper()
        # In memory only: what was sealed to it is gone with it.
        self._session_key = X25519PrivateKey.generate()
        self._transitions = Transitions()
        self._meter = Meter(engine, journal, clock)
        eraser = Eraser(journal, cipher, on_step)
        self._adapters = ActiveAdapters(
            keys=keys, journal=journal, cipher=cipher, engine=engine, meter=self._meter, eraser=eraser
        )
        self._forgetting = Forgetting(
            fleet_id=enrollment.fleet_id,
            keys=keys,
            journal=journal,
            engine=engine,
            adapters=self._adapters,
            eraser=eraser,
            meter=self._meter,
            energy_model=energy_model,
            clock=clock,
            on_step=on_step,
        )
        self._contributions = Contributions(keys, enrollment, journal, cipher, engine)
        self._rounds = Rounds(enrollment.fleet_id, keys.node_id, journal, cipher, engine, self._meter, clock)
        self._enrolment = Enrolment(
            self._lock,
            journal=journal,
            cipher=cipher,
            engine=engine,
            image_generator=image_generator,
            adapters=self._adapters,
            meter=self._meter,
            codes=code_range(task) if task in task_names() else None,
        )
        self._drawing: Drawing | None = None
        if image_generator is not None:
            self._drawing = Drawing(
                self._lock,
                image_generator=image_generator,
                journal=journal,
                engine=engine,
                meter=self._meter,
                standing=self._observe,
            )
        # Finish what a crash interrupted, then load what the journal says is active.
        eraser.recover()
        self._adapters.restore()
        self.save_counters()
        self._observe()

    @classmethod
    def open_vault(cls, folder: StateFolder, node_id: str) -> RecordCipher:
        """Return the cipher of a state folder."""
        return RecordCipher(node_id, KeyStore(folder.subject_keys), KeyStore(folder.revision_keys))

    # Serve state

    @property
    def node_id(self) -> str:
        """The node's name."""
        return self._keys.node_id

    def started(self) -> None:
        """End the quarantine reason STARTING: from now on the node lacks nothing but a lease."""
        with self._lock:
            self._withdraw(types.QUARANTINE_REASON_NO_LEASE)

    def standing(self) -> ServeStatus:
        """Return serve state and quarantine reason now."""
        with self._lock:
            return self._observe()

    def _observe(self) -> ServeStatus:
        generation = self._journal.position().generation
        standing = self._leases.standing(self._clock.boottime_s(), generation)
        if self._transitions.observe(standing, generation, self._clock.unix_ms()):
            state, reason = (
                types.ServeState.Name(standing[0]).removeprefix("SERVE_STATE_"),
                types.QuarantineReason.Name(standing[1]).removeprefix("QUARANTINE_REASON_"),
            )
            logger.info("%s is %s (%s) at generation %d", self.node_id, state, reason, generation)
        return standing

    def _serving(self) -> bool:
        return self._observe()[0] == types.SERVE_STATE_SERVING

    def _withdraw(self, reason: types.QuarantineReason) -> None:
        self._leases.withdraw(reason)
        self._observe()

    # What the coordinator says

    def receive(self, message: ConnectResponse) -> list[ConnectRequest]:
        """Act upon one message of the coordinator and return the answers, in order.

        Every message is idempotent: repeated, late or out of order it changes nothing that it must not.

        Raises
        ------
        ProtocolError
            If it does not verify as this fleet's coordinator's. The lease is withdrawn: close the stream.
        JournalError
            If the journal cannot be written. The lease is withdrawn.
        """
        with self._lock:
            mark = self._meter.mark()
            kind = message.WhichOneof("message")
            # A revision's bytes are part of its deployment cost.
            if kind != "revision":
                self._engine.charge_radio(NODE_INDEX, message.ByteSize())
            try:
                answers = self._act(kind, message, mark)
            except LogRejectedError:
                self._withdraw(types.QUARANTINE_REASON_GAP)
                raise
            except Exception:
                # Fail closed, whatever went wrong: what this message asked for may be half done.
                self._withdraw(types.QUARANTINE_REASON_NO_LEASE)
                raise
            self._observe()
            return self._sending(answers)

    def _act(self, kind: str | None, message: ConnectResponse, mark: LedgerMark) -> list[ConnectRequest]:
        match kind:
            case "challenge":
                return self._hello(message.challenge.nonce)
            case "forget_log":
                return self._suppress(message.forget_log.entries, mark)
            case "lease":
                return self._take_lease(message.lease)
            case "revision":
                manifest = self._verified(message.revision.manifest, types.RevisionManifest)
                result = self._adapters.install(manifest, message.revision, mark)
                return [ConnectRequest(revision_result=result)]
            case "erase":
                receipt = self._forgetting.erase(message.erase, mark)
                return [*self._contributing(), _receipt_message(receipt)] if receipt else []
            case "receipt_ack":
                if not self._forgetting.judged(message.receipt_ack):
                    self._withdraw(types.QUARANTINE_REASON_HELD)
                return []
            case "contribution_ack":
                self._contributions.acknowledged(message.contribution_ack)
                self._adapters.load()
                return []
            case "public_codes_request":
                codes = self._contributions.public_codes()
                return [ConnectRequest(public_codes=codes)] if codes is not None else []
            case _:
                # A newer coordinator may say more than this node understands.
                logger.warning("a message of an unknown kind was ignored")
                return []

    def _sending(self, messages: list[ConnectRequest]) -> list[ConnectRequest]:
        for message in messages:
            self._engine.charge_radio(NODE_INDEX, message.ByteSize())
        return messages

    def _verified(self, envelope: types.Envelope, kind: type[Signed]) -> Signed:
        try:
            payload = signing.open_envelope(envelope, kind, self._enrollment.command_public_key)
        except signing.SignatureError as error:
            raise ProtocolError(f"a message does not verify: {error}") from error
        if payload.fleet_id != self._enrollment.fleet_id:
            raise ProtocolError(f"a message is of fleet {payload.fleet_id!r}, not {self._enrollment.fleet_id!r}")
        return payload

    def _hello(self, challenge_nonce: bytes) -> list[ConnectRequest]:
        position, revision = self._journal.position(), self._journal.active_revision()
        hello = node_pb2.Hello(
            fleet_id=self._enrollment.fleet_id,
            node_id=self.node_id,
            challenge_nonce=challenge_nonce,
            generation=position.generation,
            log_head=position.log_head,
            revision=revision.revision if revision else 0,
            revision_digest=revision.digest if revision else b"",
            boot_id=boot_id(),
            software_version=SOFTWARE_VERSION,
            receipt_counter=position.receipt_counter,
            last_receipt_hash=position.last_receipt_hash,
            session_public_key=self._new_session_key(),
            environment=environment()["hash"],
        )
        self._contributions.reconnected()
        pending = [row for row in self._journal.receipts() if row.state == ReceiptState.PENDING]
        return [
            ConnectRequest(hello=signing.sign(self._keys.signing, hello)),
            # Whom a receipt names must be known before it comes, or it seems to name somebody unknown.
            *(self._contributing() if pending else []),
            *(_receipt_message(row) for row in pending),
            self._heartbeat(),
        ]

    # Suppress

    def _suppress(self, envelopes: Sequence[types.Envelope], mark: LedgerMark) -> list[ConnectRequest]:
        position = self._journal.position()
        entries = new_entries(
            envelopes,
            fleet_id=self._enrollment.fleet_id,
            command_public_key=self._enrollment.command_public_key,
            generation=position.generation,
            log_head=position.log_head,
            known_hash=self._known_hash,
        )
        for entry in entries:
            self._forgetting.suppress(entry, mark)
            self._enrolment.forgotten(entry.command.subject_tags)
            mark = self._meter.mark()
        position = self._journal.position()
        suppressed = node_pb2.Suppressed(generation=position.generation, log_head=position.log_head)
        if entries:
            # Job keys sealed to the old one open what was learned of the forgotten.
            session = node_pb2.SessionKey(
                fleet_id=self._enrollment.fleet_id,
                node_id=self.node_id,
                generation=position.generation,
                public_key=self._new_session_key(),
            )
            suppressed.session_key.CopyFrom(signing.sign(self._keys.signing, session))
        return [ConnectRequest(suppressed=suppressed), self._heartbeat()]

    @property
    def session_public_key(self) -> bytes:
        """Raw X25519 public key that job keys must be sealed to now."""
        return self._session_key.public_key().public_bytes_raw()

    def _new_session_key(self) -> bytes:
        self._session_key = X25519PrivateKey.generate()
        return self.session_public_key

    def _known_hash(self, generation: int) -> bytes:
        row = self._journal.forget(generation)
        assert row is not None
        return row.payload_hash

    # Lease, heartbeat, contributions

    def _take_lease(self, envelope: types.Envelope) -> list[ConnectRequest]:
        lease = self._verified(envelope, types.Lease)
        if lease.node_id != self.node_id:
            raise ProtocolError(f"a lease is of node {lease.node_id!r}, not {self.node_id!r}")
        served = self._serving()
        self._leases.granted(lease)
        if not served:
            # Perhaps it was held: then nothing that it contributed meanwhile was taken.
            self._contributions.reconnected()
        return self._contributing() if self._serving() else []

    def _heartbeat(self) -> ConnectRequest:
        nonce = os.urandom(16)
        state, reason = self._observe()
        self._leases.requested(nonce, self._clock.boottime_s())
        return ConnectRequest(
            heartbeat=node_pb2.Heartbeat(
                lease_nonce=nonce,
                generation=self._journal.position().generation,
                serve_state=state,
                quarantine_reason=reason,
            )
        )

    def beat(self) -> list[ConnectRequest]:
        """Return the sign of life that asks for a lease, telemetry, and contributions not yet sent."""
        with self._lock:
            if self._meter.overdue:
                self.save_counters()
            telemetry = node_pb2.Telemetry(
                costs=phase_costs(self._meter.totals()),
                energy_model=self._energy_model,
                inferences=self._meter.inferences,
                stale_inferences_refused=self._meter.stale_refused,
                subject_adapters=len(self._adapters.subjects),
            )
            messages = [self._heartbeat(), ConnectRequest(telemetry=telemetry)]
            # Not before the node has caught up: a tag that is about to be suppressed is not sent any more.
            if self._serving():
                messages += self._contributing()
            return self._sending(messages)

    def _contributing(self) -> list[ConnectRequest]:
        return [ConnectRequest(contribution=envelope) for envelope in self._contributions.due()]

    # What the device's application asks

    def enroll(self, ticket: types.Envelope, samples: Sequence[np.ndarray]) -> engine_pb2.EnrollResponse:
        """Capture a person's samples once and keep them sealed: `Enrolment.enroll`.

        Parameters
        ----------
        ticket
            Envelope of the EnrolmentTicket of the caller's registry, for this person and this node.

        Raises
        ------
        NotAllowedError
            If the ticket does not allow it.
        """
        try:
            allowed = check_ticket(
                ticket,
                self._enrollment.registry_public_key,
                fleet_id=self._enrollment.fleet_id,
                node_id=self.node_id,
                now_unix_ms=self._clock.unix_ms(),
            )
        except TicketError as error:
            raise NotAllowedError(str(error)) from error
        return self._enrolment.enroll(allowed.subject_tag, samples, ticket.SerializeToString())

    def generate(self, request: engine_pb2.GenerateRequest) -> engine_pb2.GenerateResponse:
        """Draw images of a class, or say why not.

        Raises
        ------
        RefusedError
            If this node does not draw.
        EngineError
            If the request names no class, one that does not exist, or too many images or none.
        """
        if self._drawing is None:
            raise RefusedError(f"this node's task is {self._task}: it recognises, and draws nothing")
        match request.WhichOneof("of"):
            case "subject_tag":
                return self._drawing.subject(request.subject_tag, request.count, request.seed)
            case "class_name":
                return self._drawing.of_class(request.class_name, request.count, request.seed)
            case _:
                raise EngineError("say what to draw: a subject tag, or the name of a class")

    def identify(self, samples: Sequence[np.ndarray]) -> engine_pb2.IdentifyResponse:
        """Say who is heard in each sample; without any adapter, and without answers, while quarantined.

        Raises
        ------
        SampleError
            If a sample does not fit the task.
        RefusedError
            If this node draws.
        """
        if self._drawing is not None:
            raise RefusedError(f"this node's task is {self._task}: it draws, and recognises nobody")
        with self._lock:
            if not self._serving():
                return self._backbone_only(len(samples))
            if not samples:
                raise SampleError("there is no sample to identify; send at least one")
            found = self._engine.identify(self._engine.capture(samples))
            # The lease may have run out meanwhile: then nobody is told.
            if not self._serving():
                return self._backbone_only(len(samples))
            self._meter.inferences += len(samples)
            return engine_pb2.IdentifyResponse(
                generation=self._journal.position().generation, answers=answers_of(found, NODE_INDEX)
            )

    def _backbone_only(self, samples: int) -> engine_pb2.IdentifyResponse:
        self._meter.stale_refused += samples
        return engine_pb2.IdentifyResponse(
            backbone_only=True, quarantine_reason=self._observe()[1], generation=self._journal.position().generation
        )

    def run_round(self, envelope: types.Envelope, sealed_state: bytes) -> engine_pb2.RunRoundResponse:
        """Run one round of a learning job on what this node has captured.

        Raises
        ------
        ProtocolError
            If the ticket does not verify as the coordinator's.
        TicketRefusedError
            If it must not be acted upon now, or the state does not open.
        EngineError
            If the engine cannot run the round.
        """
        with self._lock:
            ticket = self._verified(envelope, types.JobTicket)
            if self._observe()[1] == types.QUARANTINE_REASON_GAP:
                raise TicketRefusedError("this node's forget log has a gap; it must catch up first")
            return self._rounds.run(ticket, envelope.ByteSize(), sealed_state, self._session_key)

    def status(self) -> engine_pb2.GetStatusResponse:
        """Return the node's state; `connected` and `supernode` are for the daemon to fill in."""
        with self._lock:
            state, reason = self._observe()
            active = self._journal.active_revision()
            return engine_pb2.GetStatusResponse(
                node_id=self.node_id,
                task=self._task,
                serve_state=state,
                quarantine_reason=reason,
                generation=self._journal.position().generation,
                revision=active.revision if active else 0,
                revision_digest=active.digest if active else b"",
                subject_tags=sorted(s.subject_tag for s in self._adapters.subjects),
                costs=phase_costs(self._meter.totals()),
                energy_model=self._energy_model,
                overhead=types.DeploymentOverhead.FromString(active.overhead) if active else None,
                reram_writes=int(self._engine.cell_writes[NODE_INDEX]),
                transitions=self._transitions.rows(),
                accept_threshold=float(self._engine.accept_threshold[NODE_INDEX]),
            )

    def inference_counts(self) -> tuple[int, int]:
        """Return samples identified, and samples refused while quarantined, since the node was made."""
        with self._lock:
            return self._meter.inferences, self._meter.stale_refused

    def save_counters(self) -> None:
        """Store costs and counters now."""
        with self._lock, self._journal.transaction():
            self._meter.save()

    def close(self) -> None:
        """Store counters and close the journal; the node must not be used afterwards."""
        self._enrolment.end()
        with self._lock:
            self._withdraw(types.QUARANTINE_REASON_NO_LEASE)
            self.save_counters()
            self._journal.close()


def _receipt_message(row: ReceiptRow) -> ConnectRequest:
    return ConnectRequest(receipt=types.Envelope.FromString(row.envelope))
