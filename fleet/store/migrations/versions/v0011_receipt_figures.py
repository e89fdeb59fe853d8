"""Accepted receipts are kept in figures, to be summed up and certified without being decoded."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op
from google.protobuf.message import DecodeError
from reram_fleet.v1.types_pb2 import Envelope, Receipt

revision = "0011"
down_revision = "0010"

_PHASES = ("program", "infer", "train", "erase", "verify", "radio")
_COSTS = ("energy_j", "seconds", "bytes", "cell_writes")
_AT_ONCE = 100


def upgrade() -> None:
    """Make the tables, and fill them from the receipts there are."""
    receipt = op.create_table(
        "receipt",
        sa.Column("campaign_id", sa.String(length=26), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("payload_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of what the node has signed"),
        sa.Column("checks_digest", sa.LargeBinary(), nullable=False, comment="of the lines that it was checked by"),
        sa.Column("subject_adapters_erased", sa.BigInteger(), nullable=False),
        sa.Column("lora_rows_erased", sa.BigInteger(), nullable=False),
        sa.Column("code_samples_erased", sa.BigInteger(), nullable=False),
        sa.Column("reram_writes", sa.BigInteger(), nullable=False),
        sa.Column("energy_model_name", sa.String(length=64), nullable=False),
        sa.Column("energy_model_version", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id", "node_id"],
            ["execution.campaign_id", "execution.node_id"],
            name=op.f("fk_receipt_campaign_id_node_id_execution"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", "node_id", name=op.f("pk_receipt")),
        sqlite_with_rowid=False,
    )
    listed = ", ".join(f"'{phase}'" for phase in _PHASES)
    cost = op.create_table(
        "receipt_cost",
        sa.Column("campaign_id", sa.String(length=26), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("energy_j", sa.Double(), nullable=False, comment="of the forget, as all of these"),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("cell_writes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(f"phase IN ({listed})", name=op.f("ck_receipt_cost_phase")),
        sa.ForeignKeyConstraint(
            ["campaign_id", "node_id"],
            ["receipt.campaign_id", "receipt.node_id"],
            name=op.f("fk_receipt_cost_campaign_id_node_id_receipt"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", "node_id", "phase", name=op.f("pk_receipt_cost")),
        sqlite_with_rowid=False,
    )
    execution = sa.table(
        "execution",
        *(sa.column(name) for name in ("campaign_id", "node_id", "state", "receipt")),
        sa.column("checks", sa.JSON()),
    )
    accepted = sa.select(execution).where(execution.c.state.in_(["verified", "not_affected"]))
    keys = [tuple(row) for row in op.get_bind().execute(accepted.with_only_columns(*list(execution.c)[:2]))]
    for start in range(0, len(keys), _AT_ONCE):
        chosen = sa.tuple_(execution.c.campaign_id, execution.c.node_id).in_(keys[start : start + _AT_ONCE])
        figures = [_figures(row) for row in op.get_bind().execute(accepted.where(chosen)).all()]
        if receipts := [row for row, _ in figures]:
            op.get_bind().execute(sa.insert(receipt), receipts)
        if costs := [each for _, some in figures for each in some]:
            op.get_bind().execute(sa.insert(cost), costs)


def _figures(row: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what is kept of an execution's receipt, and of each phase of its costs."""
    try:
        payload = Envelope.FromString(row.receipt).payload
        receipt = Receipt.FromString(payload)
    except DecodeError:
        # Nothing that this program has ever accepted.
        payload, receipt = b"", Receipt()
    mine = {"campaign_id": row.campaign_id, "node_id": row.node_id}
    lines = [[line["name"], line["holds"], line["expected"], line["got"]] for line in row.checks or ()]
    erased = ("subject_adapters_erased", "lora_rows_erased", "code_samples_erased", "reram_writes")
    figures = {
        **mine,
        **{name: getattr(receipt, name) for name in erased},
        "payload_hash": hashlib.sha256(payload).digest(),
        "checks_digest": hashlib.sha256(json.dumps(lines).encode()).digest(),
        "energy_model_name": receipt.energy_model.name[:64],
        "energy_model_version": receipt.energy_model.version[:64],
    }
    sums: dict[str, dict[str, Any]] = {}
    for cost in receipt.costs:
        if 1 <= cost.phase <= len(_PHASES):
            phase = _PHASES[cost.phase - 1]
            total = sums.setdefault(phase, {**mine, "phase": phase, **dict.fromkeys(_COSTS, 0)})
            for name in _COSTS:
                total[name] += getattr(cost, name)
    return figures, list(sums.values())
