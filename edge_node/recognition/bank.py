"""Bank of the adapters that are active on one node: what is in its SRAM."""

from __future__ import annotations

from collections.abc import Collection

import torch
from reram_fleet.crypto.digests import subject_digest
from reram_fleet.v1.types_pb2 import AdapterDigest, ClosedFormHead, LoraShape, SharedLora, SubjectAdapter
from torch import Tensor

from edge_node.errors import AdapterError
from edge_node.recognition.adapter_pool import AdapterPool, Held, HeldSubject
from edge_node.recognition.head import HeadAdapter

#: SRAM bytes of one feature of a subject's mean, and of one entry of B.
BYTES_PER_FEATURE = 4
BYTES_PER_LORA_CODE = 4

_MAX_RANK = 256
_MAX_SCALE_BITS = 30


class AdapterBank:
    """Subject adapters, shared LoRA and head of one node, of so many feature codes per sample.

    Rows are in order of tag: history leaves no trace. Banks that share a pool share what is equal in them.
    """

    def __init__(self, features: int, pool: AdapterPool) -> None:
        self.features, self._pool = features, pool
        self._subjects: dict[str, HeldSubject] = {}
        self._lora: Held[SharedLora] | None = None
        #: The closed-form head, if one is installed.
        self.head: HeadAdapter | None = None

    def set_subject(self, adapter: SubjectAdapter) -> None:
        """Add or replace one person's adapter.

        `AdapterError` if it has no tag, no samples, another number of features, or sums beyond count x 2^31.
        """
        if not adapter.subject_tag or adapter.count < 1:
            raise AdapterError(f"a subject adapter needs a tag and a count >= 1; got count {adapter.count}")
        if len(adapter.code_sum) != self.features:
            raise AdapterError(
                f"the adapter has {len(adapter.code_sum)} features, this engine {self.features}: "
                "it comes from another task or backbone"
            )
        limit = adapter.count << 31
        if max(map(abs, adapter.code_sum)) > limit:
            raise AdapterError(f"the adapter's code sums exceed {adapter.count} samples of int32 codes")
        self._subjects[adapter.subject_tag] = self._pool.subject(adapter)

    def set_lora(self, lora: SharedLora | None) -> None:
        """Install a shared LoRA, or remove it with None.

        `AdapterError` if its shape does not fit, or a row is missing codes or comes twice.
        """
        if lora is None:
            self._lora = None
            return
        check_shape(lora.shape, self.features)
        tags = [row.subject_tag for row in lora.rows]
        if len(set(tags)) != len(tags):
            raise AdapterError("the shared LoRA names a subject twice")
        if any(len(row.codes) != lora.shape.rank for row in lora.rows):
            raise AdapterError(f"a row of the shared LoRA does not have {lora.shape.rank} codes")
        self._lora = self._pool.lora(lora) if lora.rows else None

    def set_head(self, head: ClosedFormHead | None) -> None:
        """Install a closed-form head, or remove it with None; `AdapterError` if it does not fit."""
        self.head = None if head is None else self._pool.head(head, self.features)

    def drop(self, tags: Collection[str]) -> tuple[int, int, int]:
        """Remove subjects, their LoRA rows and head columns; return how many of each there were."""
        gone = [tag for tag in self._subjects if tag in set(tags)]
        for tag in gone:
            del self._subjects[tag]
        rows = 0
        if self._lora is not None:
            lora = self._lora.message
            kept = [row for row in lora.rows if row.subject_tag not in set(tags)]
            rows = len(lora.rows) - len(kept)
            if rows:
                self._lora = self._pool.lora(SharedLora(shape=lora.shape, rows=kept)) if kept else None
        columns = 0
        if self.head is not None:
            left = self._pool.head_without(self.head, tags)
            columns = len(self.head.tags) - len(left.tags)
            self.head = left if left.tags else None
        return len(gone), rows, columns

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the active subjects, sorted: the row order of everything computed."""
        return tuple(sorted(self._subjects))

    def subjects(self) -> list[SubjectAdapter]:
        """Return copies of the active subject adapters, sorted by tag."""
        return [self._subjects[tag].copy() for tag in self.tags]

    def holds(self, adapter: SubjectAdapter) -> bool:
        """Whether this very adapter is active."""
        held = self._subjects.get(adapter.subject_tag)
        return held is not None and held.message == adapter

    def digest_of(self, adapter: SubjectAdapter) -> bytes:
        """Return the digest of an adapter: known already if it is active."""
        if self.holds(adapter):
            return self._subjects[adapter.subject_tag].digest
        return subject_digest(adapter)

    def digests(self) -> list[AdapterDigest]:
        """Return the digests of the active subject adapters, sorted by tag."""
        return [AdapterDigest(subject_tag=tag, digest=self._subjects[tag].digest) for tag in self.tags]

    def lora(self) -> SharedLora | None:
        """Return a copy of the active LoRA, or None."""
        return None if self._lora is None else self._lora.copy()

    @property
    def lora_shape(self) -> LoraShape | None:
        """Shape of the active LoRA; None if there is none."""
        return self._lora.message.shape if self._lora is not None else None

    def sums(self) -> tuple[Tensor, Tensor]:
        """Return integer sums, int64 [K, F], and counts, int64 [K], in the order of `tags`."""
        ordered = [self._subjects[tag] for tag in self.tags]
        sums = torch.stack([s.sums for s in ordered]) if ordered else torch.zeros(0, self.features, dtype=torch.int64)
        return sums, torch.tensor([s.message.count for s in ordered], dtype=torch.int64)

    def lora_rows(self) -> Tensor:
        """Return B in the order of `tags`, float64 [K, rank]; zero rows for subjects without one."""
        if self._lora is None:
            raise AdapterError("there is no shared LoRA on this node")
        lora = self._lora.message
        shape, rows = lora.shape, {row.subject_tag: list(row.codes) for row in lora.rows}
        codes = [rows.get(tag, [0] * shape.rank) for tag in self.tags]
        return torch.tensor(codes, dtype=torch.float64).reshape(-1, shape.rank) * 2.0**-shape.scale_bits


def check_shape(shape: LoraShape, features: int) -> None:
    """Refuse a LoRA shape that this engine cannot compute.

    `AdapterError` if features differ, or rank, alpha or scale are out of range.
    """
    if shape.features != features:
        raise AdapterError(f"the LoRA has {shape.features} features, this engine {features}")
    if not (1 <= shape.rank <= _MAX_RANK and shape.scale_bits <= _MAX_SCALE_BITS and shape.alpha > 0):
        raise AdapterError(
            f"the LoRA's rank {shape.rank}, alpha {shape.alpha} or scale_bits {shape.scale_bits} is out of "
            f"range: 1 to {_MAX_RANK}, above 0, 0 to {_MAX_SCALE_BITS}"
        )
