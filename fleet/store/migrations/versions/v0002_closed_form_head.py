"""Inputs of the closed-form head, and the people whom the head of a revision knows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "head_statistics",
        sa.Column("tag", sa.String(length=32), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="of the contribution that it came with"),
        sa.Column(
            "ciphertext", sa.LargeBinary(), nullable=False, comment="packed statistics under the key file of the tag"
        ),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_head_statistics_node_id_node")),
        sa.ForeignKeyConstraint(["tag"], ["subject.tag"], name=op.f("fk_head_statistics_tag_subject")),
        sa.PrimaryKeyConstraint("tag", "node_id", name=op.f("pk_head_statistics")),
    )
    op.create_table(
        "public_codes",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of content"),
        sa.Column("content", sa.LargeBinary(), nullable=False, comment="reram_fleet.v1.PublicCodes: of public people"),
        sa.ForeignKeyConstraint(["node_id"], ["node.node_id"], name=op.f("fk_public_codes_node_id_node")),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_public_codes")),
    )
    op.create_table(
        "revision_head",
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("basis", sa.LargeBinary(), nullable=False, comment="digest of what its head follows from"),
        sa.Column("error", sa.Text(), nullable=False, comment="not empty: why it has none"),
        sa.ForeignKeyConstraint(["revision"], ["revision.revision"], name=op.f("fk_revision_head_revision_revision")),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_revision_head")),
    )
    op.create_table(
        "revision_head_tag",
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.String(length=32), nullable=False, comment="has a column in the head"),
        sa.ForeignKeyConstraint(
            ["revision"], ["revision.revision"], name=op.f("fk_revision_head_tag_revision_revision")
        ),
        sa.PrimaryKeyConstraint("revision", "tag", name=op.f("pk_revision_head_tag")),
    )
    op.create_index(op.f("ix_revision_head_tag_tag"), "revision_head_tag", ["tag"], unique=False)
