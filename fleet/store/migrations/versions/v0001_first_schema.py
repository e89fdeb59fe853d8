# ruff: noqa: E501 - constraints and comments stand on one line each, as they were generated
"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "fleet",
        sa.Column("fleet_id", sa.String(length=64), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.Column("generation", sa.BigInteger(), nullable=False, comment="newest entry of the forget log"),
        sa.Column("log_head", sa.LargeBinary(), nullable=False, comment="SHA-256 of that entry's payload"),
        sa.Column("desired_revision", sa.BigInteger(), nullable=False, comment="0: none yet"),
        sa.Column("lease_sequence", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "generation >= 0 AND desired_revision >= 0 AND lease_sequence >= 0", name=op.f("ck_fleet_non_negative")
        ),
        sa.PrimaryKeyConstraint("fleet_id", name=op.f("pk_fleet")),
    )
    op.create_table(
        "log_entry",
        sa.Column("generation", sa.BigInteger(), autoincrement=False, nullable=False, comment="dense: 1, 2, 3, ..."),
        sa.Column("campaign_id", sa.String(length=26), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False, comment="reram_fleet.v1.Envelope of the ForgetCommand"),
        sa.CheckConstraint("generation >= 1", name=op.f("ck_log_entry_dense")),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_log_entry")),
        sa.UniqueConstraint("campaign_id", name=op.f("uq_log_entry_campaign_id")),
    )
    op.create_table(
        "node",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("receipt_public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealing_public_key", sa.LargeBinary(), nullable=False),
        sa.Column("flower_public_key", sa.Text(), nullable=False),
        sa.Column("flower_node_id", sa.String(20), nullable=True),
        sa.Column("enrolled_at_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.Column("last_contact_ms", sa.BigInteger(), nullable=True, comment="Unix time in ms"),
        sa.Column("generation", sa.BigInteger(), nullable=False, comment="prefix of the log that it has suppressed"),
        sa.Column("log_head", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("revision_digest", sa.LargeBinary(), nullable=False),
        sa.Column("serve_state", sa.String(length=32), nullable=False, comment="as last reported"),
        sa.Column("quarantine_reason", sa.String(length=32), nullable=False),
        sa.Column("held_reason", sa.Text(), nullable=False, comment="not empty: no leases for this node"),
        sa.Column("receipt_counter", sa.BigInteger(), nullable=False, comment="of its last accepted receipt"),
        sa.Column("last_receipt_hash", sa.LargeBinary(), nullable=False),
        sa.Column("software_version", sa.String(length=64), nullable=False),
        sa.Column("inferences", sa.BigInteger(), nullable=False),
        sa.Column("subject_adapters", sa.Integer(), nullable=False),
        sa.Column(
            "overhead",
            sa.LargeBinary(),
            nullable=True,
            comment="reram_fleet.v1.DeploymentOverhead of the active revision",
        ),
        sa.Column("energy_model_name", sa.String(length=64), nullable=False),
        sa.Column("energy_model_version", sa.String(length=64), nullable=False),
        sa.Column("retired_at_ms", sa.BigInteger(), nullable=True, comment="Unix time in ms"),
        sa.CheckConstraint(
            "quarantine_reason IN ('unspecified', 'no_lease', 'lease_expired', 'behind_generation', 'gap', 'held', 'starting')",
            name=op.f("ck_node_quarantine_reason"),
        ),
        sa.CheckConstraint(
            "serve_state IN ('unspecified', 'serving', 'quarantined')", name=op.f("ck_node_serve_state")
        ),
        sa.CheckConstraint(
            "generation >= 0 AND revision >= 0 AND receipt_counter >= 0 AND inferences >= 0 AND subject_adapters >= 0",
            name=op.f("ck_node_non_negative"),
        ),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_node")),
        sa.UniqueConstraint("receipt_public_key", name=op.f("uq_node_receipt_public_key")),
    )
    op.create_table(
        "revision",
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("parent_digest", sa.LargeBinary(), nullable=False),
        sa.Column("built_at_generation", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False, comment="Envelope of the RevisionManifest"),
        sa.Column(
            "ciphertext", sa.LargeBinary(), nullable=True, comment="RevisionContent, without who was forgotten since"
        ),
        sa.Column("key_id", sa.String(length=64), nullable=False, comment="key file that the ciphertext is under"),
        sa.Column(
            "state", sa.String(length=16), nullable=False, comment="active -> superseded -> erased; active -> erased"
        ),
        sa.Column("has_lora", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.CheckConstraint("(state = 'erased') = (ciphertext IS NULL)", name=op.f("ck_revision_erased_is_gone")),
        sa.CheckConstraint("state IN ('active', 'superseded', 'erased')", name=op.f("ck_revision_state")),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_revision")),
    )
    op.create_table(
        "subject",
        sa.Column("tag", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False, comment="active -> forgotten, never back"),
        sa.Column("forgotten_generation", sa.BigInteger(), nullable=True),
        sa.Column("canary", sa.Boolean(create_constraint=False), nullable=False, comment="planted, nobody's"),
        sa.CheckConstraint(
            "(state = 'forgotten') = (forgotten_generation IS NOT NULL)", name=op.f("ck_subject_forgotten_at")
        ),
        sa.CheckConstraint("state IN ('active', 'forgotten')", name=op.f("ck_subject_state")),
        sa.PrimaryKeyConstraint("tag", name=op.f("pk_subject")),
    )
    op.create_table(
        "tree_leaf",
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False, comment="dense: 0, 1, 2, ..."),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="RFC 6962 leaf hash of data"),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("leaf_index >= 0", name=op.f("ck_tree_leaf_dense")),
        sa.PrimaryKeyConstraint("leaf_index", name=op.f("pk_tree_leaf")),
    )
    op.create_index(op.f("ix_tree_leaf_hash"), "tree_leaf", ["hash"], unique=False)
    op.create_table(
        "campaign",
        sa.Column("campaign_id", sa.String(length=26), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False, comment="tells a repeat from another body"),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="committed -> suppressing -> erasing -> converged -> erasing",
        ),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.Column("suppressed_at_ms", sa.BigInteger(), nullable=True, comment="Unix time in ms"),
        sa.Column("converged_at_ms", sa.BigInteger(), nullable=True, comment="Unix time in ms"),
        sa.Column(
            "repair_job_id", sa.String(length=26), nullable=True, comment="learning job that repairs the shared LoRA"
        ),
        sa.Column("lora_affected", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "(state = 'converged') = (converged_at_ms IS NOT NULL)", name=op.f("ck_campaign_converged_at")
        ),
        sa.CheckConstraint(
            "(state IN ('erasing', 'converged')) = (suppressed_at_ms IS NOT NULL)",
            name=op.f("ck_campaign_suppressed_at"),
        ),
        sa.CheckConstraint(
            "state IN ('committed', 'suppressing', 'erasing', 'converged')", name=op.f("ck_campaign_state")
        ),
        sa.ForeignKeyConstraint(
            ["generation"], ["log_entry.generation"], name=op.f("fk_campaign_generation_log_entry")
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("generation", name=op.f("uq_campaign_generation")),
        sa.UniqueConstraint("request_id", name=op.f("uq_campaign_request_id")),
    )
    op.create_table(
        "contribution",
        sa.Column("tag", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False, comment="samples summed up in it"),
        sa.Column(
            "ciphertext", sa.LargeBinary(), nullable=False, comment="SubjectAdapter under the key file of the tag"
        ),
        sa.CheckConstraint("count >= 1", name=op.f("ck_contribution_count")),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_contribution_node_id_node")),
        sa.ForeignKeyConstraint(["tag"], ["subject.tag"], name=op.f("fk_contribution_tag_subject")),
        sa.PrimaryKeyConstraint("tag", "node_id", name=op.f("pk_contribution")),
    )
    op.create_table(
        "node_cost",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column(
            "energy_j", sa.Double(), nullable=False, comment="cumulative since the node was made, as all of these"
        ),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("cell_writes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "phase IN ('program', 'infer', 'train', 'erase', 'verify', 'radio')", name=op.f("ck_node_cost_phase")
        ),
        sa.CheckConstraint(
            "energy_j >= 0 AND seconds >= 0 AND bytes >= 0 AND cell_writes >= 0", name=op.f("ck_node_cost_non_negative")
        ),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_node_cost_node_id_node")),
        sa.PrimaryKeyConstraint("node_id", "phase", name=op.f("pk_node_cost")),
    )
    op.create_table(
        "revision_tag",
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.String(length=32), nullable=False),
        sa.Column("in_lora", sa.Boolean(create_constraint=False), nullable=False, comment="has a row in the LoRA"),
        sa.ForeignKeyConstraint(["revision"], ["revision.revision"], name=op.f("fk_revision_tag_revision_revision")),
        sa.PrimaryKeyConstraint("revision", "tag", name=op.f("pk_revision_tag")),
    )
    op.create_index(op.f("ix_revision_tag_tag"), "revision_tag", ["tag"], unique=False)
    op.create_table(
        "campaign_tag",
        sa.Column("campaign_id", sa.String(length=26), nullable=False),
        sa.Column("tag", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.campaign_id"], name=op.f("fk_campaign_tag_campaign_id_campaign")
        ),
        sa.PrimaryKeyConstraint("campaign_id", "tag", name=op.f("pk_campaign_tag")),
    )
    op.create_index(op.f("ix_campaign_tag_tag"), "campaign_tag", ["tag"], unique=False)
    op.create_table(
        "execution",
        sa.Column("campaign_id", sa.String(length=26), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="pending -> suppressed -> applying -> applied -> verified | not_affected; any -> held | retired; any but retired -> pending when the node was restored; pending | suppressed | applying -> lost -> pending",
        ),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.Column("challenge_nonce", sa.LargeBinary(), nullable=True, comment="of the erase order; kept while held"),
        sa.Column(
            "expected_probes", sa.JSON(), nullable=True, comment="answers that the probes must get; '' is a stranger"
        ),
        sa.Column("receipt", sa.LargeBinary(), nullable=True, comment="reram_fleet.v1.Envelope of the Receipt"),
        sa.Column("checks", sa.JSON(), nullable=True, comment="lines that the receipt was checked by"),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state <> 'applying' OR challenge_nonce IS NOT NULL", name=op.f("ck_execution_applying_has_challenge")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'suppressed', 'applying', 'applied', 'verified', 'not_affected', 'held', 'retired')",
            name=op.f("ck_execution_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('applied', 'not_affected', 'verified') OR receipt IS NOT NULL",
            name=op.f("ck_execution_claim_has_receipt"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.campaign_id"], name=op.f("fk_execution_campaign_id_campaign")
        ),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_execution_node_id_node")),
        sa.PrimaryKeyConstraint("campaign_id", "node_id", name=op.f("pk_execution")),
    )
    op.create_index(op.f("ix_execution_node_id_state"), "execution", ["node_id", "state"], unique=False)
    op.create_table(
        "learning_job",
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column(
            "state", sa.String(length=16), nullable=False, comment="queued -> running -> succeeded | failed | queued"
        ),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="0: none yet; fences reports"),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("rounds_done", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", sa.String(length=26), nullable=True),
        sa.Column("flower_run_id", sa.String(20), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column(
            "sealed_state",
            sa.LargeBinary(),
            nullable=True,
            comment="LoraState after rounds_done rounds, under the job key",
        ),
        sa.Column("tags", sa.JSON(), nullable=False, comment="row order of the LoRA"),
        sa.Column("forget_tags", sa.JSON(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=True, comment="that its result became"),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.Column("retry_at_ms", sa.BigInteger(), nullable=True, comment="Unix time in ms"),
        sa.CheckConstraint(
            "kind IN ('train.lora', 'train.unlearn', 'evaluate.quality')", name=op.f("ck_learning_job_kind")
        ),
        sa.CheckConstraint("state <> 'failed' OR error <> ''", name=op.f("ck_learning_job_failed_has_error")),
        sa.CheckConstraint("state <> 'running' OR attempt >= 1", name=op.f("ck_learning_job_running_has_attempt")),
        sa.CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed')", name=op.f("ck_learning_job_state")),
        sa.CheckConstraint(
            "rounds >= 1 AND rounds_done >= 0 AND rounds_done <= rounds", name=op.f("ck_learning_job_rounds")
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaign.campaign_id"], name=op.f("fk_learning_job_campaign_id_campaign")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_learning_job")),
        sa.UniqueConstraint("request_id", name=op.f("uq_learning_job_request_id")),
    )
    op.create_index(op.f("ix_learning_job_state"), "learning_job", ["state"], unique=False)
    op.create_table(
        "execution_event",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("campaign_id", sa.String(length=26), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("from_state", sa.String(length=16), nullable=True, comment="NULL: the execution was made"),
        sa.Column("to_state", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.ForeignKeyConstraint(
            ["campaign_id", "node_id"],
            ["execution.campaign_id", "execution.node_id"],
            name=op.f("fk_execution_event_campaign_id_node_id_execution"),
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_execution_event")),
    )
    op.create_index(
        op.f("ix_execution_event_campaign_id_node_id"), "execution_event", ["campaign_id", "node_id"], unique=False
    )
