"""Cohort shards, and the kinds of learning jobs that train and replay them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply."""
    _more_kinds()
    op.create_table(
        "cohort_shard",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "replay_from", sa.Integer(), nullable=True, comment="round to replay from; NULL: its rows are installed"
        ),
        sa.Column("replay_job_id", sa.String(length=26), nullable=True, comment="learning job that is at it"),
        sa.Column("audit", sa.JSON(), nullable=False, comment="what the latest re-execution found"),
        sa.CheckConstraint("shard >= 0", name=op.f("ck_cohort_shard_non_negative")),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_cohort_shard")),
    )
    op.create_table(
        "cohort_member",
        sa.Column("tag", sa.String(length=32), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False, comment="round before which they entered"),
        sa.CheckConstraint("entry >= 0", name=op.f("ck_cohort_member_non_negative")),
        sa.ForeignKeyConstraint(["shard"], ["cohort_shard.shard"], name=op.f("fk_cohort_member_shard_cohort_shard")),
        sa.PrimaryKeyConstraint("tag", name=op.f("pk_cohort_member")),
    )
    op.create_index(op.f("ix_cohort_member_shard"), "cohort_member", ["shard"], unique=False)
    op.create_table(
        "cohort_round",
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False, comment="dense: 0, 1, 2, ..."),
        sa.Column("nodes", sa.JSON(), nullable=False, comment="who answered: node id to hash of its environment"),
        sa.Column(
            "inputs", sa.String(length=64), nullable=False, comment="digest of (tag, node, sequence); '' is mixed"
        ),
        sa.Column("rewritten", sa.Boolean(create_constraint=False), nullable=False, comment="by a replay"),
        sa.ForeignKeyConstraint(["shard"], ["cohort_shard.shard"], name=op.f("fk_cohort_round_shard_cohort_shard")),
        sa.PrimaryKeyConstraint("shard", "round", name=op.f("pk_cohort_round")),
    )
    op.create_table(
        "cohort_slice",
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False, comment="state before it"),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False, comment="SharedLora under the key file key_id"),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["shard"], ["cohort_shard.shard"], name=op.f("fk_cohort_slice_shard_cohort_shard")),
        sa.PrimaryKeyConstraint("shard", "round", name=op.f("pk_cohort_slice")),
        sa.UniqueConstraint("key_id", name=op.f("uq_cohort_slice_key_id")),
    )
    op.create_table(
        "cohort_forget",
        sa.Column("campaign_id", sa.String(length=26), nullable=False),
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("from_round", sa.Integer(), nullable=False, comment="the person's entry"),
        sa.Column(
            "outcome", sa.String(length=16), nullable=False, comment="replaying -> replayed | dropped; or emptied"
        ),
        sa.Column("basis", sa.Text(), nullable=False, comment="grounds of the verdict"),
        sa.CheckConstraint(
            "outcome IN ('replaying', 'replayed', 'dropped', 'emptied')", name=op.f("ck_cohort_forget_outcome")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.campaign_id"], name=op.f("fk_cohort_forget_campaign_id_campaign")
        ),
        sa.PrimaryKeyConstraint("campaign_id", "shard", name=op.f("pk_cohort_forget")),
    )
    op.create_table(
        "cohort_job",
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=8), nullable=False),
        sa.Column("first_round", sa.Integer(), nullable=False, comment="of the shard; its first round is this one"),
        sa.Column("min_revision", sa.BigInteger(), nullable=False, comment="that a node needs for its rounds"),
        sa.Column("overtaken", sa.Integer(), nullable=False, comment="attempts that a forget ended"),
        sa.Column("begun_inputs", sa.String(length=64), nullable=False, comment="as its latest round began"),
        sa.Column("log", sa.JSON(), nullable=False, comment="its rounds so far, as cohort_round"),
        sa.CheckConstraint("purpose IN ('train', 'replay', 'audit')", name=op.f("ck_cohort_job_purpose")),
        sa.ForeignKeyConstraint(["job_id"], ["learning_job.job_id"], name=op.f("fk_cohort_job_job_id_learning_job")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_cohort_job")),
    )


def _more_kinds() -> None:
    """Let learning jobs be of the new kinds: SQLite changes a constraint by copying the table."""
    before = sa.Table(
        "learning_job",
        sa.MetaData(),
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("rounds_done", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", sa.String(length=26), nullable=True),
        sa.Column("flower_run_id", sa.String(20), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("sealed_state", sa.LargeBinary(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("forget_tags", sa.JSON(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=True),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("retry_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('train.lora', 'train.unlearn', 'evaluate.quality')", name="ck_learning_job_kind"),
        sa.CheckConstraint("state <> 'failed' OR error <> ''", name="ck_learning_job_failed_has_error"),
        sa.CheckConstraint("state <> 'running' OR attempt >= 1", name="ck_learning_job_running_has_attempt"),
        sa.CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed')", name="ck_learning_job_state"),
        sa.CheckConstraint("rounds >= 1 AND rounds_done >= 0 AND rounds_done <= rounds", name="ck_learning_job_rounds"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.campaign_id"], name="fk_learning_job_campaign_id_campaign"),
        sa.PrimaryKeyConstraint("job_id", name="pk_learning_job"),
        sa.UniqueConstraint("request_id", name="uq_learning_job_request_id"),
        sa.Index("ix_learning_job_state", "state"),
    )
    with op.batch_alter_table("learning_job", copy_from=before) as batch:
        batch.drop_constraint(op.f("ck_learning_job_kind"), type_="check")
        batch.create_check_constraint(
            op.f("ck_learning_job_kind"),
            "kind IN ('train.lora', 'train.unlearn', 'evaluate.quality', 'train.cohort', 'replay.cohort')",
        )
