"""Digests of adapters, over integers only.

A digest must be the same on every machine, so it is taken over lengths and little-endian integers, never over floats or
over a serialisation that a library may change. All digests are SHA-256 with a domain prefix.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence

from reram_fleet.v1.types_pb2 import (
    AdapterDigest,
    ClosedFormHead,
    Eraser,
    NodeIdentity,
    RevisionContent,
    SharedLora,
    SubjectAdapter,
)

#: "Nothing before this": previous hash of the first log entry and of the first receipt.
ZERO_HASH = bytes(32)

#: What a node states, and signs, of one forget, word for word: nobody but the node can know it.
STATEMENT = "no other copy of the erased adapters exists on this node"

#: Digest of an absent LoRA.
NO_LORA = b""
#: Digest of an absent head.
NO_HEAD = b""
#: Digest of no erasers.
NO_ERASERS = b""


def _hash(domain: str, *parts: bytes) -> bytes:
    sha = hashlib.sha256(f"reram-fleet/{domain}/v1\0".encode())
    for part in parts:
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return sha.digest()


def _int64(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def subject_digest(adapter: SubjectAdapter) -> bytes:
    """Return the digest of one person's adapter: tag, count, integer sum, and its kind if it is not a sum."""
    parts = [adapter.subject_tag.encode(), struct.pack("<Q", adapter.count), _int64(adapter.code_sum)]
    if adapter.kind:
        parts.append(struct.pack("<I", adapter.kind))
    return _hash("subject", *parts)


def lora_digest(lora: SharedLora) -> bytes:
    """Return the digest of a shared LoRA's shape and integer rows; `NO_LORA` if it has no rows."""
    if not lora.rows:
        return NO_LORA
    shape = lora.shape
    parts = [struct.pack("<IIfQI", shape.features, shape.rank, shape.alpha, shape.a_seed, shape.scale_bits)]
    rows = sorted(lora.rows, key=lambda row: row.subject_tag)
    for row in rows:
        parts += [row.subject_tag.encode(), _int64(row.codes)]
    if shape.neurons:
        # Numbers of fixed length, so no rows have these parts.
        parts.append(struct.pack("<III", shape.neurons, shape.segments, shape.law))
        parts += [_int64(branch.codes) for branch in lora.branches]
        parts.append(_int64([row.branch for row in rows]))
    return _hash("lora", *parts)


def head_digest(head: ClosedFormHead) -> bytes:
    """Return the digest of a head: tags, integer columns, scale and threshold; `NO_HEAD` if it is empty."""
    if not head.subject_tags:
        return NO_HEAD
    numbers = struct.pack("<IIQ", head.features, head.scale_bits, head.threshold)
    return _hash("head", numbers, *(tag.encode() for tag in head.subject_tags), head.codes)


def erasers_digest(erasers: Iterable[Eraser]) -> bytes:
    """Return the digest of erasers, whatever order they come in; `NO_ERASERS` if there are none."""
    parts = []
    for eraser in sorted(erasers, key=lambda eraser: eraser.concept):
        parts += [eraser.concept.encode(), _int64(eraser.codes)]
    return _hash("erasers", *parts) if parts else NO_ERASERS


def adapters_digest(
    subjects: Iterable[AdapterDigest], lora: bytes, head: bytes = NO_HEAD, erasers: bytes = NO_ERASERS
) -> bytes:
    """Return the digest of a set of adapters, whatever order they come in."""
    parts = [lora]
    for entry in sorted(subjects, key=lambda entry: entry.subject_tag):
        parts += [entry.subject_tag.encode(), entry.digest]
    if head:
        # Not a tag, so no set of subject adapters has these parts.
        parts += [b"closed-form-head", head]
    if erasers:
        parts += [b"erasers", erasers]
    return _hash("adapters", *parts)


def subject_digests(
    subjects: Iterable[SubjectAdapter], digest_of: Callable[[SubjectAdapter], bytes] = subject_digest
) -> list[AdapterDigest]:
    """Return one `AdapterDigest` per adapter, sorted by tag; `digest_of` may know some already."""
    return sorted(
        (AdapterDigest(subject_tag=s.subject_tag, digest=digest_of(s)) for s in subjects),
        key=lambda entry: entry.subject_tag,
    )


def revision_digest(content: RevisionContent, digest_of: Callable[[SubjectAdapter], bytes] = subject_digest) -> bytes:
    """Return the digest of a revision: the address of its content; `digest_of` may know some adapters' already."""
    return adapters_digest(
        subject_digests(content.subjects, digest_of),
        lora_digest(content.shared_lora),
        head_digest(content.head),
        erasers_digest(content.erasers),
    )


def identity_digest(identity: NodeIdentity) -> bytes:
    """Return the digest of a node's name and public keys: its receipt key signs it to prove possession."""
    return _hash(
        "identity",
        identity.node_id.encode(),
        identity.receipt_public_key,
        identity.sealing_public_key,
        identity.flower_public_key.encode(),
    )
