"""Leaves of the Merkle log, and of the tree over the nodes of a forget."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from reram_fleet.crypto.signing import payload_hash
from reram_fleet.v1.types_pb2 import Envelope

from fleet.trust.merkle import MemoryTree, leaf_hash


class LeafKind(StrEnum):
    """Type of a leaf; it is part of what is hashed."""

    FORGET_COMMAND = "forget-command"
    RECEIPT = "receipt"
    AUDIT_EVENT = "audit-event"


def leaf_data(kind: LeafKind, envelope: Envelope) -> bytes:
    """Return the bytes of a leaf: its kind, and hashes of the signed payload and of the signer's key.

    Hashes only, so that the log can be published, and what it speaks of be erased, without it changing.
    """
    return leaf_data_of(kind, payload_hash(envelope), envelope.key_id)


def leaf_data_of(kind: LeafKind, payload_digest: bytes, key_id: str) -> bytes:
    """Return the same of a payload of which only the SHA-256 (32 bytes) is known."""
    return b"reram-fleet/leaf/%s/v1\0" % kind.encode() + payload_digest + bytes.fromhex(key_id)


def nodes_root(node_ids: Iterable[str]) -> bytes:
    """Return the RFC 6962 root (32 bytes) over the nodes that a forget is committed for; the signed command has it."""
    return MemoryTree([leaf_hash(node_id.encode()) for node_id in sorted(node_ids)]).root()
