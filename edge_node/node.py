"""The node: journal, engine, lease and keys as one state machine, without a network.

`receive` takes what the coordinator says and returns what to answer; `beat` is the sign of life. Link and
EngineService are rims around this class. One lock: every public method holds it from start to end, so that no
answer is computed from adapters that a forget is just removing.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from reram_fleet import digests, sealing, signing
from reram_fleet.v1 import engine_pb2, node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.clock import Clock, boot_id
from edge_node.config import StateFolder
from edge_node.engine import Engine
from edge_node.erasure import Eraser
from edge_node.errors import (
    AdapterError,
    ClipError,
    EraseRefusedError,
    LogRejectedError,
    ProtocolError,
    RevisionRefusedError,
    TicketRefusedError,
    TombstonedTagError,
)
from edge_node.forget_log import LogEntry, is_subject_tag, new_entries
from edge_node.journal import Journal
from edge_node.journal_schema import ForgetRow, ReceiptRow, ReceiptState, RevisionRow
from edge_node.keys import KeyRing, NodeKeys
from edge_node.lease import LeaseKeeper, Standing
from edge_node.receipts import SOFTWARE_VERSION, Evidence, build_receipt
from edge_node.revisions import Standpoint, check_manifest, open_content, without
from edge_node.rounds import JobSeal, check_ticket
from edge_node.telemetry import Transitions, phase_cost, phase_costs
from edge_node.vault import CapturedClips, Vault, clip_hash
from hwmodel import Phase
from hwmodel.ledger import LedgerMark

logger = logging.getLogger(__name__)

Signed = TypeVar("Signed", types.Lease, types.RevisionManifest, types.JobTicket)

#: A device is a batch of one.
_ME = 0
#: Counters that a crash may lose are those of the last few seconds.
SAVE_COUNTERS_EVERY_S = 10.0


class Node:
    """One device's state machine.

    Parameters
    ----------
    journal, vault
        Opened for this node.
    engine
        Built for this node alone.
    on_step
        Called at each of `erasure.STEPS`; tests end the process there.
    """

    def __init__(
        self,
        *,
        keys: NodeKeys,
        enrollment: EnrollNodeResponse,
        journal: Journal,
        vault: Vault,
        engine: Engine,
        energy_model: types.EnergyModel,
        task: str,
        clock: Clock,
        on_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._keys, self._enrollment = keys, enrollment
        self._journal, self._vault, self._engine, self._clock = journal, vault, engine, clock
        self._energy_model, self._task, self._on_step = energy_model, task, on_step
        self._eraser = Eraser(journal, vault, on_step)
        self._lock = threading.RLock()
        self._leases = LeaseKeeper()
        self._transitions = Transitions()
        # Contributions sent since the last hello: they are sent again after a reconnect, not every second.
        self._offered: set[tuple[str, int]] = set()
        self._content = types.RevisionContent()
        self._inferences, self._stale_refused = journal.inference_counts()
        self._saved_at_s = clock.boottime_s()
        self._recover()

    @classmethod
    def open_vault(cls, folder: StateFolder, node_id: str) -> Vault:
        """Return the vault of a state folder."""
        return Vault(node_id, KeyRing(folder.subject_keys), KeyRing(folder.revision_keys))

    def _recover(self) -> None:
        """Finish what a crash interrupted, then load what the journal says is active."""
        self._eraser.recover()
        if (row := self._journal.active_revision()) is not None:
            self._content = without(self._vault.open_revision(row), self._journal.tombstones())
        self._load_adapters()
        self.save_counters()
        self._observe()

    # Serve state

    @property
    def node_id(self) -> str:
        """The node's name."""
        return self._keys.node_id

    def started(self) -> None:
        """End the quarantine reason STARTING: from now on the node lacks nothing but a lease."""
        with self._lock:
            self._withdraw(types.QUARANTINE_REASON_NO_LEASE)

    def standing(self) -> Standing:
        """Return serve state and quarantine reason now."""
        with self._lock:
            return self._observe()

    def _observe(self) -> Standing:
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
            mark = self._engine.ledger.mark()
            kind = message.WhichOneof("message")
            # A revision's bytes are part of its deployment cost.
            if kind != "revision":
                self._engine.charge_radio(_ME, message.ByteSize())
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
                return [ConnectRequest(revision_result=self._install(message.revision, mark))]
            case "erase":
                return self._erase(message.erase, mark)
            case "receipt_ack":
                return self._receipt_judged(message.receipt_ack)
            case "contribution_ack":
                ack = message.contribution_ack
                with self._journal.transaction():
                    self._journal.acknowledge_contribution(ack.subject_tag, ack.sequence, ack.refusal)
                return []
            case _:
                # A newer coordinator may say more than this node understands.
                logger.warning("a message of an unknown kind was ignored")
                return []

    def _sending(self, messages: list[ConnectRequest]) -> list[ConnectRequest]:
        for message in messages:
            self._engine.charge_radio(_ME, message.ByteSize())
        return messages

    def _verified(self, envelope: types.Envelope, kind: type[Signed]) -> Signed:
        try:
            payload = signing.open_envelope(envelope, kind, self._enrollment.command_public_key)
        except signing.SignatureError as error:
            raise ProtocolError(f"a message does not verify: {error}") from error
        if payload.fleet_id != self._enrollment.fleet_id:
            raise ProtocolError(
                f"a message is of fleet {payload.fleet_id!r}, not {self._enrollment.fleet_id!r}"
            )
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
        )
        self._offered.clear()
        pending = [row for row in self._journal.receipts() if row.state == ReceiptState.PENDING]
        return [
            ConnectRequest(hello=signing.sign(self._keys.signing, hello)),
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
            self._suppress_one(entry, mark)
            mark = self._engine.ledger.mark()
        position = self._journal.position()
        suppressed = node_pb2.Suppressed(generation=position.generation, log_head=position.log_head)
        return [ConnectRequest(suppressed=suppressed), self._heartbeat()]

    def _known_hash(self, generation: int) -> bytes:
        row = self._journal.forget(generation)
        assert row is not None
        return row.payload_hash

    def _suppress_one(self, entry: LogEntry, mark: LedgerMark) -> None:
        begun_s = self._clock.boottime_s()
        tags = set(entry.command.subject_tags)
        active = self._engine.active_subjects(_ME)
        lora = self._engine.active_lora(_ME)
        digest_before = digests.adapters_digest(digests.subject_digests(active), _lora_digest(lora))
        # Out of SRAM first: should the journal then fail, the node has forgotten too early, never too late.
        self._content = without(self._content, tags)
        self._engine.drop_subjects(_ME, tags)
        row = ForgetRow(
            generation=entry.command.generation,
            campaign_id=entry.command.campaign_id,
            envelope=entry.envelope.SerializeToString(),
            payload_hash=entry.payload_hash,
            digest_before=digest_before,
            subject_adapters=sum(subject.subject_tag in tags for subject in active),
            lora_rows=sum(row.subject_tag in tags for row in lora.rows) if lora else 0,
            code_samples=sum(row.clips for row in self._journal.enrolments() if row.subject_tag in tags),
            suppress_seconds=self._clock.boottime_s() - begun_s,
        )
        with self._journal.transaction():
            self._journal.append_forget(row, tags)
            self._journal.add_forget_cost(row.generation, self._engine.ledger.since(mark, _ME))
            self._save_counters()
        logger.info("suppressed generation %d of campaign %s", row.generation, row.campaign_id)

    # Lease, heartbeat, contributions

    def _take_lease(self, envelope: types.Envelope) -> list[ConnectRequest]:
        lease = self._verified(envelope, types.Lease)
        if lease.node_id != self.node_id:
            raise ProtocolError(f"a lease is of node {lease.node_id!r}, not {self.node_id!r}")
        self._leases.granted(lease)
        return self._contributions() if self._serving() else []

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
            if self._clock.boottime_s() - self._saved_at_s >= SAVE_COUNTERS_EVERY_S:
                self.save_counters()
            telemetry = node_pb2.Telemetry(
                costs=phase_costs(self._engine.ledger.totals(_ME)),
                energy_model=self._energy_model,
                inferences=self._inferences,
                stale_inferences_refused=self._stale_refused,
                subject_adapters=len(self._engine.active_subjects(_ME)),
            )
            messages = [self._heartbeat(), ConnectRequest(telemetry=telemetry)]
            # Not before the node has caught up: a tag that is about to be suppressed is not sent any more.
            if self._serving():
                messages += self._contributions()
            return self._sending(messages)

    def _contributions(self) -> list[ConnectRequest]:
        messages = []
        tombstones, generation = self._journal.tombstones(), self._journal.position().generation
        fleet_id = self._enrollment.fleet_id
        for row in self._journal.enrolments():
            if row.subject_tag in tombstones or row.refusal or row.acked_sequence >= row.sequence:
                continue
            if (row.subject_tag, row.sequence) in self._offered:
                continue
            self._offered.add((row.subject_tag, row.sequence))
            contribution = node_pb2.Contribution(
                fleet_id=fleet_id,
                node_id=self.node_id,
                subject_tag=row.subject_tag,
                sequence=row.sequence,
                generation=generation,
                adapter=sealing.seal(
                    self._enrollment.coordinator_sealing_public_key,
                    sealing.contribution_purpose(fleet_id, self.node_id, row.subject_tag),
                    self._vault.open_clips(row).adapter(row.subject_tag).SerializeToString(),
                ),
            )
            messages.append(ConnectRequest(contribution=signing.sign(self._keys.signing, contribution)))
        return messages

    # Revisions

    def _install(self, offer: node_pb2.RevisionOffer, mark: LedgerMark) -> node_pb2.RevisionResult:
        manifest = self._verified(offer.manifest, types.RevisionManifest)
        active = self._journal.active_revision()
        result = node_pb2.RevisionResult(revision=manifest.revision, digest=manifest.digest)
        if active and (active.revision, active.digest) == (manifest.revision, manifest.digest):
            result.active = True
            result.overhead.ParseFromString(active.overhead)
            return result
        tombstones = self._journal.tombstones()
        standpoint = Standpoint(
            fleet_id=self._enrollment.fleet_id,
            node_id=self.node_id,
            generation=self._journal.position().generation,
            tombstones=tombstones,
            active_revision=active.revision if active else 0,
        )
        before = self._content
        try:
            check_manifest(manifest, standpoint)
            content = open_content(manifest, offer.content, self._keys.sealing, standpoint)
            overhead = self._engine.deployment(_ME, content, offer.ByteSize())
            self._content = content
            self._load_adapters()
        except (RevisionRefusedError, AdapterError) as error:
            logger.warning("refused a revision: %s", error)
            self._content = before
            self._load_adapters()
            result.refusal = str(error)
            return result
        key_id = f"{manifest.revision}-{manifest.digest.hex()[:16]}"
        row = RevisionRow(
            revision=manifest.revision,
            digest=manifest.digest,
            manifest=offer.manifest.SerializeToString(),
            key_id=key_id,
            ciphertext=self._vault.seal_revision(key_id, content),
            overhead=overhead.SerializeToString(),
            state="active",
        )
        with self._journal.transaction():
            self._journal.activate_revision(row)
            if pending := self._journal.generations_without_receipt():
                # Making this revision active is part of the newest forget that it carries out.
                self._journal.add_forget_cost(pending[-1], self._engine.ledger.since(mark, _ME))
            self._save_counters()
        self._eraser.drop_superseded()
        result.active = True
        result.overhead.CopyFrom(overhead)
        return result

    def _load_adapters(self) -> None:
        """Make the engine hold the revision's adapters, local ones that are not in it, and nothing else."""
        wanted = {subject.subject_tag: subject for subject in self._content.subjects}
        tombstones = self._journal.tombstones()
        for row in self._journal.enrolments():
            if row.subject_tag not in wanted and row.subject_tag not in tombstones:
                wanted[row.subject_tag] = self._vault.open_clips(row).adapter(row.subject_tag)
        present = {subject.subject_tag: subject for subject in self._engine.active_subjects(_ME)}
        if gone := present.keys() - wanted.keys():
            self._engine.drop_subjects(_ME, gone)
        for tag in sorted(wanted):
            if present.get(tag) != wanted[tag]:
                self._engine.set_subject(_ME, wanted[tag])
        lora = self._content.shared_lora if self._content.shared_lora.rows else None
        if self._engine.active_lora(_ME) != lora:
            self._engine.set_lora(_ME, lora)

    # Erase

    def _erase(self, order: node_pb2.EraseOrder, mark: LedgerMark) -> list[ConnectRequest]:
        receipts = self._journal.receipts(order.generation)
        for row in receipts:
            if row.state == ReceiptState.ACCEPTED or row.challenge_nonce == order.challenge_nonce:
                return [_receipt_message(row)]
        try:
            return [self._erase_and_sign(order, mark)]
        except (EraseRefusedError, AdapterError) as error:
            # The coordinator orders again as long as there is no receipt.
            logger.warning("did not erase: %s", error)
            return []

    def _erase_and_sign(self, order: node_pb2.EraseOrder, mark: LedgerMark) -> ConnectRequest:
        begun_s = self._clock.boottime_s()
        forget, active = self._journal.forget(order.generation), self._journal.active_revision()
        if forget is None or forget.campaign_id != order.campaign_id:
            raise EraseRefusedError(f"generation {order.generation} is not suppressed here for that campaign")
        command = types.ForgetCommand.FromString(types.Envelope.FromString(forget.envelope).payload)
        if order.revision != (active.revision if active else 0):
            raise EraseRefusedError(
                f"generation {order.generation} is to be erased at revision {order.revision}, "
                f"but revision {active.revision if active else 0} is active"
            )
        if active:
            manifest = types.RevisionManifest.FromString(types.Envelope.FromString(active.manifest).payload)
            if set(manifest.subject_tags) & set(command.subject_tags):
                raise EraseRefusedError(f"the active revision still holds tags of {order.generation}")
        self._on_step("ordered")
        erasure = self._eraser.erase(order.generation, command.subject_tags)
        probe_tags = self._answer_probes(order.probes)
        self._on_step("probed")
        lora = self._engine.active_lora(_ME)
        with self._journal.transaction():
            self._journal.add_forget_cost(order.generation, self._engine.ledger.since(mark, _ME))
            receipt = build_receipt(
                fleet_id=self._enrollment.fleet_id,
                node_id=self.node_id,
                forget=forget,
                erasure=erasure,
                order=order,
                position=self._journal.position(),
                evidence=Evidence(
                    active_adapters=digests.subject_digests(self._engine.active_subjects(_ME)),
                    lora_digest=_lora_digest(lora),
                    revision_digest=active.digest if active else b"",
                    probe_tags=probe_tags,
                    costs=self._journal.forget_costs(order.generation),
                    energy_model=self._energy_model,
                    erase_seconds=self._clock.boottime_s() - begun_s,
                ),
                unix_ms=self._clock.unix_ms(),
            )
            envelope = signing.sign(self._keys.signing, receipt)
            row = ReceiptRow(
                counter=receipt.counter,
                generation=order.generation,
                challenge_nonce=order.challenge_nonce,
                envelope=envelope.SerializeToString(),
                state=ReceiptState.PENDING,
            )
            self._journal.append_receipt(row, signing.payload_hash(envelope))
            self._save_counters()
        self._on_step("receipt-signed")
        logger.info("erased generation %d; receipt %d", order.generation, receipt.counter)
        return _receipt_message(row)

    def _answer_probes(self, probes: Sequence[node_pb2.Probe]) -> list[str]:
        if not probes:
            return []
        if wrong := [len(probe.codes) for probe in probes if len(probe.codes) != self._engine.features]:
            raise EraseRefusedError(f"a probe has {wrong[0]} codes, expected {self._engine.features}")
        codes = torch.tensor([[list(probe.codes) for probe in probes]], dtype=torch.int32)
        answers = self._engine.identify(codes, Phase.VERIFY)
        return [
            tag if accepted else ""
            for tag, accepted in zip(answers.best_tag[_ME], answers.accepted[_ME].tolist(), strict=True)
        ]

    def _receipt_judged(self, ack: node_pb2.ReceiptAck) -> list[ConnectRequest]:
        for row in self._journal.receipts(ack.generation):
            envelope = types.Envelope.FromString(row.envelope)
            if signing.payload_hash(envelope) != ack.receipt_hash:
                continue
            with self._journal.transaction():
                self._journal.judge_receipt(row.counter, ack.accepted)
            if ack.accepted:
                self._eraser.drop_superseded()
            elif row.state == ReceiptState.PENDING:
                logger.warning("the receipt of generation %d was refused: %s", ack.generation, ack.reason)
                self._withdraw(types.QUARANTINE_REASON_HELD)
        return []

    # What the device's application asks

    def enroll(self, subject_tag: str, clips: Sequence[np.ndarray]) -> engine_pb2.EnrollResponse:
        """Capture a person's clips once and keep their codes sealed; on disk before this returns.

        Clips that the tag has already are skipped, so that a repeated call changes nothing.

        Parameters
        ----------
        clips
            float32 [frames, channels] each.

        Raises
        ------
        AdapterError
            If the tag is malformed.
        TombstonedTagError
            If the tag was forgotten.
        ClipError
            If there is no clip, or one does not fit the task.
        """
        if not is_subject_tag(subject_tag):
            raise AdapterError("a subject tag is 32 lower-case hexadecimal digits, made at random")
        if not clips:
            raise ClipError("there is no clip to enrol; send at least one")
        with self._lock:
            if subject_tag in self._journal.tombstones():
                raise TombstonedTagError(
                    "this subject tag was forgotten; a new consent needs a new tag (fleet.registry makes one)"
                )
            row = self._journal.enrolment(subject_tag)
            present = self._vault.open_clips(row) if row else None
            fresh = {clip_hash(clip): clip for clip in clips}
            for known in present.hashes if present else ():
                fresh.pop(known, None)
            mark = self._engine.ledger.mark()
            if fresh:
                codes = self._engine.capture(list(fresh.values()))[_ME].numpy()
                captured = present or CapturedClips((), np.empty((0, self._engine.features), np.int32))
                captured = captured.extended(list(fresh), codes)
                ciphertext = self._vault.seal_clips(subject_tag, captured)
                with self._journal.transaction():
                    self._journal.save_enrolment(subject_tag, len(captured.codes), ciphertext)
                    self._save_counters()
                self._load_adapters()
            spent = self._engine.ledger.since(mark, _ME)[Phase.INFER]
            saved = self._journal.enrolment(subject_tag)
            assert saved is not None
            return engine_pb2.EnrollResponse(count=saved.clips, infer_cost=phase_cost(Phase.INFER, spent))

    def identify(self, clips: Sequence[np.ndarray]) -> engine_pb2.IdentifyResponse:
        """Say who is heard in each clip; without any adapter, and without answers, while quarantined.

        Raises
        ------
        ClipError
            If a clip does not fit the task.
        """
        with self._lock:
            if not self._serving():
                return self._backbone_only(len(clips))
            if not clips:
                raise ClipError("there is no clip to identify; send at least one")
            found = self._engine.identify(self._engine.capture(clips))
            # The lease may have run out meanwhile: then nobody is told.
            if not self._serving():
                return self._backbone_only(len(clips))
            self._inferences += len(clips)
            return engine_pb2.IdentifyResponse(
                generation=self._journal.position().generation,
                answers=[
                    engine_pb2.Answer(
                        best_tag=best, score=score, accepted=accepted, best_tag_subject_only=subject_only
                    )
                    for best, score, accepted, subject_only in zip(
                        found.best_tag[_ME],
                        found.score[_ME].tolist(),
                        found.accepted[_ME].tolist(),
                        found.best_tag_subject_only[_ME],
                        strict=True,
                    )
                ],
            )

    def _backbone_only(self, clips: int) -> engine_pb2.IdentifyResponse:
        self._stale_refused += clips
        return engine_pb2.IdentifyResponse(
            backbone_only=True,
            quarantine_reason=self._observe()[1],
            generation=self._journal.position().generation,
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
            tombstones = self._journal.tombstones()
            check_ticket(
                ticket,
                fleet_id=self._enrollment.fleet_id,
                node_id=self.node_id,
                generation=self._journal.position().generation,
                tombstones=tombstones,
                unix_ms=self._clock.unix_ms(),
            )
            if self._observe()[1] == types.QUARANTINE_REASON_GAP:
                raise TicketRefusedError("this node's forget log has a gap; it must catch up first")
            mark = self._engine.ledger.mark()
            seal = JobSeal.of(ticket, self._keys.sealing)
            self._engine.charge_radio(_ME, envelope.ByteSize() + len(sealed_state))
            result = self._engine.run_round(
                _ME,
                ticket,
                seal.open(sealed_state),
                samples=self._codes(ticket.subject_tags),
                forget=self._codes(ticket.forget_tags),
            )
            sealed_result = seal.seal(result.state)
            self._engine.charge_radio(_ME, len(sealed_result))
            with self._journal.transaction():
                if ticket.forget_tags:
                    generation = max(tombstones[tag] for tag in ticket.forget_tags)
                    self._journal.add_forget_cost(generation, self._engine.ledger.since(mark, _ME))
                self._save_counters()
            return engine_pb2.RunRoundResponse(
                node_id=self.node_id,
                sealed_state=sealed_result,
                num_examples=result.num_examples,
                metrics=result.metrics,
            )

    def _codes(self, tags: Sequence[str]) -> dict[str, torch.Tensor]:
        rows = [row for row in self._journal.enrolments() if row.subject_tag in set(tags)]
        return {row.subject_tag: torch.from_numpy(self._vault.open_clips(row).codes) for row in rows}

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
                subject_tags=sorted(s.subject_tag for s in self._engine.active_subjects(_ME)),
                costs=phase_costs(self._engine.ledger.totals(_ME)),
                energy_model=self._energy_model,
                overhead=types.DeploymentOverhead.FromString(active.overhead) if active else None,
                reram_writes=int(self._engine.cell_writes[_ME]),
                transitions=self._transitions.rows(),
                accept_threshold=float(self._engine.accept_threshold[_ME]),
            )

    def inference_counts(self) -> tuple[int, int]:
        """Return clips identified, and clips refused while quarantined, since the node was made."""
        with self._lock:
            return self._inferences, self._stale_refused

    def save_counters(self) -> None:
        """Store costs and counters now."""
        with self._lock, self._journal.transaction():
            self._save_counters()

    def _save_counters(self) -> None:
        costs = self._engine.ledger.totals(_ME)
        self._journal.save_counters(costs, self._inferences, self._stale_refused)
        self._saved_at_s = self._clock.boottime_s()

    def close(self) -> None:
        """Store counters and close the journal; the node must not be used afterwards."""
        with self._lock:
            self._withdraw(types.QUARANTINE_REASON_NO_LEASE)
            self.save_counters()
            self._journal.close()


def _lora_digest(lora: types.SharedLora | None) -> bytes:
    return digests.lora_digest(lora) if lora else digests.NO_LORA


def _receipt_message(row: ReceiptRow) -> ConnectRequest:
    return ConnectRequest(receipt=types.Envelope.FromString(row.envelope))
