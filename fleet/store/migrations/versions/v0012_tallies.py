"""Counts over a fleet's life, and what nodes say of their chips, for metrics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the table, and the column; what was before is not counted."""
    op.create_table(
        "tally",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=32), nullable=False, comment="a closed enumeration, by name"),
        sa.Column("value", sa.Double(), nullable=False, comment="since the fleet was made"),
        sa.PrimaryKeyConstraint("name", "label", name=op.f("pk_tally")),
        sqlite_with_rowid=False,
    )
    chip = sa.Column("chip", sa.LargeBinary(), nullable=True, comment="reram_fleet.v1.ChipFigures of its last hello")
    op.add_column("node", chip)
