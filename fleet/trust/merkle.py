"""Merkle tree hashes and proofs: RFC 6962, section 2.1, over a tree whose complete subtrees are kept.

Hashes are SHA-256, 32 bytes. Verification follows RFC 9162, sections 2.1.3.2 and 2.1.4.2 (the same tree, with the
algorithms written out).
"""

from __future__ import annotations

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from fleet.errors import InvalidInputError, ProofError

#: Root of a tree without leaves.
EMPTY_ROOT = hashlib.sha256(b"").digest()


@dataclass(frozen=True)
class InclusionProof:
    """Path from the leaf at `leaf_index` to the root of a tree of `tree_size` leaves, lowest hash first."""

    leaf_index: int
    tree_size: int
    path: tuple[bytes, ...]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf. The prefix keeps leaves and inner nodes apart."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Subtree:
    """Complete subtree: its level (0: a leaf), and its place among those of that level, from the left."""

    level: int
    place: int

    @property
    def position(self) -> int:
        """Number of its root when all nodes of the tree are numbered from left to right (RFC 9420, appendix C)."""
        return (self.place << (self.level + 1)) + (1 << self.level) - 1


def complete_subtrees(start: int, stop: int) -> Iterator[Subtree]:
    """Yield the largest complete subtrees that the leaves from `start` to before `stop` consist of, from the left."""
    while start < stop:
        level = (stop - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield Subtree(level, start >> level)
        start += 1 << level


class MerkleTree(ABC):
    """Tree of which the hashes of complete subtrees are at hand: roots and proofs read about twice its height."""

    @abstractmethod
    def size(self) -> int:
        """Return the number of leaves."""

    @abstractmethod
    def subtree_hashes(self, subtrees: Collection[Subtree]) -> Mapping[Subtree, bytes]:
        """Return the hashes of complete subtrees."""

    def root(self, size: int | None = None) -> bytes:
        """Return the root hash (32 bytes) of the first `size` leaves, or of all."""
        size = self.size() if size is None else size
        return self._roots([(0, size)])[0] if size else EMPTY_ROOT

    def prove_inclusion(self, leaf_index: int, size: int | None = None) -> InclusionProof:
        """Return the proof that a leaf is among the first `size`, or in the whole tree."""
        return self.prove_inclusions([leaf_index], size)[0]

    def prove_inclusions(self, leaf_indices: Sequence[int], size: int | None = None) -> list[InclusionProof]:
        """Return the same of several leaves; `InvalidInputError` if there is no such leaf."""
        size = self.size() if size is None else size
        beside = [_beside(leaf_index, size) for leaf_index in leaf_indices]
        hashes = iter(self._roots([leaves for ranges in beside for leaves in ranges]))
        return [
            InclusionProof(leaf_index, size, tuple(itertools.islice(hashes, len(ranges))))
            for leaf_index, ranges in zip(leaf_indices, beside, strict=True)
        ]

    def prove_consistency(self, old_size: int) -> tuple[bytes, ...]:
        """Return the proof that the tree only appended to its first `old_size` leaves.

        Empty for the empty tree and for the tree itself. `InvalidInputError` if there are fewer than `old_size` leaves.
        """
        size = self.size()
        if not 0 <= old_size <= size:
            raise InvalidInputError(f"a tree of {size} never had {old_size} leaves")
        if old_size in (0, size):
            return ()
        *_, last = complete_subtrees(0, old_size)
        start = last.place << last.level
        # RFC 6962, 2.1.2: the old root itself is left out if it is a complete subtree of the new tree.
        own = [(start, old_size)] if start else []
        return tuple(self._roots([*own, *_beside(start, size, last.level)]))

    def _roots(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the root over each range of leaves."""
        parts = [list(complete_subtrees(*leaves)) for leaves in ranges]
        hashes = self.subtree_hashes({subtree for part in parts for subtree in part})
        return [reduce(lambda right, left: node_hash(left, right), (hashes[s] for s in reversed(p))) for p in parts]


def _beside(leaf_index: int, size: int, level: int = 0) -> list[tuple[int, int]]:
    """Return the ranges of leaves beside the way up from the complete subtree at a leaf, the lowest first."""
    if not 0 <= leaf_index < size:
        raise InvalidInputError(f"no leaf {leaf_index} in a tree of {size}")
    ranges = []
    start, stop = 0, size
    while stop - start > 1 << level:
        middle = start + (1 << ((stop - start - 1).bit_length() - 1))
        if leaf_index < middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


class MemoryTree(MerkleTree):
    """Tree over leaf hashes in memory."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = [leaves]
        while len(below := self._levels[-1]) > 1:
            self._levels.append([node_hash(*pair) for pair in zip(below[::2], below[1::2], strict=False)])

    def size(self) -> int:
        """Return the number of leaves."""
        return len(self._levels[0])

    def subtree_hashes(self, subtrees: Collection[Subtree]) -> Mapping[Subtree, bytes]:
        """Return the hashes of complete subtrees."""
        return {subtree: self._levels[subtree.level][subtree.place] for subtree in subtrees}


def verify_inclusion(proof: InclusionProof, leaf: bytes, root: bytes) -> None:
    """Check that a leaf hash is in the tree with this root; `ProofError` with what was expected and what was found."""
    index, last = proof.leaf_index, proof.tree_size - 1
    if not 0 <= index <= last:
        raise ProofError(f"a tree of {proof.tree_size} has no leaf {index}")
    current = leaf
    for sibling, is_left in _siblings(index, last, proof.path, "inclusion proof"):
        current = node_hash(sibling, current) if is_left else node_hash(current, sibling)
    if current != root:
        raise ProofError(f"inclusion proof leads to root {current.hex()}, expected {root.hex()}")


def _siblings(index: int, last: int, path: Sequence[bytes], what: str) -> Iterator[tuple[bytes, bool]]:
    """Yield each hash of a path from leaf `index` of `last` + 1 up, and whether it stands to the left."""
    for step, sibling in enumerate(path):
        if last == 0:
            raise ProofError(f"{what} is too long: {len(path)} hashes, expected {step}")
        is_left = bool(index & 1) or index == last
        yield sibling, is_left
        while is_left and not index & 1 and index:
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1
    if last != 0:
        raise ProofError(f"{what} is too short: {len(path)} hashes")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the new tree only appended to the old one; `ProofError` with what was expected and what was found."""
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a tree cannot shrink from {old_size} to {new_size} leaves")
    if old_size in (0, new_size):
        if proof:
            raise ProofError(f"consistency proof is too long: {len(proof)} hashes, expected 0")
        expected = EMPTY_ROOT if old_size == 0 else new_root
        if old_root != expected:
            raise ProofError(f"old root is {old_root.hex()}, expected {expected.hex()}")
        return
    hashes = list(proof)
    if old_size & (old_size - 1) == 0:
        # The old tree is a complete subtree of the new one: its root is the first hash.
        hashes.insert(0, old_root)
    if not hashes:
        raise ProofError("consistency proof is empty")
    index, last = old_size - 1, new_size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    old = new = hashes[0]
    for sibling, is_left in _siblings(index, last, hashes[1:], "consistency proof"):
        old = node_hash(sibling, old) if is_left else old
        new = node_hash(sibling, new) if is_left else node_hash(new, sibling)
    if old != old_root:
        raise ProofError(f"consistency proof leads to old root {old.hex()}, expected {old_root.hex()}")
    if new != new_root:
        raise ProofError(f"consistency proof leads to new root {new.hex()}, expected {new_root.hex()}")
