"""Databases of earlier revisions of the schema, with a row or more in every table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from reram_fleet.v1.types_pb2 import ENERGY_PHASE_ERASE, EnergyModel, Envelope, PhaseCost, Receipt

from fleet.trust.checks import CheckLine, checks_digest
from fleet.trust.merkle import MemoryTree, Subtree

#: Hashes of the leaves of the Merkle log.
LEAVES = [b"leaf %d" % number for number in range(6)]

#: What n1 has signed about c1.
_SIGNED = Receipt(
    subject_adapters_erased=2,
    code_samples_erased=5,
    costs=[PhaseCost(phase=ENERGY_PHASE_ERASE, energy_j=0.5, seconds=2.0, bytes=2**40)],
    energy_model=EnergyModel(name="m", version="1"),
).SerializeToString()
RECEIPT = Envelope(payload=_SIGNED, key_id="k").SerializeToString()
_CHECKS = [CheckLine("signature", True, "a", "a")]

#: Rows of each table as the newest schema has them, in the order in which they refer to each other: in a database of an
#: earlier revision, a table gets the columns that it had then.
ROWS: dict[str, list[dict]] = {
    "leader": [],
    "fleet": [
        {
            "fleet_id": "f1",
            "created_at_ms": 1,
            "generation": 2,
            "log_head": b"head",
            "desired_revision": 2,
            "lease_sequence": 9,
            "lease_horizon_ms": 90,
            "task": "speakers",
            "registry_public_key": b"r" * 32,
            "command_public_key": b"c" * 32,
            "restored_at_ms": 3,
            "restore_ended_ms": 4,
            "revision_floor": 2,
        }
    ],
    "tally": [{"name": "receipts", "label": "verified", "value": 2.0}],
    "log_entry": [
        {"generation": 1, "campaign_id": "c1", "envelope": b"first"},
        {"generation": 2, "campaign_id": "c2", "envelope": b"second"},
    ],
    "node": [
        {
            "node_id": node_id,
            "receipt_public_key": node_id.encode() * 16,
            "sealing_public_key": b"s" * 32,
            "flower_public_key": "ecdsa",
            "flower_node_id": str(2**64 - 1),
            "enrolled_at_ms": 1,
            "last_contact_ms": 5,
            "chip": b"",
            "generation": 1,
            "log_head": b"head",
            "revision": 1,
            "revision_digest": b"digest",
            "serve_state": "serving",
            "quarantine_reason": "unspecified",
            "held_reason": held,
            "receipt_counter": 3,
            "last_receipt_hash": b"hash",
            "software_version": "0.1.0",
            "inferences": 2**40,
            "subject_adapters": 2,
            "overhead": b"overhead",
            "energy_model_name": "m",
            "energy_model_version": "1",
            "retired_at_ms": retired,
            "lease_until_ms": 7,
            "awaited_since_ms": 3,
        }
        for node_id, held, retired in (("n1", "", None), ("n2", "retired: sold", 4))
    ],
    "revision": [
        {"revision": 1, "ciphertext": None, "state": "erased", "has_lora": False},
        {"revision": 2, "ciphertext": b"content", "state": "active", "has_lora": True},
    ],
    "subject": [
        {"tag": "a1" * 16, "state": "active", "forgotten_generation": None, "canary": False},
        {"tag": "b2" * 16, "state": "forgotten", "forgotten_generation": 1, "canary": True},
    ],
    "tree_leaf": [
        {"leaf_index": number, "kind": "receipt", "hash": leaf, "data": b"data"} for number, leaf in enumerate(LEAVES)
    ],
    "tree_node": [
        {"position": subtree.position, "hash": node}
        for subtree, node in MemoryTree(LEAVES)
        .subtree_hashes([Subtree(1, 0), Subtree(2, 0), Subtree(1, 1), Subtree(1, 2)])
        .items()
    ],
    "campaign": [
        {
            "campaign_id": "c1",
            "request_id": "r1",
            "generation": 1,
            "state": "converged",
            "suppressed_at_ms": 2,
            "converged_at_ms": 3,
        },
        {
            "campaign_id": "c2",
            "request_id": "r2",
            "generation": 2,
            "state": "committed",
            "suppressed_at_ms": None,
            "converged_at_ms": None,
        },
    ],
    "contribution": [{"tag": "a1" * 16, "node_id": "n1", "sequence": 4, "count": 5, "ciphertext": b"sum"}],
    "node_cost": [
        {"node_id": "n1", "phase": "erase", "energy_j": 0.1, "seconds": 2.5, "bytes": 2**40, "cell_writes": 0}
    ],
    "revision_tag": [{"revision": 2, "tag": "a1" * 16, "in_lora": True}],
    "campaign_tag": [{"campaign_id": "c1", "tag": "b2" * 16}, {"campaign_id": "c2", "tag": "a1" * 16}],
    "execution": [
        {
            "campaign_id": "c1",
            "state": "verified",
            "receipt": RECEIPT,
            "challenge_nonce": b"nonce",
            "went_back": None,
            "returns": None,
            "returned_at_ms": None,
        },
        {
            "campaign_id": "c2",
            "state": "pending",
            "receipt": None,
            "challenge_nonce": None,
            "went_back": 1,
            "returns": 1,
            "returned_at_ms": 1,
        },
    ],
    "learning_job": [
        {"job_id": "j1", "request_id": "r1", "metrics": {"kept_samples_after": 2.0}},
        {"job_id": "j2", "request_id": "r2", "metrics": {}},
    ],
    "receipt": [
        {
            "campaign_id": "c1",
            "node_id": "n1",
            "payload_hash": hashlib.sha256(_SIGNED).digest(),
            "checks_digest": checks_digest(_CHECKS),
            "subject_adapters_erased": 2,
            "lora_rows_erased": 0,
            "code_samples_erased": 5,
            "reram_writes": 0,
            "energy_model_name": "m",
            "energy_model_version": "1",
        }
    ],
    "receipt_cost": [
        {
            "campaign_id": "c1",
            "node_id": "n1",
            "phase": "erase",
            "energy_j": 0.5,
            "seconds": 2.0,
            "bytes": 2**40,
            "cell_writes": 0,
        }
    ],
    "execution_event": [
        {"campaign_id": "c1", "node_id": "n1", "from_state": None, "to_state": "pending", "detail": "committed"},
        {"campaign_id": "c1", "node_id": "n1", "from_state": "pending", "to_state": "suppressed", "detail": "told"},
        {"campaign_id": "c2", "node_id": "n1", "from_state": "verified", "to_state": "pending", "detail": "went back"},
        {"campaign_id": "c2", "node_id": "n1", "from_state": "lost", "to_state": "suppressed", "detail": "returned"},
        {"campaign_id": "c2", "node_id": "n1", "from_state": "held", "to_state": "pending", "detail": "released"},
    ],
    "head_statistics": [{"tag": "a1" * 16, "node_id": "n1", "sequence": 4, "ciphertext": b"statistics"}],
    "public_codes": [{"node_id": "n1", "digest": b"digest", "content": b"codes"}],
    "revision_head": [{"revision": 2, "basis": b"basis", "error": ""}],
    "revision_head_tag": [{"revision": 2, "tag": "a1" * 16}],
    "cohort_shard": [{"shard": 3, "replay_from": 1, "replay_job_id": "j2", "audit": {"rounds": 2}}],
    "cohort_member": [{"tag": "a1" * 16, "shard": 3, "entry": 1}],
    "cohort_round": [{"shard": 3, "round": 0, "nodes": ["n1", "n2"], "inputs": "ab", "rewritten": True}],
    "cohort_checkpoint": [{"shard": 3, "round": 7, "ciphertext": b"state", "key_id": "k"}],
    "cohort_forget": [{"campaign_id": "c1", "shard": 3, "from_round": 1, "outcome": "replayed", "basis": "equal"}],
    "cohort_job": [{"job_id": "j2", "shard": 3, "purpose": "replay", "first_round": 1, "min_revision": 2}],
    "quarantined_report": [
        {"node_id": "n1", "kind": "telemetry", "reason": "no", "first_at_ms": 1, "last_at_ms": 2, "count": 3}
    ],
    "audit_event": [{"node_id": "n2", "envelope": b"retired"}],
}

#: Columns that all rows of a table have alike.
_ALIKE: dict[str, dict] = {
    "revision": {
        "digest": b"digest",
        "parent_digest": b"parent",
        "built_at_generation": 1,
        "manifest": b"manifest",
        "key_id": "revision-key",
        "created_at_ms": 1,
    },
    "campaign": {
        "request_digest": b"body",
        "created_at_ms": 1,
        "repair_job_id": None,
        "lora_affected": True,
        "version": 1,
    },
    "execution": {
        "node_id": "n1",
        "detail": "",
        "updated_at_ms": 1,
        "expected_probes": ["", "a1"],
        "checks": [asdict(line) for line in _CHECKS],
        "joined": True,
        "open_challenges": ["00ff"],
        "held": {"subject_adapters": 1, "lora_rows": 0, "samples": 5, "keys": 1},
        "version": 3,
    },
    "execution_event": {"at_ms": 1},
    "learning_job": {
        "request_digest": b"body",
        "kind": "train.lora",
        "state": "queued",
        "attempt": 1,
        "rounds": 2,
        "rounds_done": 1,
        "generation": 1,
        "campaign_id": "c1",
        "flower_run_id": str(2**63),
        "error": "",
        "sealed_state": b"sealed",
        "tags": ["a1" * 16],
        "forget_tags": [],
        "revision": None,
        "created_at_ms": 1,
        "retry_at_ms": None,
    },
    "cohort_job": {"overtaken": 0, "begun_inputs": "", "log": [{"nodes": ["n2"], "inputs": "", "rewritten": False}]},
}

#: Column that the database fills by itself.
_NUMBERED = "event_id"

#: Newest name of a table that had another.
_RENAMED = {"cohort_slice": "cohort_checkpoint"}

Rows = dict[str, list[dict]]


def revisions() -> list[str]:
    """Return the revisions of the schema, oldest first."""
    return sorted(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


@contextmanager
def engine_of(url: str) -> Iterator[sa.Engine]:
    """Open a database as it is."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        # As the store has it: what refers to a table that is copied must neither be lost nor stop the copying.
        sa.event.listen(engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA foreign_keys = ON"))
    try:
        yield engine
    finally:
        engine.dispose()


def make_database(url: str, revision: str, *, rows: bool = True) -> Rows:
    """Make a database of a revision with rows in all its tables; returns these as the newest schema has them.

    By the newest name of each table; only columns that the table had then.
    """
    with engine_of(url) as engine, engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        return _fill(connection) if rows else {}


def read_rows(url: str) -> Rows:
    """Return all rows of a database, by table."""
    with engine_of(url) as engine, engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for table in _tables(connection)
        }


def _fill(connection: sa.Connection) -> Rows:
    tables = {_RENAMED.get(table.name, table.name): table for table in _tables(connection)}
    revision: str = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
    assert set(tables) <= set(ROWS), "a table without rows: add them here"
    filled: Rows = {}
    for name, rows in ROWS.items():
        if name in tables and rows:
            known = tables[name].columns.keys()
            whole = [{**_ALIKE.get(name, {}), **row} for row in rows]
            filled[name] = [{column: row[column] for column in known if column != _NUMBERED} for row in whole]
            connection.execute(sa.insert(tables[name]), [_as_then(row, revision) for row in filled[name]])
    return filled


def _as_then(row: dict, revision: str) -> dict:
    """Return a row in the words of its time: samples were clips, and nodes of a round had a hash each."""
    if "metrics" in row and revision < "0005":
        row = {**row, "metrics": {name.replace("_samples", "_clips"): value for name, value in row["metrics"].items()}}
    if "nodes" in row and revision < "0014":
        row = {**row, "nodes": dict.fromkeys(row["nodes"], "hash")}
    if "log" in row and revision < "0014":
        log = [{**entry, "nodes": dict.fromkeys(entry["nodes"], "hash")} for entry in row["log"]]
        row = {**row, "log": log}
    return row


def _tables(connection: sa.Connection) -> list[sa.Table]:
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "fleet.store:migrations")
    return config
