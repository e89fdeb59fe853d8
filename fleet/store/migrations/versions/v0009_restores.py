"""A restore is noted, and so is which nodes have not been heard since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_COLUMNS = {
    "fleet": {
        "restored_at_ms": "when the rows went back to a backup the last time",
        "restore_ended_ms": "since when nothing waits for nodes any more",
    },
    "node": {"awaited_since_ms": "since a restore; NULL: it has said where it is"},
}


def upgrade() -> None:
    """Make room for a restore, and for the nodes that are awaited."""
    for table, columns in _COLUMNS.items():
        for name, comment in columns.items():
            op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=True, comment=comment))
