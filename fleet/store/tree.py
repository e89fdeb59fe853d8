"""Leaves of the Merkle log. Log entries, receipts and audit events are typed leaves of this one tree."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select

from fleet.errors import NotFoundError
from fleet.store import schema
from fleet.store.rows import TreeLeafRow
from fleet.trust import merkle


class Tree:
    """Append-only; roots and proofs are those of RFC 6962 over all leaves."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, kind: str, data: bytes) -> TreeLeafRow:
        """Append what `fleet.trust.leaves.leaf_data` made; a leaf that is here already is returned."""
        leaf_hash = merkle.leaf_hash(data)
        existing = self.find(leaf_hash)
        if existing is not None:
            return existing
        row = TreeLeafRow(self.size(), kind, leaf_hash, data)
        self._connection.execute(
            insert(schema.tree_leaf).values(leaf_index=row.leaf_index, kind=row.kind, hash=row.hash, data=row.data)
        )
        return row

    def size(self) -> int:
        """Return the number of leaves."""
        return self._connection.execute(select(func.count()).select_from(schema.tree_leaf)).scalar_one()

    def hashes(self, size: int | None = None) -> list[bytes]:
        """Return the hashes of the first `size` leaves, or of all."""
        table = schema.tree_leaf
        query = select(table.c.hash).order_by(table.c.leaf_index)
        if size is not None:
            query = query.where(table.c.leaf_index < size)
        return list(self._connection.execute(query).scalars())

    def root(self, size: int | None = None) -> bytes:
        """Return the root hash (32 bytes) of the first `size` leaves, or of all."""
        return merkle.root_hash(self.hashes(size))

    def find(self, leaf_hash: bytes) -> TreeLeafRow | None:
        """Return the leaf with this hash, or None."""
        query = select(schema.tree_leaf).where(schema.tree_leaf.c.hash == leaf_hash)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else TreeLeafRow(**row)

    def inclusion_proof(self, leaf_hash: bytes) -> merkle.InclusionProof:
        """Return the proof that a leaf is in the tree as it is now; `NotFoundError` if it is not."""
        leaf = self.find(leaf_hash)
        if leaf is None:
            raise NotFoundError(f"no leaf {leaf_hash.hex()[:16]} in the log")
        return merkle.prove_inclusion(self.hashes(), leaf.leaf_index)

    def consistency_proof(self, old_size: int) -> tuple[bytes, ...]:
        """Return the proof that the tree as it is now only appended to its first `old_size` leaves."""
        return merkle.prove_consistency(self.hashes(), old_size)
