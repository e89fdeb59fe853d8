"""Check of a revision that the coordinator offers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import DecodeError
from reram_fleet.crypto import digests, sealing
from reram_fleet.v1.types_pb2 import RevisionContent, RevisionManifest, Sealed, SubjectAdapter
from reram_fleet.wire.shared_lora import without as lora_without

from edge_node.errors import LogRejectedError, RevisionRefusedError
from edge_node.recognition.head import HeadAdapter


@dataclass(frozen=True)
class Standpoint:
    """State of a node that an offer is held against."""

    fleet_id: str
    node_id: str
    generation: int
    tombstones: Collection[str]
    #: Number of the active revision; 0 if there is none.
    active_revision: int


def check_manifest(manifest: RevisionManifest, standpoint: Standpoint) -> None:
    """Refuse what must not be installed, before its content is opened.

    `RevisionRefusedError` if it is older than the active one, was built before the node's own generation, or names a
    forgotten tag; `LogRejectedError` if it was built after that: the log comes first, so some of it is missing.
    """
    generation = standpoint.generation
    if manifest.revision <= standpoint.active_revision:
        raise RevisionRefusedError(
            f"revision {manifest.revision} is not newer than {standpoint.active_revision}, which is active"
        )
    if manifest.built_at_generation < generation:
        raise RevisionRefusedError(
            f"revision {manifest.revision} was built at generation {manifest.built_at_generation}, "
            f"before this node's generation {generation}"
        )
    if manifest.built_at_generation > generation:
        raise LogRejectedError(
            f"revision {manifest.revision} was built at generation {manifest.built_at_generation}; "
            f"this node is behind, at {generation}: send the forget log first"
        )
    if forgotten := set(manifest.subject_tags) & set(standpoint.tombstones):
        raise RevisionRefusedError(f"revision {manifest.revision} names {len(forgotten)} forgotten subject tags")


def open_content(
    manifest: RevisionManifest,
    sealed: Sealed,
    sealing_key: X25519PrivateKey,
    standpoint: Standpoint,
    digest_of: Callable[[SubjectAdapter], bytes] = digests.subject_digest,
) -> RevisionContent:
    """Open a revision's content and hold it against its manifest; `digest_of` may know adapters that stay.

    `RevisionRefusedError` if it does not open, has another digest, or holds other tags than the manifest says.
    """
    purpose = sealing.revision_purpose(standpoint.fleet_id, manifest.revision, standpoint.node_id)
    try:
        content = RevisionContent.FromString(sealing.open_sealed(sealing_key, purpose, sealed))
    except (sealing.SealError, DecodeError) as error:
        raise RevisionRefusedError(f"revision {manifest.revision} cannot be opened: {error}") from error
    if (digest := digests.revision_digest(content, digest_of)) != manifest.digest:
        raise RevisionRefusedError(
            f"revision {manifest.revision} has digest {digest.hex()[:12]}, "
            f"its manifest says {manifest.digest.hex()[:12]}"
        )
    rows = {row.subject_tag for row in content.shared_lora.rows}
    tags = [subject.subject_tag for subject in content.subjects]
    if len(set(tags)) != len(tags) or set(tags) != set(manifest.subject_tags) or rows - set(tags):
        raise RevisionRefusedError(
            f"revision {manifest.revision} does not hold the subject tags that its manifest names"
        )
    if strangers := set(content.head.subject_tags) - set(tags):
        raise RevisionRefusedError(
            f"the head of revision {manifest.revision} knows {len(strangers)} subject tags without an adapter"
        )
    if [eraser.concept for eraser in content.erasers] != list(manifest.concepts):
        raise RevisionRefusedError(f"revision {manifest.revision} does not hold the erasers that its manifest names")
    return content


def without(content: RevisionContent, tags: Collection[str]) -> RevisionContent:
    """Return a revision's content without the adapters, LoRA rows and head columns of these tags."""
    lora = lora_without(content.shared_lora, tags)
    kept = RevisionContent(
        subjects=[subject for subject in content.subjects if subject.subject_tag not in tags],
        shared_lora=lora if lora.rows else None,
        erasers=content.erasers,
    )
    if content.head.subject_tags:
        head = HeadAdapter.of_message(content.head, features=content.head.features).without(tags)
        if head.tags:
            kept.head.CopyFrom(head.to_message())
    return kept
