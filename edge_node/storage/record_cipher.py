"""Cipher of the journal's personal rows, under keys whose destruction erases them."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from reram_fleet.crypto import sealing
from reram_fleet.crypto.key_store import FileKeyStore, KeyStore, MemoryKeyStore
from reram_fleet.v1.types_pb2 import SUBJECT_ADAPTER_KIND_TRAINED, RevisionContent, SubjectAdapter

from edge_node.config import StateFolder
from edge_node.errors import JournalError
from edge_node.storage.journal_schema import EnrolmentRow, RevisionRow

_HEADER = struct.Struct("<II")
_HASH_BYTES = 32
#: Part of the purpose that samples are sealed for: format of journals on disk, whatever samples are called.
_SAMPLES = "clips"


def sample_hash(sample: np.ndarray) -> bytes:
    """Return the SHA-256 of a recording. It is itself kept sealed: it would recognise the recording."""
    return hashlib.sha256(np.ascontiguousarray(sample, dtype="<f4").tobytes()).digest()


@dataclass(frozen=True)
class CapturedSamples:
    """Samples of one person as one chip captured them, once, and the adapter that was learnt from them.

    Attributes
    ----------
    hashes
        SHA-256 of each recording.
    codes
        Integers of each recording, int32 [samples, width]: feature codes, or an image's grey levels.
    trained
        int32 [features]: the adapter that this node trained on the codes; None where an adapter is their sum.
    """

    hashes: tuple[bytes, ...]
    codes: np.ndarray
    trained: np.ndarray | None = None

    def extended(self, hashes: Sequence[bytes], codes: np.ndarray) -> CapturedSamples:
        """Return these samples and further ones, of which nothing has been learnt yet."""
        return CapturedSamples((*self.hashes, *hashes), np.concatenate([self.codes, codes]))

    def adapter(self, subject_tag: str) -> SubjectAdapter:
        """Return the person's adapter: the integer sum of the codes and their count, or what was trained."""
        if self.trained is not None:
            return SubjectAdapter(
                subject_tag=subject_tag, count=1, code_sum=self.trained.tolist(), kind=SUBJECT_ADAPTER_KIND_TRAINED
            )
        return SubjectAdapter(
            subject_tag=subject_tag, count=len(self.codes), code_sum=self.codes.sum(axis=0, dtype=np.int64).tolist()
        )

    def to_bytes(self) -> bytes:
        """Return hashes, codes and what was trained as bytes (little-endian)."""
        trained = b"" if self.trained is None else self.trained.astype("<i4").tobytes()
        header = _HEADER.pack(*self.codes.shape)
        return header + b"".join(self.hashes) + self.codes.astype("<i4").tobytes() + trained

    @classmethod
    def from_bytes(cls, content: bytes) -> CapturedSamples:
        """Read what `to_bytes` wrote."""
        samples, width = _HEADER.unpack_from(content)
        start = _HEADER.size + samples * _HASH_BYTES
        hashes = tuple(content[at : at + _HASH_BYTES] for at in range(_HEADER.size, start, _HASH_BYTES))
        numbers = np.frombuffer(content, dtype="<i4", offset=start).astype(np.int32)
        codes, trained = numbers[: samples * width], numbers[samples * width :]
        return cls(hashes, codes.reshape(samples, width), trained if len(trained) else None)


@dataclass(frozen=True)
class RecordCipher:
    """Cipher that seals and opens the personal rows of a node's journal."""

    node_id: str
    subject_keys: KeyStore
    revision_keys: KeyStore
    draw: Callable[[int], bytes] = os.urandom

    @classmethod
    def of(cls, folder: StateFolder, node_id: str) -> RecordCipher:
        """Return the cipher of a node's state folder."""
        return cls(node_id, FileKeyStore(folder.subject_keys), FileKeyStore(folder.revision_keys))

    @classmethod
    def in_memory(cls, node_id: str) -> RecordCipher:
        """Return a cipher that has no keys yet, and keeps none on disk."""
        return cls(node_id, MemoryKeyStore(), MemoryKeyStore())

    def seal_samples(self, subject_tag: str, samples: CapturedSamples) -> bytes:
        """Encrypt a person's codes under the key of their tag, made now if there is none."""
        return self._seal(self.subject_keys, _SAMPLES, subject_tag, samples.to_bytes())

    def open_samples(self, row: EnrolmentRow) -> CapturedSamples:
        """Decrypt a person's codes.

        `KeyFileError` if their key has been destroyed, `JournalError` if the ciphertext is damaged.
        """
        return CapturedSamples.from_bytes(self._open(self.subject_keys, _SAMPLES, row.subject_tag, row.ciphertext))

    def seal_revision(self, key_id: str, content: RevisionContent) -> bytes:
        """Encrypt a revision's content under a key of its own."""
        return self._seal(self.revision_keys, "revision", key_id, content.SerializeToString(deterministic=True))

    def open_revision(self, row: RevisionRow) -> RevisionContent:
        """Decrypt a stored revision; raises like `open_samples`."""
        return RevisionContent.FromString(self._open(self.revision_keys, "revision", row.key_id, row.ciphertext))

    def _seal(self, keys: KeyStore, kind: str, key_id: str, content: bytes) -> bytes:
        key, purpose = keys.get_or_create(key_id), self._purpose(kind, key_id)
        return sealing.seal_symmetric(key, purpose, content, self.draw)

    def _open(self, keys: KeyStore, kind: str, key_id: str, ciphertext: bytes) -> bytes:
        try:
            return sealing.open_symmetric(keys.get(key_id), self._purpose(kind, key_id), ciphertext)
        except sealing.SealError as error:
            raise JournalError(f"a sealed row of the journal is damaged: {error}") from error

    def _purpose(self, kind: str, key_id: str) -> str:
        return f"reram-fleet/node-{kind}/{self.node_id}/{key_id}"
