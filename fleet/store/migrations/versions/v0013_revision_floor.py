"""A number up to which revisions may have been lost with a restore: a clock that jumped back says too little."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the column, and fill it by the age of a fleet that was restored."""
    comment = "number up to which a restore may have lost revisions"
    op.add_column("fleet", sa.Column("revision_floor", sa.BigInteger(), nullable=True, comment=comment))
    op.execute("UPDATE fleet SET revision_floor = restored_at_ms - created_at_ms WHERE restored_at_ms >= created_at_ms")
