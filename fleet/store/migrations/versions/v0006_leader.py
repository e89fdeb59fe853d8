"""One coordinator leads, whose key the database knows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply."""
    leader = op.create_table(
        "leader",
        sa.Column(
            "epoch",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="of the coordinator that may write",
        ),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_leader")),
    )
    op.bulk_insert(leader, [{"epoch": 0, "holder": "", "since_ms": 0}])
    op.add_column(
        "fleet",
        sa.Column(
            "command_public_key",
            sa.LargeBinary(),
            nullable=True,
            comment="raw Ed25519: the coordinator's; then fixed",
        ),
    )
