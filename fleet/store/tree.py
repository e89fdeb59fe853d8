"""Leaves of the Merkle log. Log entries, receipts and audit events are typed leaves of this one tree."""

from __future__ import annotations

from sqlalchemy import func, select

from fleet.errors import NotFoundError
from fleet.store import schema
from fleet.store.repository import Repository
from fleet.store.rows import TreeLeafRow
from fleet.trust import merkle


class Tree(Repository):
    """Append-only; roots and proofs are those of RFC 6962 over all leaves."""

    def append(self, kind: str, data: bytes, *, new: bool = False) -> TreeLeafRow:
        """Append what `fleet.trust.leaves.leaf_data` made; a leaf that is here already is returned, unless it is new.

        `new` says that the caller has looked.
        """
        leaf_hash = merkle.leaf_hash(data)
        if not new and (existing := self.find(leaf_hash)) is not None:
            return existing
        row = TreeLeafRow(self.size(), kind, leaf_hash, data)
        self._insert(schema.tree_leaf, **vars(row))
        self._once(schema.tree_leaf, "size", lambda: row.leaf_index + 1)
        return row

    def size(self) -> int:
        """Return the number of leaves."""
        # Not a count: that reads them all.
        last = select(func.max(schema.tree_leaf.c.leaf_index))

        def read() -> int:
            found = self._run(last).scalar()
            return 0 if found is None else int(found) + 1

        return self._once(schema.tree_leaf, "size", read)

    def hashes(self, size: int | None = None) -> list[bytes]:
        """Return the hashes of the first `size` leaves, or of all."""
        table = schema.tree_leaf
        query = select(table.c.hash).order_by(table.c.leaf_index)
        return self._column(query if size is None else query.where(table.c.leaf_index < size))

    def root(self, size: int | None = None) -> bytes:
        """Return the root hash (32 bytes) of the first `size` leaves, or of all."""
        return merkle.root_hash(self.hashes(size))

    def find(self, leaf_hash: bytes) -> TreeLeafRow | None:
        """Return the leaf with this hash, or None."""
        return self._row(TreeLeafRow, select(schema.tree_leaf).where(schema.tree_leaf.c.hash == leaf_hash))

    def inclusion_proof(self, leaf_hash: bytes) -> merkle.InclusionProof:
        """Return the proof that a leaf is in the tree as it is now; `NotFoundError` if it is not."""
        leaf = self.find(leaf_hash)
        if leaf is None:
            raise NotFoundError(f"no leaf {leaf_hash.hex()[:16]} in the log")
        return merkle.prove_inclusion(self.hashes(), leaf.leaf_index)

    def consistency_proof(self, old_size: int) -> tuple[bytes, ...]:
        """Return the proof that the tree as it is now only appended to its first `old_size` leaves."""
        return merkle.prove_consistency(self.hashes(), old_size)
