"""Rounds of a cohort name their nodes alone: what these compute with decides nothing any more (ADR 34)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_COMMENT = "ids of who answered"
_EARLIER_COMMENT = "who answered: node id to hash of its environment"


def upgrade() -> None:
    """Keep the names of nodes, sorted, and leave out the hash beside each."""
    rounds = sa.table(
        "cohort_round", sa.column("shard", sa.Integer), sa.column("round", sa.Integer), sa.column("nodes", sa.JSON)
    )
    jobs = sa.table("cohort_job", sa.column("job_id", sa.String), sa.column("log", sa.JSON))
    connection = op.get_bind()
    for row in connection.execute(sa.select(rounds)).all():
        found = sa.update(rounds).where(rounds.c.shard == row.shard, rounds.c.round == row.round)
        connection.execute(found.values(nodes=sorted(row.nodes)))
    for row in connection.execute(sa.select(jobs)).all():
        log = [_named(entry) for entry in row.log]
        connection.execute(sa.update(jobs).where(jobs.c.job_id == row.job_id).values(log=log))
    if connection.dialect.name == "postgresql":
        op.alter_column(
            "cohort_round", "nodes", comment=_COMMENT, existing_comment=_EARLIER_COMMENT, existing_type=sa.JSON()
        )


def _named(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "nodes": sorted(entry["nodes"])}
