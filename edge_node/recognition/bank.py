"""Bank of the adapters that are active on one node: what is in its SRAM."""

from __future__ import annotations

from collections.abc import Collection

import torch
from reram_fleet.crypto.digests import subject_digest
from reram_fleet.v1.types_pb2 import AdapterDigest, ClosedFormHead, LoraShape, SharedLora, SubjectAdapter
from reram_fleet.wire.shared_lora import code_count, shape_defect, without
from torch import Tensor

from edge_node.errors import AdapterError
from edge_node.recognition.adapter_pool import AdapterPool, HeldLora, HeldSubject
from edge_node.recognition.head import HeadAdapter
from edge_node.recognition.lora.stage import LAWS, Stage
from edge_node.recognition.training.factors import Factors

#: SRAM bytes of one feature of a subject's mean.
BYTES_PER_FEATURE = 4

_MAX_RANK = 256
_MAX_SCALE_BITS = 30
_MAX_NEURONS, _MAX_SEGMENTS = 1024, 64


class AdapterBank:
    """Subject adapters, shared LoRA and head of one node, of so many feature codes per sample.

    Rows are in order of tag: history leaves no trace. Banks that share a pool share what is equal in them.
    """

    def __init__(self, features: int, pool: AdapterPool) -> None:
        self.features, self._pool = features, pool
        self._subjects: dict[str, HeldSubject] = {}
        self._lora: HeldLora | None = None
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

        `AdapterError` if its shape does not fit this engine, or its rows and branches do not fit the shape.
        """
        if lora is None:
            self._lora = None
            return
        check_shape(lora.shape, self.features)
        if defect := shape_defect(lora):
            raise AdapterError(f"the LoRA cannot be installed: {defect}")
        self._lora = self._pool.lora(lora) if lora.rows else None

    def set_head(self, head: ClosedFormHead | None) -> None:
        """Install a closed-form head, or remove it with None; `AdapterError` if it does not fit."""
        self.head = None if head is None else self._pool.head(head, self.features)

    def drop(self, tags: Collection[str]) -> tuple[int, int, int]:
        """Remove subjects, their LoRA rows and head columns; return how many adapters, LoRA codes and columns went.

        A branch that no row reads any more goes too.
        """
        gone = [tag for tag in self._subjects if tag in set(tags)]
        for tag in gone:
            del self._subjects[tag]
        codes = 0
        if self._lora is not None and any(row.subject_tag in set(tags) for row in self._lora.message.rows):
            left = without(self._lora.message, tags)
            codes = code_count(self._lora.message) - code_count(left)
            self._lora = self._pool.lora(left) if left.rows else None
        columns = 0
        if self.head is not None:
            head = self._pool.head_without(self.head, tags)
            columns = len(self.head.tags) - len(head.tags)
            self.head = head if head.tags else None
        return len(gone), codes, columns

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

    def lora_parts(self) -> list[tuple[list[int], Factors]]:
        """Return what is learnt branch by branch: which of `tags` read it, and their factors, of one node."""
        if self._lora is None:
            raise AdapterError("there is no shared LoRA on this node")
        return self._lora.parts(self.tags)


def check_shape(shape: LoraShape, features: int) -> None:
    """Refuse a LoRA shape that this engine cannot compute.

    `AdapterError` if features differ, or rank, alpha, scale or stage are out of range.
    """
    if shape.features != features:
        raise AdapterError(f"the LoRA has {shape.features} features, this engine {features}")
    if not (1 <= shape.rank <= _MAX_RANK and shape.scale_bits <= _MAX_SCALE_BITS and shape.alpha > 0):
        raise AdapterError(
            f"the LoRA's rank {shape.rank}, alpha {shape.alpha} or scale_bits {shape.scale_bits} is out of "
            f"range: 1 to {_MAX_RANK}, above 0, 0 to {_MAX_SCALE_BITS}"
        )
    if not shape.neurons:
        return
    if not (shape.neurons <= _MAX_NEURONS and shape.segments <= _MAX_SEGMENTS) or shape.law not in LAWS:
        raise AdapterError(
            f"the LoRA's stage has {shape.neurons} neurons, {shape.segments} segments and law {shape.law}: expected up "
            f"to {_MAX_NEURONS}, up to {_MAX_SEGMENTS} and a law that this engine knows"
        )
    if (codes := Stage.of(shape).features) != features:
        raise AdapterError(f"a sample of the LoRA's stage has {codes} codes, this engine {features}")
