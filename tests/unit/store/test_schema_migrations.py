import contextlib

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from fleet.domain.campaign import CampaignState
from fleet.domain.execution import ExecutionState
from fleet.domain.learning import JobState
from fleet.errors import StoreError
from fleet.store import Store, schema
from fleet.store.schema_revision import known_revisions
from fleet.trust.checks import checks_digest
from fleet.trust.merkle import MemoryTree
from tests.unit.store.earlier_rows import LEAVES, RECEIPT, ROWS, engine_of, make_database, read_rows, revisions
from tests.unit.store.kinds import lasting, sqlite_only

ANN, BOB = "a1" * 16, "b2" * 16


def ddl(engine):
    if engine.dialect.name == "postgresql":
        return ddl_of_postgresql(engine)
    query = sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    with engine.connect() as connection:
        return {name: constraints(sql) for name, sql in connection.execute(query)}


def ddl_of_postgresql(engine):
    kept = "table_name, column_name, udt_name, character_maximum_length, is_nullable, column_default"
    queries = (
        f"SELECT {kept} FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    )
    with engine.connect() as connection:
        rows = {tuple(row) for query in queries for row in connection.execute(sa.text(query))}
    return {row for row in rows if row[0] != "alembic_version"}


def constraints(sql):
    # Alembic lists the constraints of a table in another order than metadata does, and a column that was
    # added comes last. SQLite quotes the name of a table that a migration has copied.
    head, _, body = sql.replace('"', "").partition("(")
    parts, depth = [""], 0
    for character in body[: body.rindex(")")]:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [head.strip(), *sorted(" ".join(part.split()) for part in parts)]


def rows_of(engine):
    with engine.connect() as connection:
        tables = schema.metadata.sorted_tables
        return [(table.name, *row) for table in tables for row in connection.execute(sa.select(table))]


@pytest.fixture
def made(request, empty_url, tmp_path):
    """Return the engine of a database of the same kind, whose tables were made from the schema."""
    url = f"sqlite:///{tmp_path}/made.db"
    with contextlib.ExitStack() as stack:
        if empty_url.startswith("postgresql"):
            url = stack.enter_context(request.getfixturevalue("postgres").database(options=""))
        engine = stack.enter_context(engine_of(url))
        with engine.begin() as connection:
            schema.create(connection)
        yield engine


def test_the_migrated_schema_is_the_schema(empty_url, made):
    make_database(empty_url, "0001", rows=False)
    Store.open(empty_url).close()
    with engine_of(empty_url) as migrated:
        assert ddl(migrated) == ddl(made)
        assert rows_of(migrated) == rows_of(made) != []


def test_autogenerate_finds_nothing_to_add(empty_url):
    make_database(empty_url, "0001", rows=False)
    Store.open(empty_url).close()
    with engine_of(empty_url) as engine, engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_alembic_finds_its_newest_revision_noted_in_a_new_database(empty_url):
    Store.open(empty_url).close()
    with engine_of(empty_url) as engine, engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_heads() == (revisions()[-1],)
    assert [*known_revisions()] == revisions()


def test_every_constraint_has_a_name():
    unnamed = [
        f"{table.name}: {constraint}"
        for table in schema.metadata.sorted_tables
        for constraint in table.constraints
        if constraint.name is None
    ]
    assert unnamed == []


@pytest.mark.parametrize(
    ("table", "states"), [("campaign", CampaignState), ("execution", ExecutionState), ("learning_job", JobState)]
)
def test_a_state_column_names_its_transitions_and_refuses_other_words(store, table, states):
    column = schema.metadata.tables[table].c.state
    assert all(state.value in column.comment for state in states if state is not CampaignState.COMMITTED)
    checks = [str(c.sqltext) for c in column.table.constraints if str(c.name) == f"ck_{table}_state"]
    assert checks == [f"state IN ({', '.join(repr(state.value) for state in states)})"]


@lasting
def test_opening_again_keeps_what_is_there(url):
    with Store.open(url) as store, store.transaction() as tx:
        tx.fleet.create("f1")
    with Store.open(url) as store, store.snapshot() as tx:
        assert tx.fleet.get().fleet_id == "f1"


@lasting
def test_a_database_of_a_newer_version_is_refused(url):
    Store.open(url).close()
    with engine_of(url) as engine, engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="9999") as refused:
        Store.open(url)
    assert "newer version" in refused.value.hint


def test_a_database_of_another_version_is_left_alone_by_who_does_not_migrate(empty_url):
    make_database(empty_url, "0005")
    with pytest.raises(StoreError, match=r"of revision 0005, this version's is \d{4}"):
        Store.open(empty_url, migrate=False)
    assert "leader" not in read_rows(empty_url)
    Store.open(empty_url).close()
    Store.open(empty_url, migrate=False).close()


@sqlite_only
def test_durability_and_integrity_are_switched_on(store):
    with store.snapshot() as tx:
        connection = tx.nodes._connection
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        values = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]
    assert values == ["wal", 2, 1, 1]


@pytest.mark.parametrize("revision", revisions())
def test_rows_of_every_earlier_revision_are_kept_and_can_be_read(empty_url, revision):
    rows = make_database(empty_url, revision)

    with Store.open(empty_url) as store, store.transaction() as tx:
        read_everything(tx)
        # A state that came later: the constraint was changed with the rows in place.
        tx.forgets.set_execution("c2", "n1", ExecutionState.LOST, "gone")
        tx.forgets.set_execution("c2", "n1", ExecutionState.PENDING, "back")

    kept = read_rows(empty_url)
    for table, before in rows.items():
        after = [{column: row[column] for column in before[0]} for row in kept[table]]
        if table == "execution":
            unchanged = [row for row in before if row["campaign_id"] == "c1"]
            assert [row for row in after if row["campaign_id"] == "c1"] == unchanged
        else:
            assert after[: len(before)] == before, table


def read_everything(tx):
    """Read every row by the repository that it is of."""
    assert tx.leadership.get().epoch == 0
    assert tx.fleet.get().lease_sequence == 9
    assert [entry.envelope for entry in tx.log.range(0)] == [b"first", b"second"]
    retired, served = sorted(tx.nodes.list(include_retired=True), key=lambda node: node.retired_at_ms is None)
    assert (served.node_id, served.flower_node_id, retired.held_reason) == ("n1", 2**64 - 1, "retired: sold")
    assert [cost.bytes for cost in tx.nodes.costs(["n1"])["n1"]] == [2**40]
    assert {report.reason for report in tx.nodes.quarantined("n1")} <= {"no"}
    assert set(tx.audit_events.of_node("n2")) <= {b"retired"}
    assert [(campaign.campaign_id, campaign.tags) for campaign in tx.forgets.list()] == [("c1", (BOB,)), ("c2", (ANN,))]
    (execution,) = tx.forgets.executions("c1")
    assert (execution.receipt, execution.expected_probes) == (RECEIPT, ("", "a1"))
    figures = ROWS["receipt"][0]
    if not execution.checks:
        # Of a version that kept no lines.
        figures = {**figures, "checks_digest": checks_digest(())}
    assert vars(tx.receipts.first("c1")) == figures
    assert [vars(cost) for cost in tx.receipts.costs("c1")] == [
        {"phase": "erase", "energy_j": 0.5, "seconds": 2.0, "bytes": 2**40, "cell_writes": 0}
    ]
    (waited_for,) = tx.forgets.executions("c2")
    for row, told in ((execution, (0, 0, None)), (waited_for, (1, 1, 1))):
        assert (row.went_back, row.returns, row.returned_at_ms) == told
    assert [event.detail for event in tx.forgets.events("c1")] == ["committed", "told"]
    assert [subject.tag for subject in (*tx.subjects.list(), *tx.subjects.list(forgotten=True))] == [ANN, BOB]
    assert [row.ciphertext for row in tx.subjects.contributions()] == [b"sum"]
    assert {row.ciphertext for row in tx.heads.statistics()} <= {b"statistics"}
    assert {row.content for row in tx.heads.public_codes()} <= {b"codes"}
    assert (tx.heads.note_of(2) is None) == (not tx.heads.tags_of(2))
    erased, active = tx.revisions.list()
    assert (erased.ciphertext, active.ciphertext, active.lora_tags) == (None, b"content", (ANN,))
    job, other = tx.learning.list()
    assert (job.flower_run_id, job.metrics, other.metrics) == (2**63, {"kept_samples_after": 2.0}, {})
    for shard in tx.cohorts.list():
        ((entry,), (of_job,)) = shard.history.log, tx.cohorts.job("j2").log
        assert (shard.history.entries, entry.nodes, of_job.nodes) == ({ANN: 1}, {"n1", "n2"}, {"n2"})
        assert [checkpoint.round_number for checkpoint in tx.cohorts.checkpoints(3)] == [7]
        assert [tx.cohorts.job("j2").first_round, *(forget.basis for forget in tx.cohorts.forgets("c1"))] == [
            1,
            "equal",
        ]
    assert tx.tree.find(LEAVES[0]).data == b"data"
    assert tx.tree.root() == MemoryTree(LEAVES).root()
