"""Tickets, leases that views tell of, reports put aside, and what nodes held when a forget was committed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_STATES = "'pending', 'suppressed', 'applying', 'applied', 'verified', 'not_affected', 'held', 'retired'"


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "fleet",
        sa.Column("task", sa.String(length=64), nullable=True, comment="what its nodes recognise or draw; then fixed"),
    )
    op.add_column(
        "fleet",
        sa.Column(
            "registry_public_key",
            sa.LargeBinary(),
            nullable=True,
            comment="raw Ed25519: signs enrolment tickets; then fixed",
        ),
    )
    op.add_column("node", sa.Column("lease_until_ms", sa.BigInteger(), nullable=True, comment="Unix time in ms"))
    op.create_table(
        "quarantined_report",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False, comment="field of ConnectRequest that it came in"),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.Column("first_at_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.Column("last_at_ms", sa.BigInteger(), nullable=False, comment="Unix time in ms"),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_quarantined_report_node_id_node")),
        sa.PrimaryKeyConstraint("node_id", "kind", "reason", name=op.f("pk_quarantined_report")),
    )
    op.create_table(
        "audit_event",
        sa.Column("event_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False, comment="reram_fleet.v1.Envelope of the AuditEvent"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_audit_event_node_id_node")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_audit_event")),
    )
    op.create_index(op.f("ix_audit_event_node_id"), "audit_event", ["node_id"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        # It copies a table to change a constraint, and would miss the rows that refer to the copied one.
        op.execute("CREATE TABLE kept_event AS SELECT * FROM execution_event")
        op.drop_table("execution_event")
        _executions()
        _events()
        op.execute("INSERT INTO execution_event SELECT * FROM kept_event")
        op.drop_table("kept_event")
    else:
        _executions()


def _executions() -> None:
    before = sa.Table(
        "execution",
        sa.MetaData(),
        sa.Column("campaign_id", sa.String(length=26), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("challenge_nonce", sa.LargeBinary(), nullable=True),
        sa.Column("expected_probes", sa.JSON(), nullable=True),
        sa.Column("receipt", sa.LargeBinary(), nullable=True),
        sa.Column("checks", sa.JSON(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state <> 'applying' OR challenge_nonce IS NOT NULL", name="ck_execution_applying_has_challenge"
        ),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_execution_state"),
        sa.CheckConstraint(
            "state NOT IN ('applied', 'not_affected', 'verified') OR receipt IS NOT NULL",
            name="ck_execution_claim_has_receipt",
        ),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.campaign_id"], name="fk_execution_campaign_id_campaign"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name="fk_execution_node_id_node"),
        sa.PrimaryKeyConstraint("campaign_id", "node_id", name="pk_execution"),
        sa.Index("ix_execution_node_id_state", "node_id", "state"),
    )
    with op.batch_alter_table("execution", copy_from=before) as batch:
        batch.add_column(
            sa.Column(
                "joined", sa.Boolean(create_constraint=False), nullable=True, comment="the node came after the commit"
            )
        )
        batch.add_column(
            sa.Column(
                "open_challenges",
                sa.JSON(),
                nullable=True,
                comment="hex; of the last orders, withdrawn ones too, without an answer",
            )
        )
        batch.add_column(
            sa.Column(
                "held",
                sa.JSON(),
                nullable=True,
                comment="what the node was known to hold at the commit; NULL: not known",
            )
        )
        batch.drop_constraint(op.f("ck_execution_state"), type_="check")
        batch.create_check_constraint(op.f("ck_execution_state"), f"state IN ({_STATES}, 'lost')")


def _events() -> None:
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
