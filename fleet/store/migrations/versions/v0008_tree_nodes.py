"""The Merkle tree keeps the roots of its complete subtrees: no root and no proof reads all leaves."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

#: Rows that are written with one statement.
_AT_ONCE = 1000


def upgrade() -> None:
    """Make the table, and fill it from the leaves there are."""
    table = op.create_table(
        "tree_node",
        sa.Column(
            "position",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="odd: of a complete inner node",
        ),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="RFC 6962 hash of its two halves"),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_tree_node")),
    )
    level = 0
    row: list[bytes] = list(op.get_bind().execute(sa.text(_LEAVES)).scalars())
    while len(row) > 1:
        level += 1
        pairs = zip(row[::2], row[1::2], strict=False)
        row = [hashlib.sha256(b"".join((b"\x01", *pair))).digest() for pair in pairs]
        nodes = [
            {"position": (place << (level + 1)) + (1 << level) - 1, "hash": found} for place, found in enumerate(row)
        ]
        for start in range(0, len(nodes), _AT_ONCE):
            op.get_bind().execute(sa.insert(table), nodes[start : start + _AT_ONCE])


_LEAVES = "SELECT hash FROM tree_leaf ORDER BY leaf_index"
