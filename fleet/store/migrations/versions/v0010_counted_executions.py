"""Executions are counted and not walked: by state, and how often a node went back to a backup or came back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the columns, and fill them from the events."""
    back = "times that the node went back to a backup since the commit"
    op.add_column("execution", sa.Column("went_back", sa.Integer(), nullable=True, comment=back))
    returns = "times that it was taken up again after the node was lost"
    op.add_column("execution", sa.Column("returns", sa.Integer(), nullable=True, comment=returns))
    op.add_column("execution", sa.Column("returned_at_ms", sa.BigInteger(), nullable=True, comment="Unix time in ms"))
    op.drop_index(op.f("ix_execution_state"), "execution")
    op.create_index(op.f("ix_execution_state_campaign_id_node_id"), "execution", ["state", "campaign_id", "node_id"])
    returned = "from_state = 'lost' AND to_state IN ('pending', 'suppressed', 'applying')"
    for column, aggregate, chosen in (
        ("went_back", "count(*)", "to_state = 'pending' AND from_state NOT IN ('pending', 'lost', 'held')"),
        ("returns", "count(*)", returned),
        ("returned_at_ms", "max(at_ms)", returned),
    ):
        mine = "execution_event.campaign_id = execution.campaign_id AND execution_event.node_id = execution.node_id"
        events = f"FROM execution_event WHERE {mine} AND {chosen}"
        op.execute(f"UPDATE execution SET {column} = (SELECT {aggregate} {events}) WHERE EXISTS (SELECT 1 {events})")
