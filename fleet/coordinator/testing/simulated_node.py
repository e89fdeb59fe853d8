"""A node's side of the protocol, without a chip: who it takes a code vector for is its nearest adapter.

It has the closed-form head like a real node, but only says what it has: its answers are the adapters'.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import Message
from reram_fleet.code_ranges import CodeRange
from reram_fleet.crypto import digests, sealing, signing
from reram_fleet.crypto.digests import STATEMENT
from reram_fleet.crypto.identities import prove_possession
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.heads.packing import pack_statistics
from fleet.heads.statistics import HeadStatistics

Signed = TypeVar("Signed", bound=Message)

#: Enough that two random canaries are never taken for each other: of 8, one pair in 1,400 is within 0.9.
FEATURES = 32
#: Range of the codes of simulated nodes.
CODES = CodeRange(FEATURES, 2**16 - 1)
#: Signs the enrolment tickets of tests.
REGISTRY_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
#: Cosine from which on a code vector is taken for somebody.
_THRESHOLD = 0.9


class SimulatedNodeError(Exception):
    """A simulated node was sent what a real one would close the stream for."""


@dataclass
class SignedReceipt:
    """A receipt in a node's journal; `accepted` is None until the coordinator has judged it."""

    counter: int
    generation: int
    challenge_nonce: bytes
    envelope: types.Envelope
    accepted: bool | None = None


@dataclass
class Journal:
    """Disk of a simulated node: a copy of it is a backup."""

    generation: int = 0
    log_head: bytes = digests.ZERO_HASH
    commands: dict[int, types.Envelope] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    revision: int = 0
    revision_digest: bytes = b""
    content: types.RevisionContent = field(default_factory=types.RevisionContent)
    enrolled: dict[str, types.SubjectAdapter] = field(default_factory=dict)
    #: Packed statistics of those whose codes were captured one by one.
    statistics: dict[str, bytes] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    receipts: list[SignedReceipt] = field(default_factory=list)
    #: Adapters, LoRA rows and samples that the log made the node drop, per generation.
    dropped: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    #: Keys that an erase has destroyed, per generation.
    destroyed: dict[int, int] = field(default_factory=dict)


class SimulatedNode:
    """One node.

    `amend` changes a receipt before it is signed: a node that lies.
    """

    def __init__(self, node_id: str, *, amend: Callable[[types.Receipt], None] = lambda receipt: None) -> None:
        self.node_id = node_id
        self.signing_key = Ed25519PrivateKey.generate()
        self.sealing_key = X25519PrivateKey.generate()
        self.session_key = X25519PrivateKey.generate()
        self.amend = amend
        #: What it answers when asked for public codes; nothing if None.
        self.public: wire.PublicCodes | None = None
        self.journal = Journal()
        self.lease: types.Lease | None = None
        self.fleet_id, self.command_key, self.coordinator_sealing_key = "", b"", b""

    @property
    def identity(self) -> types.NodeIdentity:
        """Identity that is registered of this node."""
        identity = types.NodeIdentity(
            node_id=self.node_id,
            receipt_public_key=self.signing_key.public_key().public_bytes_raw(),
            sealing_public_key=self.sealing_key.public_key().public_bytes_raw(),
            flower_public_key="",
        )
        return prove_possession(identity, self.signing_key)

    def join(self, fleet_id: str, command_key: bytes, coordinator_sealing_key: bytes) -> None:
        """Take over what the enrolment answered."""
        self.fleet_id, self.command_key = fleet_id, command_key
        self.coordinator_sealing_key = coordinator_sealing_key

    def twin(self) -> SimulatedNode:
        """Return a copy of the node, keys and all, that goes its own way from here."""
        twin = copy.copy(self)
        twin.restore(self.journal)
        return twin

    def backup(self) -> Journal:
        """Return a copy of everything that the node keeps."""
        return copy.deepcopy(self.journal)

    def restore(self, backup: Journal) -> None:
        """Go back to a backup, and start anew."""
        self.journal, self.lease = copy.deepcopy(backup), None

    def capture(
        self,
        tag: str,
        code_sum: list[int],
        count: int = 3,
        kind: types.SubjectAdapterKind = types.SUBJECT_ADAPTER_KIND_UNSPECIFIED,
    ) -> None:
        """Enrol somebody on this node."""
        self.journal.enrolled[tag] = types.SubjectAdapter(subject_tag=tag, count=count, code_sum=code_sum, kind=kind)

    def capture_codes(self, tag: str, codes: npt.NDArray[np.int32]) -> None:
        """Enrol somebody on this node by codes [samples, features], for adapter and head."""
        self.capture(tag, codes.sum(axis=0, dtype=np.int64).tolist(), len(codes))
        self.journal.statistics[tag] = pack_statistics(HeadStatistics.of(codes))

    def show_public(self, codes: npt.NDArray[np.int16], person: list[int]) -> None:
        """Let the node have codes [samples, features] of public people."""
        self.public = wire.PublicCodes(
            fleet_id=self.fleet_id,
            node_id=self.node_id,
            features=codes.shape[1],
            person=person,
            bytes_per_code=2,
            codes=codes.astype("<i2").tobytes(),
        )

    @property
    def serving(self) -> bool:
        """Whether adapters take part in answers: only under a lease that the node is not behind."""
        return self.lease is not None and self.lease.generation <= self.journal.generation

    def active(self) -> dict[str, types.SubjectAdapter]:
        """Return the active adapters: those of the revision, and people who are not in it yet."""
        found = {subject.subject_tag: subject for subject in self.journal.content.subjects}
        found = {**self.journal.enrolled, **found}
        return {tag: found[tag] for tag in sorted(found) if tag not in self.journal.tombstones}

    def lora(self) -> types.SharedLora:
        """Return the active LoRA."""
        lora = self.journal.content.shared_lora
        rows = [row for row in lora.rows if row.subject_tag not in self.journal.tombstones]
        return types.SharedLora(shape=lora.shape, rows=rows)

    def head(self) -> types.ClosedFormHead:
        """Return the active head, without the columns of the forgotten."""
        head = self.journal.content.head
        kept = [k for k, tag in enumerate(head.subject_tags) if tag not in self.journal.tombstones]
        codes = np.frombuffer(head.codes, "<i4").reshape(-1, max(1, len(head.subject_tags)))
        return types.ClosedFormHead(
            subject_tags=[head.subject_tags[k] for k in kept],
            features=head.features,
            codes=codes[:, kept].tobytes(),
            scale_bits=head.scale_bits,
            threshold=head.threshold,
        )

    def identify(self, codes: list[int]) -> str:
        """Return the tag of the nearest adapter, or "" for a stranger."""
        best, nearest = _THRESHOLD, ""
        for tag, adapter in self.active().items():
            mean = np.asarray(adapter.code_sum, np.float64)
            cosine = float(mean @ codes / (np.linalg.norm(mean) * np.linalg.norm(codes) + 1e-12))
            if cosine >= best:
                best, nearest = cosine, tag
        return nearest

    def receive(self, message: wire.ConnectResponse) -> list[wire.ConnectRequest]:
        """Act upon one message of the coordinator and return the answers, in order."""
        match message.WhichOneof("message"):
            case "challenge":
                return self._hello(message.challenge.nonce)
            case "forget_log":
                return self._suppress(message.forget_log)
            case "lease":
                self.lease = self._verified(message.lease, types.Lease)
                return self._contributions() if self.serving else []
            case "revision":
                return [self._install(message.revision)]
            case "erase":
                receipt = self._erase(message.erase)
                return [*self._contributions(), wire.ConnectRequest(receipt=receipt)] if receipt else []
            case "receipt_ack":
                self._judged(message.receipt_ack)
            case "public_codes_request" if self.public is not None:
                return [wire.ConnectRequest(public_codes=signing.sign(self.signing_key, self.public))]
            case "contribution_ack":
                self.journal.acknowledged.add(message.contribution_ack.subject_tag)
        return []

    def heartbeat(self) -> list[wire.ConnectRequest]:
        """Return the sign of life, and contributions that were not acknowledged."""
        return [self._sign_of_life(), *(self._contributions() if self.serving else [])]

    def _sign_of_life(self) -> wire.ConnectRequest:
        state = types.SERVE_STATE_SERVING if self.serving else types.SERVE_STATE_QUARANTINED
        generation = self.journal.generation
        return wire.ConnectRequest(
            heartbeat=wire.Heartbeat(lease_nonce=os.urandom(16), generation=generation, serve_state=state)
        )

    def _verified(self, envelope: types.Envelope, kind: type[Signed]) -> Signed:
        try:
            return signing.open_envelope(envelope, kind, self.command_key)
        except signing.SignatureError as error:
            raise SimulatedNodeError(str(error)) from error

    def _hello(self, nonce: bytes) -> list[wire.ConnectRequest]:
        self.lease = None
        hello = wire.Hello(
            fleet_id=self.fleet_id,
            node_id=self.node_id,
            challenge_nonce=nonce,
            generation=self.journal.generation,
            log_head=self.journal.log_head,
            revision=self.journal.revision,
            revision_digest=self.journal.revision_digest,
            boot_id="boot",
            software_version="simulated",
            receipt_counter=len(self.journal.receipts),
            last_receipt_hash=self._last_receipt_hash(),
            session_public_key=self._new_session_key(),
            environment="simulated",
        )
        open_receipts = [row.envelope for row in self.journal.receipts if row.accepted is None]
        return [
            wire.ConnectRequest(hello=signing.sign(self.signing_key, hello)),
            # Whom a receipt names must be known before it comes.
            *(self._contributions() if open_receipts else []),
            *(wire.ConnectRequest(receipt=envelope) for envelope in open_receipts),
            self._sign_of_life(),
        ]

    def _suppress(self, log: wire.ForgetLogRange) -> list[wire.ConnectRequest]:
        journal = self.journal
        for envelope in log.entries:
            command = self._verified(envelope, types.ForgetCommand)
            if command.generation <= journal.generation:
                continue
            if (command.generation, command.previous_hash) != (journal.generation + 1, journal.log_head):
                raise SimulatedNodeError(f"entry {command.generation} does not follow {journal.generation}")
            journal.generation, journal.log_head = command.generation, signing.payload_hash(envelope)
            journal.commands[command.generation] = envelope
            journal.dropped[command.generation] = self._held(set(command.subject_tags))
            journal.tombstones.update(command.subject_tags)
        session = wire.SessionKey(
            fleet_id=self.fleet_id,
            node_id=self.node_id,
            generation=journal.generation,
            public_key=self._new_session_key(),
        )
        suppressed = wire.Suppressed(
            generation=journal.generation,
            log_head=journal.log_head,
            session_key=signing.sign(self.signing_key, session),
        )
        return [wire.ConnectRequest(suppressed=suppressed), self._sign_of_life()]

    def _held(self, tags: set[str]) -> tuple[int, int, int]:
        samples = sum(adapter.count for tag, adapter in self.journal.enrolled.items() if tag in tags)
        rows = sum(row.subject_tag in tags for row in self.lora().rows)
        return len(self.active().keys() & tags), rows, samples

    def _new_session_key(self) -> bytes:
        self.session_key = X25519PrivateKey.generate()
        return self.session_key.public_key().public_bytes_raw()

    def _install(self, offer: wire.RevisionOffer) -> wire.ConnectRequest:
        manifest, journal = self._verified(offer.manifest, types.RevisionManifest), self.journal
        result = wire.RevisionResult(revision=manifest.revision, digest=manifest.digest, active=True)
        if (manifest.revision, manifest.digest) == (journal.revision, journal.revision_digest):
            return wire.ConnectRequest(revision_result=result)
        if manifest.revision <= journal.revision:
            result.active, result.refusal = False, f"revision {journal.revision} is active"
        elif manifest.built_at_generation != journal.generation:
            result.active, result.refusal = False, "it was built at another generation"
        elif journal.tombstones & set(manifest.subject_tags):
            result.active, result.refusal = False, "it names somebody forgotten"
        else:
            purpose = sealing.revision_purpose(self.fleet_id, manifest.revision, self.node_id)
            content = sealing.open_sealed(self.sealing_key, purpose, offer.content)
            journal.content = types.RevisionContent.FromString(content)
            journal.revision, journal.revision_digest = manifest.revision, manifest.digest
        return wire.ConnectRequest(revision_result=result)

    def _contributions(self) -> list[wire.ConnectRequest]:
        due = self.journal.enrolled.keys() - self.journal.tombstones - self.journal.acknowledged
        return [self.contribution(self.journal.enrolled[tag]) for tag in sorted(due)]

    def ticket(self, tag: str) -> types.Envelope:
        """Return the leave to enrol somebody here that the caller's registry has given."""
        return issue_ticket(
            REGISTRY_KEY, fleet_id=self.fleet_id, subject_tag=tag, node_ids=[self.node_id], expires_at_unix_ms=2**62
        )

    def contribution(self, adapter: types.SubjectAdapter, sequence: int = 1) -> wire.ConnectRequest:
        """Return an adapter as this node contributes it."""
        purpose = sealing.contribution_purpose(self.fleet_id, self.node_id, adapter.subject_tag)
        contribution = wire.Contribution(
            fleet_id=self.fleet_id,
            node_id=self.node_id,
            subject_tag=adapter.subject_tag,
            sequence=sequence,
            generation=self.journal.generation,
            adapter=sealing.seal(self.coordinator_sealing_key, purpose, adapter.SerializeToString()),
        )
        contribution.ticket.CopyFrom(self.ticket(adapter.subject_tag))
        if (packed := self.journal.statistics.get(adapter.subject_tag)) is not None:
            purpose = sealing.statistics_purpose(self.fleet_id, self.node_id, adapter.subject_tag)
            contribution.statistics.CopyFrom(sealing.seal(self.coordinator_sealing_key, purpose, packed))
        return wire.ConnectRequest(contribution=signing.sign(self.signing_key, contribution))

    def _erase(self, order: wire.EraseOrder) -> types.Envelope | None:
        journal = self.journal
        for row in journal.receipts:
            if (row.generation, row.challenge_nonce) == (order.generation, order.challenge_nonce):
                return row.envelope
        if order.revision != journal.revision or order.generation > journal.generation:
            return None
        command = journal.commands[order.generation]
        tags = types.ForgetCommand.FromString(command.payload).subject_tags
        gone = sum(journal.enrolled.pop(tag, None) is not None for tag in tags)
        destroyed = journal.destroyed.setdefault(order.generation, gone)
        for tag in tags:
            journal.statistics.pop(tag, None)
        dropped = journal.dropped[order.generation]
        adapters, rows, samples = dropped
        active = digests.subject_digests(self.active().values())
        lora, head = digests.lora_digest(self.lora()), digests.head_digest(self.head())
        receipt = types.Receipt(
            fleet_id=self.fleet_id,
            node_id=self.node_id,
            campaign_id=order.campaign_id,
            generation=order.generation,
            command_hash=signing.payload_hash(command),
            outcome=types.RECEIPT_OUTCOME_ERASED if any(dropped) else types.RECEIPT_OUTCOME_NOT_AFFECTED,
            counter=len(journal.receipts) + 1,
            previous_receipt_hash=self._last_receipt_hash(),
            adapters_digest_after=digests.adapters_digest(active, lora, head),
            active_adapters=active,
            lora_digest=lora,
            head_digest=head,
            revision_digest=journal.revision_digest,
            subject_adapters_erased=adapters,
            lora_rows_erased=rows,
            code_samples_erased=samples,
            keys_destroyed=destroyed,
            challenge_nonce=order.challenge_nonce,
            probe_results=[types.ProbeResult(subject_tag=self.identify(list(probe.codes))) for probe in order.probes],
            statement=STATEMENT,
        )
        self.amend(receipt)
        envelope = signing.sign(self.signing_key, receipt)
        journal.receipts.append(SignedReceipt(receipt.counter, order.generation, order.challenge_nonce, envelope))
        return envelope

    def _last_receipt_hash(self) -> bytes:
        receipts = self.journal.receipts
        return signing.payload_hash(receipts[-1].envelope) if receipts else digests.ZERO_HASH

    def _judged(self, ack: wire.ReceiptAck) -> None:
        for row in self.journal.receipts:
            if signing.payload_hash(row.envelope) == ack.receipt_hash and not row.accepted:
                row.accepted = ack.accepted
