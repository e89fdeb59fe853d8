"""Adapters that many banks hold alike, each of which is one object."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import torch
from google.protobuf.message import Message
from reram_fleet.crypto.digests import subject_digest
from reram_fleet.v1.types_pb2 import ClosedFormHead, SharedLora, SubjectAdapter
from reram_fleet.wire.shared_lora import row_width
from torch import Tensor

from edge_node.recognition.head import HeadAdapter
from edge_node.recognition.training.factors import Factors

M = TypeVar("M", bound=Message)
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Held(Generic[M]):
    """A message that nobody changes; whoever asks gets a copy."""

    message: M

    def copy(self) -> M:
        """Return a message of the caller's own."""
        return _copied(self.message)


class HeldSubject(Held[SubjectAdapter]):
    """Adapter of one person."""

    @cached_property
    def sums(self) -> Tensor:
        """Integer sums, int64 [F]."""
        return torch.tensor(list(self.message.code_sum), dtype=torch.int64)

    @cached_property
    def digest(self) -> bytes:
        """Digest as receipts and revisions have it."""
        return subject_digest(self.message)


class HeldLora(Held[SharedLora]):
    """Learnt codes of many people."""

    @cached_property
    def _branches(self) -> Tensor:
        # Without neurons all rows read one branch of nothing.
        shape, count = self.message.shape, max(1, len(self.message.branches))
        codes = torch.tensor([list(branch.codes) for branch in self.message.branches], dtype=torch.float64)
        return codes.reshape(count, shape.neurons, shape.rank) * 2.0**-shape.scale_bits

    @cached_property
    def _rows(self) -> dict[str, tuple[int, list[int]]]:
        return {row.subject_tag: (row.branch, list(row.codes)) for row in self.message.rows}

    def parts(self, tags: Sequence[str]) -> list[tuple[list[int], Factors]]:
        """Return the factors of each branch, of one node, and which of some people have a row that reads it."""
        shape, found = self.message.shape, list[tuple[list[int], Factors]]()
        for index in range(len(self._branches)):
            who = [k for k, tag in enumerate(tags) if self._rows.get(tag, (-1, []))[0] == index]
            codes = [self._rows[tags[k]][1] for k in who]
            rows = torch.tensor(codes, dtype=torch.float64).reshape(1, -1, row_width(shape)) * 2.0**-shape.scale_bits
            found.append((who, Factors(self._branches[index : index + 1], rows)))
        return found


class AdapterPool:
    """Adapters of the nodes of one engine. It holds none itself: what the last bank drops is gone from memory.

    A fleet's nodes have the same revision, so what they hold takes as much memory as on one of them.
    """

    def __init__(self) -> None:
        self._held: WeakValueDictionary[bytes, object] = WeakValueDictionary()

    def __len__(self) -> int:
        """Return how many adapters banks hold now, equal ones counted once."""
        return len(self._held)

    def subject(self, adapter: SubjectAdapter) -> HeldSubject:
        """Return the one adapter that is equal to this."""
        return self._one(_key("subject", _bytes(adapter)), lambda: HeldSubject(_copied(adapter)))

    def lora(self, lora: SharedLora) -> HeldLora:
        """Return the one LoRA that is equal to this."""
        return self._one(_key("lora", _bytes(lora)), lambda: HeldLora(_copied(lora)))

    def head(self, head: ClosedFormHead, features: int) -> HeadAdapter:
        """Return the one head that is equal to this; `AdapterError` as `HeadAdapter.of_message`."""
        key = _key("head", features.to_bytes(8, "little"), _bytes(head))
        return self._one(key, lambda: HeadAdapter.of_message(head, features=features))

    def head_without(self, head: HeadAdapter, tags: Collection[str]) -> HeadAdapter:
        """Return the one head without these people's columns."""
        gone = sorted(set(tags) & set(head.tags))
        if not gone:
            return head
        return self._one(_key("head without", head.digest, *map(str.encode, gone)), lambda: head.without(gone))

    def __getstate__(self) -> dict[bytes, object]:
        # Weak references have no copy: checkpoints of a simulation have what they refer to.
        return dict(self._held)

    def __setstate__(self, held: dict[bytes, object]) -> None:
        self._held = WeakValueDictionary(held)

    def _one(self, key: bytes, make: Callable[[], T]) -> T:
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = make()
        return held  # type: ignore[return-value]  # A key has its kind in it.


def _key(kind: str, *parts: bytes) -> bytes:
    # Digests, so that no key holds anything of a person.
    sha = hashlib.sha256(kind.encode() + b"\0")
    for part in parts:
        sha.update(len(part).to_bytes(8, "little") + part)
    return sha.digest()


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _copied(message: M) -> M:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied
