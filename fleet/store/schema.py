"""Tables of the coordinator.

States are text, and CHECK constraints forbid what the state machines of `fleet.domain` never produce. A change here
needs a migration in `migrations/versions` (a test compares both). Nothing here is SQLite's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from reram_fleet.crypto.digests import ZERO_HASH
from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Integer, LargeBinary, String, Table, Text

from fleet.domain.campaign import CampaignState
from fleet.domain.cohort import LoggedRound
from fleet.domain.execution import WITH_RECEIPT, ExecutionState, HeldAtCommit
from fleet.domain.learning import CohortPurpose, JobKind, JobState
from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState
from fleet.trust.checks import CheckLine

# Constraints need names, or no migration can ever drop them.
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Uint64(sa.TypeDecorator[int]):
    """An unsigned 64-bit number as decimal text: Flower's ids do not fit into the signed BIGINT of SQL."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> str | None:
        """Return the text to store."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> int | None:
        """Return the number that was stored."""
        return None if value is None else int(value)


class JsonOf(sa.TypeDecorator[Any]):
    """JSON that is read as something else: `load` and `dump` turn plain data into it and back; NULL is `missing`."""

    impl = sa.JSON
    cache_ok = True

    def __init__(
        self, load: Callable[[Any], Any], dump: Callable[[Any], Any] = lambda value: value, missing: Any = None
    ) -> None:
        # Else None would be stored as JSON's null.
        super().__init__(none_as_null=True)
        self.load, self.dump, self.missing = load, dump, missing

    def process_bind_param(self, value: Any | None, dialect: sa.Dialect) -> Any:
        """Return the plain data to store."""
        return None if value is None else self.dump(value)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> Any:
        """Return what was stored."""
        return self.missing if value is None else self.load(value)


def _text(kind: type[StrEnum], length: int) -> sa.Enum:
    """Return the type of text that is read as a member of an enumeration."""
    return sa.Enum(kind, native_enum=False, length=length, values_callable=lambda members: [str(m) for m in members])


def _one_of(column: str, values: Iterable[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _non_negative(*columns: str) -> CheckConstraint:
    return CheckConstraint(" AND ".join(f"{column} >= 0" for column in columns), name="non_negative")


def _time(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, comment="Unix time in ms")


leader = Table(
    "leader",
    metadata,
    # One row, from the beginning: whoever writes locks it.
    Column("epoch", BigInteger, primary_key=True, autoincrement=False, comment="of the coordinator that may write"),
    Column("holder", String(128), nullable=False),
    _time("since_ms"),
)

fleet = Table(
    "fleet",
    metadata,
    Column("fleet_id", String(64), primary_key=True),
    _time("created_at_ms"),
    Column("generation", BigInteger, nullable=False, default=0, comment="newest entry of the forget log"),
    Column("log_head", LargeBinary, nullable=False, comment="SHA-256 of that entry's payload"),
    Column("desired_revision", BigInteger, nullable=False, default=0, comment="0: none yet"),
    Column("lease_sequence", BigInteger, nullable=False, default=0),
    Column("lease_horizon_ms", BigInteger, comment="no lease that was granted outlives it"),
    Column("task", String(64), comment="what its nodes recognise or draw; then fixed"),
    Column("registry_public_key", LargeBinary, comment="raw Ed25519: signs enrolment tickets; then fixed"),
    Column("command_public_key", LargeBinary, comment="raw Ed25519: the coordinator's; then fixed"),
    Column("restored_at_ms", BigInteger, comment="when the rows went back to a backup the last time"),
    Column("restore_ended_ms", BigInteger, comment="since when nothing waits for nodes any more"),
    Column("revision_floor", BigInteger, comment="number up to which a restore may have lost revisions"),
    _non_negative("generation", "desired_revision", "lease_sequence"),
)

node = Table(
    "node",
    metadata,
    Column("node_id", String(64), primary_key=True),
    Column("receipt_public_key", LargeBinary, nullable=False, unique=True),
    Column("sealing_public_key", LargeBinary, nullable=False),
    Column("flower_public_key", Text, nullable=False),
    Column("flower_node_id", Uint64),
    _time("enrolled_at_ms"),
    _time("last_contact_ms", nullable=True),
    Column("generation", BigInteger, nullable=False, default=0, comment="prefix of the log that it has suppressed"),
    Column("log_head", LargeBinary, nullable=False, default=ZERO_HASH),
    Column("revision", BigInteger, nullable=False, default=0),
    Column("revision_digest", LargeBinary, nullable=False, default=b""),
    Column(
        "serve_state", _text(ServeState, 32), nullable=False, default=ServeState.UNSPECIFIED, comment="as last reported"
    ),
    Column("quarantine_reason", _text(QuarantineReason, 32), nullable=False, default=QuarantineReason.UNSPECIFIED),
    Column("held_reason", Text, nullable=False, default="", comment="not empty: no leases for this node"),
    Column("receipt_counter", BigInteger, nullable=False, default=0, comment="of its last accepted receipt"),
    Column("last_receipt_hash", LargeBinary, nullable=False, default=ZERO_HASH),
    Column("software_version", String(64), nullable=False, default=""),
    Column("inferences", BigInteger, nullable=False, default=0),
    Column("subject_adapters", Integer, nullable=False, default=0),
    Column("overhead", LargeBinary, comment="reram_fleet.v1.DeploymentOverhead of the active revision"),
    Column("energy_model_name", String(64), nullable=False, default=""),
    Column("energy_model_version", String(64), nullable=False, default=""),
    _time("retired_at_ms", nullable=True),
    _time("lease_until_ms", nullable=True),
    Column("awaited_since_ms", BigInteger, comment="since a restore; NULL: it has said where it is"),
    Column("chip", LargeBinary, comment="reram_fleet.v1.ChipFigures of its last hello"),
    _one_of("serve_state", ServeState),
    _one_of("quarantine_reason", QuarantineReason),
    _non_negative("generation", "revision", "receipt_counter", "inferences", "subject_adapters"),
)

quarantined_report = Table(
    "quarantined_report",
    metadata,
    Column("node_id", ForeignKey("node.node_id"), primary_key=True),
    Column("kind", String(32), primary_key=True, comment="field of ConnectRequest that it came in"),
    Column("reason", String(400), primary_key=True),
    _time("first_at_ms"),
    _time("last_at_ms"),
    Column("count", BigInteger, nullable=False),
)

node_cost = Table(
    "node_cost",
    metadata,
    Column("node_id", ForeignKey("node.node_id"), primary_key=True),
    Column("phase", _text(EnergyPhase, 16), primary_key=True),
    Column("energy_j", sa.Double, nullable=False, comment="cumulative since the node was made, as all of these"),
    Column("seconds", sa.Double, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("cell_writes", BigInteger, nullable=False),
    _one_of("phase", EnergyPhase),
    _non_negative("energy_j", "seconds", "bytes", "cell_writes"),
)

tally = Table(
    "tally",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("label", String(32), primary_key=True, comment="a closed enumeration, by name"),
    Column("value", sa.Double, nullable=False, comment="since the fleet was made"),
    sqlite_with_rowid=False,
)

log_entry = Table(
    "log_entry",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False, comment="dense: 1, 2, 3, ..."),
    Column("campaign_id", String(26), nullable=False, unique=True),
    Column("envelope", LargeBinary, nullable=False, comment="reram_fleet.v1.Envelope of the ForgetCommand"),
    CheckConstraint("generation >= 1", name="dense"),
)

campaign = Table(
    "campaign",
    metadata,
    Column("campaign_id", String(26), primary_key=True),
    Column("request_id", String(128), nullable=False, unique=True),
    Column("request_digest", LargeBinary, nullable=False, comment="tells a repeat from another body"),
    Column("generation", ForeignKey("log_entry.generation"), nullable=False, unique=True),
    Column(
        "state",
        _text(CampaignState, 16),
        nullable=False,
        # committed -> suppressing -> erasing -> converged, with skips; converged -> erasing re-opens
        comment="committed -> suppressing -> erasing -> converged -> erasing",
    ),
    _time("created_at_ms"),
    _time("suppressed_at_ms", nullable=True),
    _time("converged_at_ms", nullable=True),
    Column("repair_job_id", String(26), comment="learning job that repairs the shared LoRA"),
    Column("lora_affected", sa.Boolean(create_constraint=False), nullable=False),
    Column("version", Integer, nullable=False),
    _one_of("state", CampaignState),
    CheckConstraint("(state = 'converged') = (converged_at_ms IS NOT NULL)", name="converged_at"),
    CheckConstraint("(state IN ('erasing', 'converged')) = (suppressed_at_ms IS NOT NULL)", name="suppressed_at"),
)

campaign_tag = Table(
    "campaign_tag",
    metadata,
    Column("campaign_id", ForeignKey("campaign.campaign_id"), primary_key=True),
    Column("tag", String(32), primary_key=True),
    sa.Index(None, "tag"),
)

_with_receipt = ", ".join(f"'{state}'" for state in sorted(WITH_RECEIPT))

execution = Table(
    "execution",
    metadata,
    Column("campaign_id", ForeignKey("campaign.campaign_id"), primary_key=True),
    Column("node_id", ForeignKey("node.node_id"), primary_key=True),
    Column(
        "state",
        _text(ExecutionState, 16),
        nullable=False,
        comment="pending -> suppressed -> applying -> applied -> verified | not_affected;"
        " any -> held | retired; any but retired -> pending when the node was restored;"
        " pending | suppressed | applying -> lost -> pending",
    ),
    Column("detail", Text, nullable=False),
    _time("updated_at_ms"),
    Column("challenge_nonce", LargeBinary, comment="of the erase order; kept while held"),
    Column("expected_probes", JsonOf(tuple), comment="answers that the probes must get; '' is a stranger"),
    Column("receipt", LargeBinary, comment="reram_fleet.v1.Envelope of the Receipt"),
    Column(
        "checks",
        JsonOf(
            lambda lines: tuple(CheckLine(**line) for line in lines), lambda lines: [vars(line) for line in lines], ()
        ),
        comment="lines that the receipt was checked by",
    ),
    Column("joined", sa.Boolean(create_constraint=False), comment="the node came after the commit"),
    Column(
        "open_challenges",
        JsonOf(lambda nonces: tuple(map(bytes.fromhex, nonces)), lambda nonces: [n.hex() for n in nonces]),
        comment="hex; of the last orders, withdrawn ones too, without an answer",
    ),
    Column(
        "held",
        JsonOf(lambda held: HeldAtCommit(**held), vars),
        comment="what the node was known to hold at the commit; NULL: not known",
    ),
    Column("version", Integer, nullable=False),
    Column("went_back", Integer, comment="times that the node went back to a backup since the commit"),
    Column("returns", Integer, comment="times that it was taken up again after the node was lost"),
    _time("returned_at_ms", nullable=True),
    sa.Index(None, "node_id", "state"),
    # Of millions, the few that somebody waits for; and how many there are of each state.
    sa.Index(None, "state", "campaign_id", "node_id"),
    _one_of("state", ExecutionState),
    CheckConstraint("state <> 'applying' OR challenge_nonce IS NOT NULL", name="applying_has_challenge"),
    CheckConstraint(f"state NOT IN ({_with_receipt}) OR receipt IS NOT NULL", name="claim_has_receipt"),
)

execution_event = Table(
    "execution_event",
    metadata,
    # SQLite numbers rows by itself only for INTEGER.
    Column("event_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("campaign_id", String(26), nullable=False),
    Column("node_id", String(64), nullable=False),
    Column("from_state", _text(ExecutionState, 16), comment="NULL: the execution was made"),
    Column("to_state", _text(ExecutionState, 16), nullable=False),
    Column("detail", Text, nullable=False),
    _time("at_ms"),
    sa.ForeignKeyConstraint(["campaign_id", "node_id"], ["execution.campaign_id", "execution.node_id"]),
    sa.Index(None, "campaign_id", "node_id"),
)

# Apart from `execution`, whose rows have kilobytes: what is summed up and certified is read for every node at once.
receipt = Table(
    "receipt",
    metadata,
    Column("campaign_id", String(26), primary_key=True),
    Column("node_id", String(64), primary_key=True),
    Column("payload_hash", LargeBinary, nullable=False, comment="SHA-256 of what the node has signed"),
    Column("checks_digest", LargeBinary, nullable=False, comment="of the lines that it was checked by"),
    Column("subject_adapters_erased", BigInteger, nullable=False),
    Column("lora_rows_erased", BigInteger, nullable=False),
    Column("code_samples_erased", BigInteger, nullable=False),
    Column("reram_writes", BigInteger, nullable=False),
    Column("energy_model_name", String(64), nullable=False),
    Column("energy_model_version", String(64), nullable=False),
    sa.ForeignKeyConstraint(["campaign_id", "node_id"], ["execution.campaign_id", "execution.node_id"]),
    sqlite_with_rowid=False,
)

receipt_cost = Table(
    "receipt_cost",
    metadata,
    Column("campaign_id", String(26), primary_key=True),
    Column("node_id", String(64), primary_key=True),
    Column("phase", _text(EnergyPhase, 16), primary_key=True),
    Column("energy_j", sa.Double, nullable=False, comment="of the forget, as all of these"),
    Column("seconds", sa.Double, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("cell_writes", BigInteger, nullable=False),
    sa.ForeignKeyConstraint(["campaign_id", "node_id"], ["receipt.campaign_id", "receipt.node_id"]),
    _one_of("phase", EnergyPhase),
    sqlite_with_rowid=False,
)

subject = Table(
    "subject",
    metadata,
    Column("tag", String(32), primary_key=True),
    Column("state", String(16), nullable=False, comment="active -> forgotten, never back"),
    Column("forgotten_generation", BigInteger),
    Column("canary", sa.Boolean(create_constraint=False), nullable=False, comment="planted, nobody's"),
    CheckConstraint("state IN ('active', 'forgotten')", name="state"),
    CheckConstraint("(state = 'forgotten') = (forgotten_generation IS NOT NULL)", name="forgotten_at"),
)

contribution = Table(
    "contribution",
    metadata,
    Column("tag", ForeignKey("subject.tag"), primary_key=True),
    Column("node_id", ForeignKey("node.node_id"), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("count", Integer, nullable=False, comment="samples summed up in it"),
    Column("ciphertext", LargeBinary, nullable=False, comment="SubjectAdapter under the key file of the tag"),
    CheckConstraint("count >= 1", name="count"),
)

# Apart from `contribution`: rows have megabytes, and contributions are read often.
head_statistics = Table(
    "head_statistics",
    metadata,
    Column("tag", ForeignKey("subject.tag"), primary_key=True),
    Column("node_id", ForeignKey("node.node_id"), primary_key=True),
    Column("sequence", BigInteger, nullable=False, comment="of the contribution that it came with"),
    Column("ciphertext", LargeBinary, nullable=False, comment="packed statistics under the key file of the tag"),
)

public_codes = Table(
    "public_codes",
    metadata,
    Column("node_id", ForeignKey("node.node_id"), primary_key=True),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of content"),
    Column("content", LargeBinary, nullable=False, comment="reram_fleet.v1.PublicCodes: of public people"),
)

revision = Table(
    "revision",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
    Column("parent_digest", LargeBinary, nullable=False),
    Column("built_at_generation", BigInteger, nullable=False),
    Column("manifest", LargeBinary, nullable=False, comment="Envelope of the RevisionManifest"),
    Column("ciphertext", LargeBinary, comment="RevisionContent, without who was forgotten since"),
    Column("key_id", String(64), nullable=False, comment="key file that the ciphertext is under"),
    Column("state", String(16), nullable=False, comment="active -> superseded -> erased; active -> erased"),
    Column("has_lora", sa.Boolean(create_constraint=False), nullable=False),
    _time("created_at_ms"),
    CheckConstraint("state IN ('active', 'superseded', 'erased')", name="state"),
    CheckConstraint("(state = 'erased') = (ciphertext IS NULL)", name="erased_is_gone"),
)

revision_tag = Table(
    "revision_tag",
    metadata,
    Column("revision", ForeignKey("revision.revision"), primary_key=True),
    Column("tag", String(32), primary_key=True),
    Column("in_lora", sa.Boolean(create_constraint=False), nullable=False, comment="has a row in the LoRA"),
    sa.Index(None, "tag"),
)

revision_head = Table(
    "revision_head",
    metadata,
    Column("revision", ForeignKey("revision.revision"), primary_key=True),
    Column("basis", LargeBinary, nullable=False, comment="digest of what its head follows from"),
    Column("error", Text, nullable=False, comment="not empty: why it has none"),
)

revision_head_tag = Table(
    "revision_head_tag",
    metadata,
    Column("revision", ForeignKey("revision.revision"), primary_key=True),
    Column("tag", String(32), primary_key=True, comment="has a column in the head"),
    sa.Index(None, "tag"),
)

learning_job = Table(
    "learning_job",
    metadata,
    Column("job_id", String(26), primary_key=True),
    Column("request_id", String(128), nullable=False, unique=True),
    Column("request_digest", LargeBinary, nullable=False),
    Column("kind", _text(JobKind, 32), nullable=False),
    Column("state", _text(JobState, 16), nullable=False, comment="queued -> running -> succeeded | failed | queued"),
    Column("attempt", Integer, nullable=False, comment="0: none yet; fences reports"),
    Column("rounds", Integer, nullable=False),
    Column("rounds_done", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("campaign_id", ForeignKey("campaign.campaign_id")),
    Column("flower_run_id", Uint64),
    Column("error", Text, nullable=False),
    Column("sealed_state", LargeBinary, comment="LoraState after rounds_done rounds, under the job key"),
    Column("tags", JsonOf(tuple), nullable=False, comment="row order of the LoRA"),
    Column("forget_tags", JsonOf(tuple), nullable=False),
    Column("revision", BigInteger, comment="that its result became"),
    Column("metrics", sa.JSON, nullable=False),
    _time("created_at_ms"),
    _time("retry_at_ms", nullable=True),
    sa.Index(None, "state"),
    _one_of("kind", JobKind),
    _one_of("state", JobState),
    CheckConstraint("rounds >= 1 AND rounds_done >= 0 AND rounds_done <= rounds", name="rounds"),
    CheckConstraint("state <> 'running' OR attempt >= 1", name="running_has_attempt"),
    CheckConstraint("state <> 'failed' OR error <> ''", name="failed_has_error"),
)

cohort_shard = Table(
    "cohort_shard",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("replay_from", Integer, comment="round to replay from; NULL: its rows are installed"),
    Column("replay_job_id", String(26), comment="learning job that is at it"),
    Column("audit", sa.JSON, nullable=False, comment="what the latest re-execution found"),
    _non_negative("shard"),
)

cohort_member = Table(
    "cohort_member",
    metadata,
    Column("tag", String(32), primary_key=True),
    Column("shard", ForeignKey("cohort_shard.shard"), nullable=False),
    Column("entry", Integer, nullable=False, comment="round before which they entered"),
    sa.Index(None, "shard"),
    _non_negative("entry"),
)

cohort_round = Table(
    "cohort_round",
    metadata,
    Column("shard", ForeignKey("cohort_shard.shard"), primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False, comment="dense: 0, 1, 2, ..."),
    Column("nodes", JsonOf(frozenset, sorted), nullable=False, comment="ids of who answered"),
    Column("inputs", String(64), nullable=False, comment="digest of (tag, node, sequence); '' is mixed"),
    Column("rewritten", sa.Boolean(create_constraint=False), nullable=False, comment="by a replay"),
)

cohort_checkpoint = Table(
    "cohort_checkpoint",
    metadata,
    Column("shard", ForeignKey("cohort_shard.shard"), primary_key=True),
    Column("round", Integer, primary_key=True, autoincrement=False, comment="state before it"),
    Column("ciphertext", LargeBinary, nullable=False, comment="SharedLora under the key file key_id"),
    Column("key_id", String(64), nullable=False, unique=True),
)

cohort_job = Table(
    "cohort_job",
    metadata,
    Column("job_id", ForeignKey("learning_job.job_id"), primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("purpose", _text(CohortPurpose, 8), nullable=False),
    Column("first_round", Integer, nullable=False, comment="of the shard; its first round is this one"),
    Column("min_revision", BigInteger, nullable=False, comment="that a node needs for its rounds"),
    Column("overtaken", Integer, nullable=False, comment="attempts that a forget ended"),
    Column("begun_inputs", String(64), nullable=False, comment="as its latest round began"),
    Column(
        "log",
        JsonOf(lambda log: tuple(map(LoggedRound.from_json, log)), lambda log: [r.to_json() for r in log]),
        nullable=False,
        comment="its rounds so far, as cohort_round",
    ),
    _one_of("purpose", CohortPurpose),
)

cohort_forget = Table(
    "cohort_forget",
    metadata,
    Column("campaign_id", ForeignKey("campaign.campaign_id"), primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("from_round", Integer, nullable=False, comment="the person's entry"),
    Column("outcome", String(16), nullable=False, comment="replaying -> replayed | dropped; or emptied"),
    Column("basis", Text, nullable=False, comment="grounds of the verdict"),
    CheckConstraint("outcome IN ('replaying', 'replayed', 'dropped', 'emptied')", name="outcome"),
)

audit_event = Table(
    "audit_event",
    metadata,
    # SQLite numbers rows by itself only for INTEGER.
    Column("event_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("node_id", ForeignKey("node.node_id"), nullable=False),
    Column("envelope", LargeBinary, nullable=False, comment="reram_fleet.v1.Envelope of the AuditEvent"),
    sa.Index(None, "node_id"),
)

tree_leaf = Table(
    "tree_leaf",
    metadata,
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False, comment="dense: 0, 1, 2, ..."),
    Column("kind", String(32), nullable=False),
    Column("hash", LargeBinary, nullable=False, comment="RFC 6962 leaf hash of data"),
    Column("data", LargeBinary, nullable=False),
    sa.Index(None, "hash"),
    CheckConstraint("leaf_index >= 0", name="dense"),
)

tree_node = Table(
    "tree_node",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False, comment="odd: of a complete inner node"),
    Column("hash", LargeBinary, nullable=False, comment="RFC 6962 hash of its two halves"),
)


def create(connection: sa.Connection) -> None:
    """Make every table of an empty database, with the row that is there from the beginning; quicker than migrating.

    Migrations lead to the same tables and the same row: a test compares them.
    """
    dialect = connection.dialect
    if dialect.name not in _made_by:
        _made_by[dialect.name] = _statements(dialect)
    for statement in _made_by[dialect.name]:
        connection.exec_driver_sql(statement)
    connection.execute(sa.insert(leader), {"epoch": 0, "holder": "", "since_ms": 0})


#: By dialect: what makes the tables. A process that simulates or tests opens many databases, and compiles it once.
_made_by: dict[str, list[str]] = {}


def _statements(dialect: sa.Dialect) -> list[str]:
    found: list[str] = []
    metadata.create_all(
        sa.create_mock_engine(
            f"{dialect.name}://", lambda ddl, *_, **__: found.append(str(ddl.compile(dialect=dialect)))
        ),
        checkfirst=False,
    )
    return found
