"""Leases are granted out of blocks that were reserved; executions are found by their state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make room for the time that no lease outlives, and an index."""
    comment = "no lease that was granted outlives it"
    op.add_column("fleet", sa.Column("lease_horizon_ms", sa.BigInteger(), nullable=True, comment=comment))
    op.create_index(op.f("ix_execution_state"), "execution", ["state"])
