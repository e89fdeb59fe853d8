"""States of a cohort shard before a round are checkpoints: in SISA, a slice is data. Clips are samples."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table anew, whose constraints carry its name."""
    op.create_table(
        "cohort_checkpoint",
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False, comment="state before it"),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False, comment="SharedLora under the key file key_id"),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["shard"], ["cohort_shard.shard"], name=op.f("fk_cohort_checkpoint_shard_cohort_shard")
        ),
        sa.PrimaryKeyConstraint("shard", "round", name=op.f("pk_cohort_checkpoint")),
        sa.UniqueConstraint("key_id", name=op.f("uq_cohort_checkpoint_key_id")),
    )
    op.execute("INSERT INTO cohort_checkpoint SELECT shard, round, ciphertext, key_id FROM cohort_slice")
    op.drop_table("cohort_slice")
    # Verdicts on repairs are read from them, for as long as there are certificates.
    kind = "JSON" if op.get_bind().dialect.name == "postgresql" else "TEXT"
    renamed = f"CAST(replace(CAST(metrics AS TEXT), '_clips', '_samples') AS {kind})"
    op.execute(f"UPDATE learning_job SET metrics = {renamed}")
