"""Node: journal, engine, lease and keys as one state machine, without a network.

`receive` takes what the coordinator says and returns what to answer; `heartbeat` is the sign of life. Link and
EngineService are rims around this class. One lock: every public method holds it from start to end, so that no answer is
computed from adapters that a forget is just removing. Two let go of it in between and look again before they store or
tell anything, since a forget must not wait so long: `enroll` and `generate`. So does `run_round` on a node that
generates, which is about public pictures alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from reram_fleet.crypto import sealing, signing
from reram_fleet.v1 import engine_pb2, node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse

from edge_node.agent.active import ActiveAdapters
from edge_node.agent.calibration import Calibration
from edge_node.agent.context import NodeContext, phase_costs
from edge_node.agent.contributions import Contributions
from edge_node.agent.enrolment import Enrolment
from edge_node.agent.forget_log import check_end, new_entries
from edge_node.agent.forgetting import SOFTWARE_VERSION, Forgetting
from edge_node.agent.inference import Inference
from edge_node.agent.lease import ServeState, ServeStatus
from edge_node.agent.rounds import OpenedRound, Rounds, compute
from edge_node.errors import EngineError, LogRejectedError, ProtocolError, TicketRefusedError
from edge_node.recognition.training.rounds import RoundResult
from edge_node.storage.erasure import Eraser
from edge_node.storage.journal_schema import ReceiptRow, ReceiptState
from hwmodel import LedgerMark, Phase

logger = logging.getLogger(__name__)

#: Entries of the forget log in one message.
_ENTRIES_AT_ONCE = 100
#: Of the interval between heartbeats: a fleet is not to beat in step.
JITTER = (0.9, 1.1)
#: Telemetry goes at least with one of so many heartbeats.
TELEMETRY_AT_LEAST = 10


class Node:
    """State machine of one device."""

    def __init__(self, context: NodeContext) -> None:
        self.context = context
        self._lock, self._journal, self._meter = context.lock, context.journal, context.meter
        self._serve_state = ServeState(context)
        #: Seconds between heartbeats. A large fleet beats more slowly than its nodes are set to.
        self.heartbeat_s = context.heartbeat_s
        #: Port of `/metrics`, where the coordinator's machine reaches it; 0 if not.
        self.metrics_port = 0
        # What telemetry said last on this stream, and how many heartbeats went without it since.
        self._told: object = None
        self._untold = 0
        # In memory only: what was sealed to it is gone with it. Suppressing is not to wait for the next one to be made.
        self._next_session_key: X25519PrivateKey | None = None
        self._new_session_key()
        eraser = Eraser(context.journal, context.cipher)
        self._adapters = ActiveAdapters(context, eraser)
        self._forgetting = Forgetting(context, self._adapters, eraser)
        self._contributions, self._enrolment = Contributions(context), Enrolment(context, self._adapters)
        self._inference = Inference(context, self._serve_state)
        self._rounds, self._calibration = Rounds(context), Calibration(context)
        # Finish what a crash interrupted, then load what the journal says is active.
        eraser.recover()
        self._adapters.load()
        self.save_counters()
        self._serve_state.status()

    @property
    def node_id(self) -> str:
        """The node's name."""
        return self.context.node_id

    def started(self) -> None:
        """End the quarantine reason STARTING: from now on the node lacks nothing but a lease."""
        with self._lock:
            self._serve_state.withdraw(types.QUARANTINE_REASON_NO_LEASE)

    def serve_status(self) -> ServeStatus:
        """Return serve state and quarantine reason now."""
        with self._lock:
            return self._serve_state.status()

    @property
    def lease_remaining_s(self) -> float:
        """Seconds until the node stops serving adapters, unless its lease is renewed; 0 without one."""
        with self._lock:
            return self._serve_state.lease_remaining_s

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
                self.context.engine.charge_radio(self.context.node_index, message.ByteSize())
            try:
                answers = self._act(kind, message, mark)
            except LogRejectedError:
                self._serve_state.withdraw(types.QUARANTINE_REASON_GAP)
                raise
            except Exception:
                # Fail closed, whatever went wrong: what this message asked for may be half done.
                self._serve_state.withdraw(types.QUARANTINE_REASON_NO_LEASE)
                raise
            self._serve_state.status()
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
                manifest = self.context.verified(message.revision.manifest, types.RevisionManifest)
                result = self._adapters.install(manifest, message.revision, mark)
                return [ConnectRequest(revision_result=result)]
            case "erase":
                receipt = self._forgetting.erase(message.erase, mark)
                return [*self._contributing(), _receipt_message(receipt)] if receipt else []
            case "receipt_ack":
                if not self._forgetting.judged(message.receipt_ack):
                    self._serve_state.withdraw(types.QUARANTINE_REASON_HELD)
                return []
            case "contribution_ack":
                self._contributions.acknowledged(message.contribution_ack)
                self._adapters.load()
                return []
            case "restore_notice":
                return self._restored(self.context.verified(message.restore_notice, node_pb2.RestoreNotice))
            case "public_codes_request":
                codes = self._contributions.public_codes()
                return [ConnectRequest(public_codes=codes)] if codes is not None else []
            case _:
                # A newer coordinator may say more than this node understands.
                logger.warning("a message of an unknown kind was ignored")
                return []

    def _sending(self, messages: list[ConnectRequest]) -> list[ConnectRequest]:
        if messages:
            self.context.engine.charge_radio(self.context.node_index, sum(message.ByteSize() for message in messages))
        return messages

    def _hello(self, challenge_nonce: bytes) -> list[ConnectRequest]:
        position, revision = self._journal.position(), self._journal.active_revision()
        hello = node_pb2.Hello(
            fleet_id=self.context.fleet_id,
            node_id=self.node_id,
            challenge_nonce=challenge_nonce,
            generation=position.generation,
            log_head=position.log_head,
            revision=revision.revision if revision else 0,
            revision_digest=revision.digest if revision else b"",
            boot_id=self.context.clock.boot_id(),
            software_version=SOFTWARE_VERSION,
            receipt_counter=position.receipt_counter,
            last_receipt_hash=position.last_receipt_hash,
            session_public_key=self._new_session_key(),
            metrics_port=self.metrics_port,
            chip=self.context.engine.chip_figures(self.context.node_index),
            concepts=self.context.image_generator.concepts if self.context.image_generator is not None else (),
        )
        self._contributions.reconnected()
        self._told = None
        pending = [row for row in self._journal.receipts() if row.state == ReceiptState.PENDING]
        return [
            ConnectRequest(hello=signing.sign(self.context.keys.signing, hello)),
            # Whom a receipt names must be known before it comes, or it seems to name somebody unknown.
            *(self._contributing() if pending else []),
            *(_receipt_message(row) for row in pending),
            ConnectRequest(heartbeat=self._heartbeat()),
        ]

    def _suppress(self, envelopes: Sequence[types.Envelope], mark: LedgerMark) -> list[ConnectRequest]:
        entries = new_entries(
            envelopes,
            enrollment=self.context.enrollment,
            position=self._journal.position(),
            known_hash=self._journal.forget_hash,
        )
        for entry in entries:
            self._forgetting.suppress(entry, mark)
            self._enrolment.forgotten(entry.command.subject_tags)
            mark = self._meter.mark()
        position = self._journal.position()
        suppressed = node_pb2.Suppressed(
            generation=position.generation, log_head=position.log_head, heartbeat=self._heartbeat()
        )
        if entries:
            # Job keys sealed to the old one open what was learned of the forgotten.
            session = node_pb2.SessionKey(
                fleet_id=self.context.fleet_id,
                node_id=self.node_id,
                generation=position.generation,
                public_key=self._new_session_key(),
            )
            suppressed.session_key.CopyFrom(signing.sign(self.context.keys.signing, session))
        return [ConnectRequest(suppressed=suppressed)]

    def _restored(self, notice: node_pb2.RestoreNotice) -> list[ConnectRequest]:
        """Give a coordinator that went back to a backup what it has lost; this node goes back in nothing."""
        if notice.node_id != self.node_id:
            raise ProtocolError(f"a restore notice is for node {notice.node_id!r}, not {self.node_id!r}")
        position = self._journal.position()
        check_end(notice.generation, notice.log_head, position=position, known_hash=self._journal.forget_hash)
        logger.warning(
            "the coordinator was restored at generation %d; this node is at %d", notice.generation, position.generation
        )
        self._contributions.known(notice.contributions)
        entries = [types.Envelope.FromString(entry) for entry in self._journal.forgets_after(notice.generation)]
        return [
            ConnectRequest(forget_log=node_pb2.ForgetLogRange(entries=entries[start : start + _ENTRIES_AT_ONCE]))
            for start in range(0, len(entries) or 1, _ENTRIES_AT_ONCE)
        ]

    @property
    def session_public_key(self) -> bytes:
        """Raw X25519 public key that job keys must be sealed to now."""
        return self._session_key.public_key().public_bytes_raw()

    def _new_session_key(self) -> bytes:
        self._session_key, self._next_session_key = self._next_session_key or self._draw_session_key(), None
        return self.session_public_key

    def _draw_session_key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.context.randomness.draw(sealing.KEY_BYTES))

    def _take_lease(self, envelope: types.Envelope) -> list[ConnectRequest]:
        lease = self.context.verified(envelope, types.Lease)
        if lease.node_id != self.node_id:
            raise ProtocolError(f"a lease is of node {lease.node_id!r}, not {self.node_id!r}")
        served = self._serve_state.serving
        self._serve_state.granted(lease)
        self.heartbeat_s = max(self.context.heartbeat_s, lease.heartbeat_interval_ms / 1000)
        if not served:
            # Perhaps it was held: then nothing that it contributed meanwhile was taken.
            self._contributions.reconnected()
        return self._contributing() if self._serve_state.serving else []

    def _heartbeat(self) -> node_pb2.Heartbeat:
        state, reason = self._serve_state.status()
        return node_pb2.Heartbeat(
            lease_nonce=self._serve_state.request(),
            generation=self._journal.position().generation,
            serve_state=state,
            quarantine_reason=reason,
            interval_ms=round(1000 * self.heartbeat_s * JITTER[1]),
        )

    def heartbeat(self) -> list[ConnectRequest]:
        """Return the sign of life that asks for a lease, telemetry, contributions not yet sent; calibrate if due."""
        with self._lock:
            if self._calibration.calibrate_if_due() or self._meter.overdue:
                self.save_counters()
            self._next_session_key = self._next_session_key or self._draw_session_key()
            messages = [ConnectRequest(heartbeat=self._heartbeat()), *self._telemetry()]
            # Not before the node has caught up: a tag that is about to be suppressed is not sent any more.
            if self._serve_state.serving:
                messages += self._contributing()
            return self._sending(messages)

    def _telemetry(self) -> list[ConnectRequest]:
        """Return what was spent and done, if that is more than the radio of heartbeats since it was told last."""
        spent, meter, adapters = self._meter.totals(), self._meter, len(self._adapters.tags)
        without_radio = {phase: cost for phase, cost in spent.items() if phase is not Phase.RADIO}
        news = (without_radio, meter.inferences, meter.stale_refused, adapters)
        self._untold += 1
        if news == self._told and self._untold < TELEMETRY_AT_LEAST:
            return []
        self._told, self._untold = news, 0
        return [ConnectRequest(telemetry=meter.telemetry(spent, self.context.energy_model, adapters))]

    def _contributing(self) -> list[ConnectRequest]:
        return [ConnectRequest(contribution=envelope) for envelope in self._contributions.due()]

    # What the device's application and the ClientApp ask

    def enroll(self, ticket: types.Envelope, samples: Sequence[np.ndarray]) -> engine_pb2.EnrollResponse:
        """Capture a person's samples once and keep them sealed: `Enrolment.enroll`."""
        return self._enrolment.enroll(ticket, samples)

    def identify(self, samples: Sequence[np.ndarray]) -> engine_pb2.IdentifyResponse:
        """Say whose each sample is: `Inference.identify`."""
        return self._inference.identify(samples)

    def authenticate(
        self, request: engine_pb2.AuthenticateRequest, samples: Sequence[np.ndarray]
    ) -> engine_pb2.AuthenticateResponse:
        """Say whether samples are of a claimed person, or why that is not told: `Inference.authenticate`."""
        return self._inference.authenticate(request, samples)

    def generate(self, request: engine_pb2.GenerateRequest) -> engine_pb2.GenerateResponse:
        """Generate images of a class, or say why not: `Inference.generate`."""
        return self._inference.generate(request)

    def run_round(self, envelope: types.Envelope, sealed_state: bytes) -> engine_pb2.RunRoundResponse:
        """Run one round of a learning job on what this node has captured; raises what `open_round` raises.

        `EngineError` if the engine cannot run it. A node that generates lets go of its lock while it trains: seconds,
        and on public pictures only.
        """
        if self.context.image_generator is not None:
            opened = self.open_round(envelope, sealed_state)
            (computed,) = compute([opened])
            return self.seal_round(opened, computed)
        with self._lock:
            opened = self.open_round(envelope, sealed_state)
            (computed,) = compute([opened])
            return self.seal_round(opened, computed)

    def open_round(self, envelope: types.Envelope, sealed_state: bytes) -> OpenedRound:
        """Check and open a round: `Rounds.open`. Hold `context.lock` until it is sealed.

        Raises
        ------
        ProtocolError
            If the ticket does not verify as the coordinator's.
        TicketRefusedError
            If it must not be acted upon now, or the state does not open.
        """
        with self._lock:
            ticket = self.context.verified(envelope, types.JobTicket)
            if self._serve_state.status().reason == types.QUARANTINE_REASON_GAP:
                raise TicketRefusedError("this node's forget log has a gap; it must catch up first")
            return self._rounds.open(ticket, envelope.ByteSize(), sealed_state, self._session_key)

    def seal_round(self, opened: OpenedRound, computed: RoundResult | EngineError) -> engine_pb2.RunRoundResponse:
        """Seal what was computed of an opened round: `Rounds.seal`."""
        with self._lock:
            return self._rounds.seal(opened, computed)

    def status(self) -> engine_pb2.GetStatusResponse:
        """Return the node's state; `connected` and `supernode` are for the daemon to fill in."""
        with self._lock:
            state, reason = self._serve_state.status()
            active = self._journal.active_revision()
            return engine_pb2.GetStatusResponse(
                node_id=self.node_id,
                task=self.context.task,
                serve_state=state,
                quarantine_reason=reason,
                generation=self._journal.position().generation,
                revision=active.revision if active else 0,
                revision_digest=active.digest if active else b"",
                subject_tags=self._adapters.tags,
                costs=phase_costs(self._meter.totals()),
                energy_model=self.context.energy_model,
                overhead=types.DeploymentOverhead.FromString(active.overhead) if active else None,
                reram_writes=int(self.context.engine.cell_writes[self.context.node_index]),
                transitions=self._serve_state.transitions,
                accept_threshold=float(self.context.engine.accept_threshold[self.context.node_index]),
            )

    def adapters_digest(self) -> bytes:
        """Return the digest (32 bytes) of what is in the engine's SRAM for this node."""
        with self._lock:
            return self._adapters.digests.all

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
            self._serve_state.withdraw(types.QUARANTINE_REASON_NO_LEASE)
            self.save_counters()
            self._journal.close()


def _receipt_message(row: ReceiptRow) -> ConnectRequest:
    return ConnectRequest(receipt=types.Envelope.FromString(row.envelope))
