"""A node that dies at durable steps, and what was signed and acknowledged to it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse

from edge_node.storage.journal import Journal
from tests.device import Device
from tests.unit.kills.kills import Kills


class Heard:
    """All that was signed and acknowledged, as it reached somebody."""

    def __init__(self) -> None:
        #: Payloads of log entries by generation, digests of revisions by number, nonces of leases by sequence.
        self.entries = defaultdict[int, set[bytes]](set)
        self.revisions = defaultdict[int, set[bytes]](set)
        self.leases = defaultdict[int, set[bytes]](set)
        #: Acknowledged to nodes: contributions (node, tag), receipts (node, generation).
        self.contributions: set[tuple[str, str]] = set()
        self.receipts: set[tuple[str, int]] = set()

    def note(self, node_id: str, message: ConnectResponse) -> None:
        """Note what a node is told."""
        match message.WhichOneof("message"):
            case "forget_log":
                for envelope in message.forget_log.entries:
                    command = types.ForgetCommand.FromString(envelope.payload)
                    self.entries[command.generation].add(envelope.payload)
            case "revision":
                manifest = types.RevisionManifest.FromString(message.revision.manifest.payload)
                self.revisions[manifest.revision].add(manifest.digest)
            case "lease":
                lease = types.Lease.FromString(message.lease.payload)
                self.leases[lease.sequence].add(lease.request_nonce)
            case "contribution_ack" if not message.contribution_ack.refusal:
                self.contributions.add((node_id, message.contribution_ack.subject_tag))
            case "receipt_ack" if message.receipt_ack.accepted:
                self.receipts.add((node_id, message.receipt_ack.generation))


class MortalDevice(Device):
    """A node whose journal and keys are such as outlive it, and which remembers what it was told."""

    def __init__(self, node_id: str, kills: Kills, heard: Heard, **options: Any) -> None:
        self._kills, self._heard = kills, heard
        super().__init__(node_id, **options)
        key = ec.derive_private_key(int.from_bytes(node_id.encode(), "big"), ec.SECP384R1()).public_key()
        public = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        self.keys = replace(self.keys, flower_public=public)
        self._subject_keys, self._revision_keys = kills.keys(node_id), kills.keys(node_id)
        self._durable: Journal | None = None

    def join(self, enrollment: EnrollNodeResponse) -> None:
        """Take over what the registration answered, and start."""
        self.enrollment = enrollment
        self.rise()

    def _opened(self, journal: bytes) -> Journal:
        self._durable = self._kills.journal(self.node_id, journal)
        return self._durable

    def rise(self) -> None:
        """Start anew from what is durable."""
        self._start(b"" if self._durable is None else self._durable.content())
        assert self._subject_keys.ids() == self.enrolled, (
            "a key has outlived its row over a restart, or the row its key"
        )
        assert self.journal.unfinished_erasures() == []

    def receive(self, message: ConnectResponse) -> list[ConnectRequest]:
        self._heard.note(self.node_id, message)
        return super().receive(message)
