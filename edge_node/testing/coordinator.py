"""Coordinator of one test: signs and seals real messages under keys of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import Message
from reram_fleet.crypto import digests, sealing, signing
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.v1 import node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectResponse
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse
from reram_fleet.wire.concepts import concept_tag

M = TypeVar("M", bound=Message)


@dataclass
class FakeCoordinator:
    """Coordinator of one test: real messages under keys of its own; what to send, and when, is the test's choice."""

    fleet_id: str = "test-fleet"
    command_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    sealing_key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    registry_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    log: list[types.Envelope] = field(default_factory=list)
    lease_sequence: int = 0

    def enrollment(self, node_service_address: str, ca_pem: bytes = b"") -> EnrollNodeResponse:
        """Return what a node needs to join, without a learning plane."""
        return EnrollNodeResponse(
            fleet_id=self.fleet_id,
            command_public_key=self.command_key.public_key().public_bytes_raw(),
            coordinator_sealing_public_key=self.sealing_key.public_key().public_bytes_raw(),
            node_service_address=node_service_address,
            coordinator_ca_pem=ca_pem.decode(),
            registry_public_key=self.registry_key.public_key().public_bytes_raw(),
        )

    def consent(self, subject_tag: str, *node_ids: str, expires_at_unix_ms: int = 2**62) -> types.Envelope:
        """Return the ticket with which a person may be enrolled; on `node-1` if no node is named."""
        return issue_ticket(
            self.registry_key,
            fleet_id=self.fleet_id,
            subject_tag=subject_tag,
            node_ids=node_ids or ["node-1"],
            expires_at_unix_ms=expires_at_unix_ms,
        )

    @property
    def log_head(self) -> bytes:
        """Hash of the last log entry."""
        return signing.payload_hash(self.log[-1]) if self.log else digests.ZERO_HASH

    def sign(self, message: Message) -> types.Envelope:
        """Sign with the command key."""
        return signing.sign(self.command_key, message)

    def command(self, tags: Sequence[str], **changes: object) -> types.ForgetCommand:
        """Return the next log entry, unsigned and not appended; `changes` replace fields."""
        generation = len(self.log) + 1
        command = types.ForgetCommand(
            fleet_id=self.fleet_id,
            generation=generation,
            previous_hash=self.log_head,
            campaign_id=f"campaign-{generation}",
            subject_tags=tags,
        )
        return _changed(command, changes)

    def forget(self, *tags: str, concepts: Sequence[str] = ()) -> types.Envelope:
        """Append an entry to the log and return it; it also names the tags of concepts."""
        named = [*tags, *map(concept_tag, concepts)]
        self.log.append(self.sign(self.command(named, concepts=list(concepts))))
        return self.log[-1]

    def log_after(self, generation: int) -> ConnectResponse:
        """Return the range (generation, G]."""
        return log_range(self.log[generation:])

    def lease(
        self, node_id: str, nonce: bytes, *, max_age_s: float = 30.0, generation: int | None = None
    ) -> ConnectResponse:
        """Answer a heartbeat."""
        self.lease_sequence += 1
        lease = types.Lease(
            fleet_id=self.fleet_id,
            node_id=node_id,
            generation=len(self.log) if generation is None else generation,
            sequence=self.lease_sequence,
            request_nonce=nonce,
            max_age_ms=round(max_age_s * 1000),
        )
        return ConnectResponse(lease=self.sign(lease))

    def revision(
        self,
        identity: types.NodeIdentity,
        number: int,
        subjects: Sequence[types.SubjectAdapter],
        *,
        built_at_generation: int | None = None,
        shared_lora: types.SharedLora | None = None,
        head: types.ClosedFormHead | None = None,
        erasers: Sequence[types.Eraser] = (),
    ) -> ConnectResponse:
        """Offer a revision to a node."""
        content = types.RevisionContent(subjects=subjects, shared_lora=shared_lora, head=head, erasers=erasers)
        generation = len(self.log) if built_at_generation is None else built_at_generation
        manifest = types.RevisionManifest(
            fleet_id=self.fleet_id,
            revision=number,
            digest=digests.revision_digest(content),
            built_at_generation=generation,
            subject_tags=sorted(subject.subject_tag for subject in subjects),
            has_shared_lora=shared_lora is not None,
            has_head=head is not None,
            concepts=[eraser.concept for eraser in erasers],
        )
        purpose = sealing.revision_purpose(self.fleet_id, number, identity.node_id)
        offer = node_pb2.RevisionOffer(
            manifest=self.sign(manifest),
            content=sealing.seal(identity.sealing_public_key, purpose, content.SerializeToString()),
        )
        return ConnectResponse(revision=offer)

    def erase(
        self, generation: int, revision: int, *, nonce: bytes = b"", probes: Sequence[Sequence[int]] = ()
    ) -> ConnectResponse:
        """Order an erase."""
        return ConnectResponse(
            erase=node_pb2.EraseOrder(
                generation=generation,
                campaign_id=f"campaign-{generation}",
                revision=revision,
                challenge_nonce=nonce or os.urandom(16),
                probes=[node_pb2.Probe(codes=codes) for codes in probes],
            )
        )

    def ticket(
        self, identity: types.NodeIdentity, session_public_key: bytes, job_key: bytes, **changes: object
    ) -> types.Envelope:
        """Return a signed ticket of job `job-1`, round 1; `changes` replace fields."""
        ticket = types.JobTicket(
            fleet_id=self.fleet_id,
            node_id=identity.node_id,
            job_id="job-1",
            attempt=1,
            round=1,
            kind=types.LEARNING_KIND_TRAIN_LORA,
            generation=len(self.log),
            expires_at_unix_ms=2**53,
            job_key=sealing.seal(session_public_key, sealing.job_key_purpose("job-1", identity.node_id), job_key),
        )
        return self.sign(_changed(ticket, changes))


def _changed(message: M, changes: Mapping[str, object]) -> M:
    for name, value in changes.items():
        if isinstance(value, list):
            getattr(message, name)[:] = value
        else:
            setattr(message, name, value)
    return message


def log_range(entries: Sequence[types.Envelope]) -> ConnectResponse:
    """Return a message with these log entries, whatever they are."""
    return ConnectResponse(forget_log=node_pb2.ForgetLogRange(entries=entries))
