"""Test doubles for those who build on a node: a clock, a small engine, and a coordinator with keys of its own.

`MemoryEngine` is an engine of one node on eight integer features; what it computes is trivial. `FakeCoordinator`
signs and seals real messages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import Message
from reram_fleet.crypto import digests, sealing, signing
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.v1 import node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectResponse
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse
from torch import Tensor

from edge_node.agent.context import NodeContext
from edge_node.agent.node import Node
from edge_node.config import StateFolder
from edge_node.engine import Identification, NodeEngine, RecognitionEngine
from edge_node.errors import SampleError
from edge_node.recognition.training.rounds import RoundResult
from edge_node.storage.journal import Journal
from edge_node.storage.keys import NodeKeys
from edge_node.storage.record_cipher import RecordCipher
from hwmodel import Cost, EnergyLedger, Phase, load_preset

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator

M = TypeVar("M", bound=Message)


@dataclass
class FakeClock:
    """Clock that moves when told to."""

    boottime: float = 1000.0
    unix: int = 1_800_000_000_000

    def boottime_s(self) -> float:
        """Return seconds since boot."""
        return self.boottime

    def unix_ms(self) -> int:
        """Return wall-clock milliseconds."""
        return self.unix

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.boottime += seconds
        self.unix += round(seconds * 1000)


class MemoryEngine(RecognitionEngine):
    """Engine of one node whose feature codes are the rounded channel sums of a sample [frames, 8]."""

    FEATURES = 8

    def __init__(self, saved_costs: Mapping[Phase, Cost] | None = None) -> None:
        super().__init__(["node"], load_preset("180nm-1t1r"), self.FEATURES, EnergyLedger(1))
        if saved_costs:
            self.ledger.restore(saved_costs)
        else:
            self.ledger.charge(Phase.PROGRAM, Cost(1e-6, 1e-3, 0, 64))

    @property
    def accept_threshold(self) -> Tensor:
        """A cosine."""
        return torch.tensor([0.9], dtype=torch.float64)

    @property
    def cell_writes(self) -> Tensor:
        """A constant."""
        return torch.tensor([64])

    def capture(self, samples: Sequence[np.ndarray], phase: Phase = Phase.INFER) -> Tensor:
        """Return codes int32 [1, samples, 8]."""
        for sample in samples:
            if sample.ndim != 2 or sample.shape[1] != self.features or not np.isfinite(sample).all():
                raise SampleError(f"expected finite [frames, {self.features}], got {sample.shape}")
        self.ledger.charge(phase, Cost(1e-9 * len(samples), 1e-6 * len(samples)))
        codes = np.stack([np.rint(sample.sum(axis=0)).astype(np.int32) for sample in samples])
        return torch.from_numpy(codes)[None]

    def identify(self, codes: Tensor, phase: Phase = Phase.INFER) -> Identification:
        """Answer with the nearest subject by cosine."""
        self._check_codes(codes)
        self.ledger.charge(phase, Cost(1e-9 * codes.shape[1], 1e-6))
        bank = self._bank(0)
        names, score = (("",) * codes.shape[1],), torch.full(codes.shape[:2], -torch.inf, dtype=torch.float64)
        if bank.tags:
            sums, _ = bank.sums()
            cosine = torch.nn.functional.cosine_similarity(codes[0].double()[:, None], sums[None].double(), dim=-1)
            score, best = cosine.max(dim=-1, keepdim=True)
            names, score = (tuple(bank.tags[k] for k in best.flatten().tolist()),), score.T
        return Identification(names, score, score >= self.accept_threshold, names, names)

    def public_codes(self, node: int) -> tuple[Tensor, Tensor]:
        """Return codes of four made-up public people, three samples each, and whose each is."""
        codes = np.random.default_rng(1).integers(-1000, 1000, (12, self.features), np.int32)
        return torch.from_numpy(codes), torch.arange(4).repeat_interleave(3)

    def run_round(
        self,
        node: int,
        ticket: types.JobTicket,
        state: types.LoraState,
        samples: Mapping[str, Tensor],
        forget: Mapping[str, Tensor],
    ) -> RoundResult:
        """Return the state as it came."""
        self.ledger.charge(Phase.TRAIN, Cost(1e-9, 1e-6))
        metrics = {"samples": float(len(samples)), "forget": float(len(forget))}
        return RoundResult(state, sum(len(codes) for codes in samples.values()), metrics)


@dataclass
class FakeCoordinator:
    """Coordinator of one test: real messages under keys of its own; what to send, and when, is the test's choice."""

    fleet_id: str = "test-fleet"
    command_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    sealing_key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    registry_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    log: list[types.Envelope] = field(default_factory=list)
    lease_sequence: int = 0

    def enrollment(self, node_service_address: str) -> EnrollNodeResponse:
        """Return what a node needs to join, without a learning plane."""
        return EnrollNodeResponse(
            fleet_id=self.fleet_id,
            command_public_key=self.command_key.public_key().public_bytes_raw(),
            coordinator_sealing_public_key=self.sealing_key.public_key().public_bytes_raw(),
            node_service_address=node_service_address,
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

    def forget(self, *tags: str) -> types.Envelope:
        """Append an entry to the log and return it."""
        self.log.append(self.sign(self.command(tags)))
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
    ) -> ConnectResponse:
        """Offer a revision to a node."""
        content = types.RevisionContent(subjects=subjects, shared_lora=shared_lora, head=head)
        generation = len(self.log) if built_at_generation is None else built_at_generation
        manifest = types.RevisionManifest(
            fleet_id=self.fleet_id,
            revision=number,
            digest=digests.revision_digest(content),
            built_at_generation=generation,
            subject_tags=sorted(subject.subject_tag for subject in subjects),
            has_shared_lora=shared_lora is not None,
            has_head=head is not None,
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


def open_node(
    root: Path,
    coordinator: FakeCoordinator,
    clock: FakeClock,
    *,
    node_id: str = "node-1",
    make_engine: Callable[[Mapping[Phase, Cost]], NodeEngine] = MemoryEngine,
    image_generator: ImageGenerator | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Node:
    """Open a node on a state folder, made if need be; again after `close` it is the same node, restarted.

    Parameters
    ----------
    make_engine
        Called with the cumulative costs from the journal, empty at the first start.
    """
    folder = StateFolder(root)
    keys = NodeKeys.create(folder, node_id)
    journal = Journal.open(folder.journal, node_id)
    node = Node(
        NodeContext(
            keys=keys,
            enrollment=coordinator.enrollment("127.0.0.1:1"),
            journal=journal,
            cipher=RecordCipher.of(folder, node_id),
            engine=make_engine(journal.costs()),
            image_generator=image_generator,
            energy_model=types.EnergyModel(name="memory", version="1"),
            task="test",
            clock=clock,
            on_step=on_step,
        )
    )
    node.started()
    return node
