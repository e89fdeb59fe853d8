"""Merkle tree hashes and proofs: RFC 6962, section 2.1, as small pure functions.

Hashes are SHA-256, 32 bytes. Verification follows RFC 9162, sections 2.1.3.2 and 2.1.4.2 (the same tree, with the
algorithms written out).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


def _split(size: int) -> int:
    # The largest power of two below size.
    return 1 << ((size - 1).bit_length() - 1)


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    if not leaves:
        return EMPTY_ROOT
    # Stack of (hash, height) of complete subtrees: linear, where slicing at each level would copy.
    stack: list[tuple[bytes, int]] = []
    for leaf in leaves:
        current, height = leaf, 0
        while stack and stack[-1][1] == height:
            current, height = node_hash(stack.pop()[0], current), height + 1
        stack.append((current, height))
    root = stack.pop()[0]
    while stack:
        root = node_hash(stack.pop()[0], root)
    return root


def prove_inclusion(leaves: Sequence[bytes], leaf_index: int) -> InclusionProof:
    """Return the proof that the leaf at `leaf_index` is in the tree over these leaf hashes.

    `InvalidInputError` if there is no such leaf.
    """
    if not 0 <= leaf_index < len(leaves):
        raise InvalidInputError(f"no leaf {leaf_index} in a tree of {len(leaves)}")
    path: list[bytes] = []
    index, part = leaf_index, leaves
    while len(part) > 1:
        middle = _split(len(part))
        if index < middle:
            path.append(root_hash(part[middle:]))
            part = part[:middle]
        else:
            path.append(root_hash(part[:middle]))
            index, part = index - middle, part[middle:]
    return InclusionProof(leaf_index, len(leaves), tuple(reversed(path)))


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


def prove_consistency(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Return the proof that the tree over these leaf hashes appends to its first `old_size` leaves.

    Empty for the empty tree and for the tree itself. `InvalidInputError` if there are fewer than `old_size` leaves.
    """
    if not 0 <= old_size <= len(leaves):
        raise InvalidInputError(f"a tree of {len(leaves)} never had {old_size} leaves")
    if old_size in (0, len(leaves)):
        return ()
    path: list[bytes] = []
    size, part = old_size, leaves
    # RFC 6962, 2.1.2: the old root itself is left out as long as it is a complete subtree of the new tree.
    complete = True
    while size != len(part):
        middle = _split(len(part))
        if size <= middle:
            path.append(root_hash(part[middle:]))
            part = part[:middle]
        else:
            path.append(root_hash(part[:middle]))
            size, part, complete = size - middle, part[middle:], False
    if not complete:
        path.append(root_hash(part))
    return tuple(reversed(path))


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
