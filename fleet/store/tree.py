"""Leaves of the Merkle log. Log entries, receipts and audit events are typed leaves of this one tree."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from sqlalchemy import func, select

from fleet.errors import NotFoundError
from fleet.store import schema
from fleet.store.repository import Repository, given, one_of
from fleet.store.rows import TreeLeafRow
from fleet.trust.merkle import InclusionProof, MerkleTree, Subtree, complete_subtrees, leaf_hash, node_hash

_LEAVES_AT_ONCE = 10_000


_LEAF, _INNER = schema.tree_leaf.c, schema.tree_node.c
_LEAVES = select(_LEAF.leaf_index, _LEAF.hash).where(one_of(_LEAF.leaf_index))
_INNER_NODES = select(_INNER.position, _INNER.hash).where(one_of(_INNER.position))
_LAST_LEAF = select(func.max(_LEAF.leaf_index))
_OF_HASH = select(schema.tree_leaf).where(given(_LEAF.hash))


class Tree(Repository, MerkleTree):
    """Append-only; the root of every complete subtree is kept, so that no root and no proof reads all leaves."""

    def append(self, kind: str, data: bytes, *, new: bool = False) -> TreeLeafRow:
        """Append what `fleet.trust.leaves.leaf_data` made; a leaf that is here already is returned, unless it is new.

        `new` says that the caller has looked.
        """
        found = leaf_hash(data)
        if not new and (existing := self.find(found)) is not None:
            return existing
        size, edge = self.size(), self._edge()
        row = TreeLeafRow(size, kind, found, data)
        self._insert(schema.tree_leaf, **vars(row))
        level = 0
        # What ends here is complete with its neighbour to the left, and so on upwards.
        while size >> level & 1:
            found, level = node_hash(edge.pop(level), found), level + 1
            self._insert(schema.tree_node, position=Subtree(level, size >> level).position, hash=found)
        edge[level] = found
        self._once(schema.tree_leaf, "size", lambda: size + 1)
        self._once(schema.tree_leaf, "edge", lambda: edge)
        return row

    def size(self) -> int:
        """Return the number of leaves."""

        def read() -> int:
            # Not a count: that reads them all.
            found = self._run(_LAST_LEAF).scalar()
            return 0 if found is None else int(found) + 1

        return self._once(schema.tree_leaf, "size", read)

    def _edge(self) -> dict[int, bytes]:
        """Return the hashes of the subtrees that make up the tree, by level: at most one of each."""

        def read() -> dict[int, bytes]:
            now = list(complete_subtrees(0, self.size()))
            return {subtree.level: digest for subtree, digest in self.subtree_hashes(now).items()}

        return self._once(schema.tree_leaf, "edge", read)

    def subtree_hashes(self, subtrees: Collection[Subtree]) -> Mapping[Subtree, bytes]:
        """Return the hashes of complete subtrees."""
        leaves = {subtree.place: subtree for subtree in subtrees if not subtree.level}
        inner = {subtree.position: subtree for subtree in subtrees if subtree.level}
        found: dict[Subtree, bytes] = {}
        if leaves:
            rows = self._run(_LEAVES, {"leaf_index": list(leaves)})
            found |= {leaves[row.leaf_index]: row.hash for row in rows}
        if inner:
            rows = self._run(_INNER_NODES, {"position": list(inner)})
            found |= {inner[row.position]: row.hash for row in rows}
        return found

    def find(self, leaf_hash: bytes) -> TreeLeafRow | None:
        """Return the leaf with this hash, or None."""
        return self._row(TreeLeafRow, _OF_HASH, hash=leaf_hash)

    def leaves(self) -> Iterator[TreeLeafRow]:
        """Yield all leaves, in order; they may be a million, so they are not read at once."""
        query = select(schema.tree_leaf).order_by(schema.tree_leaf.c.leaf_index)
        for row in self._run(query.execution_options(yield_per=_LEAVES_AT_ONCE)).mappings():
            yield TreeLeafRow(**row)

    def inclusion_proofs(self, leaf_hashes: Sequence[bytes], size: int | None = None) -> list[InclusionProof]:
        """Return the proofs that leaves are in the tree as it is now, or as it was with its first `size` leaves.

        `NotFoundError` if one of them is not.
        """
        size, leaf = self.size() if size is None else size, schema.tree_leaf.c
        rows = self._run(select(leaf.hash, leaf.leaf_index).where(leaf.hash.in_(leaf_hashes), leaf.leaf_index < size))
        indices = {row.hash: row.leaf_index for row in rows}
        for each in leaf_hashes:
            if each not in indices:
                raise NotFoundError(f"no leaf {each.hex()[:16]} among the first {size} of the log")
        return self.prove_inclusions([indices[each] for each in leaf_hashes], size)
