import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from fleet.domain.campaign import CampaignState
from fleet.domain.execution import ExecutionState
from fleet.domain.learning import JobState
from fleet.errors import StoreError
from fleet.store import Store, schema


def ddl(engine):
    query = sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    with engine.connect() as connection:
        return {name: constraints(sql) for name, sql in connection.execute(query)}


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


def test_the_migrated_schema_is_the_schema(url, tmp_path):
    Store.open(url).close()
    made = sa.create_engine(f"sqlite:///{tmp_path}/made.db")
    schema.metadata.create_all(made)
    migrated = sa.create_engine(url)
    try:
        assert ddl(migrated) == ddl(made)
    finally:
        made.dispose()
        migrated.dispose()


def test_autogenerate_finds_nothing_to_add(url):
    Store.open(url).close()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    engine.dispose()


def test_every_table_compiles_for_postgresql():
    for table in schema.metadata.sorted_tables:
        assert f"CREATE TABLE {table.name} " in str(CreateTable(table).compile(dialect=postgresql.dialect()))


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


def test_opening_again_keeps_what_is_there(url):
    with Store.open(url) as store, store.transaction() as tx:
        tx.fleet.create("f1")
    with Store.open(url) as store, store.snapshot() as tx:
        assert tx.fleet.get().fleet_id == "f1"


def test_a_database_of_a_newer_version_is_refused(url):
    Store.open(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="9999") as refused:
        Store.open(url)
    assert "newer version" in refused.value.hint


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot open"):
        Store.open(f"sqlite:///{tmp_path}/missing/fleet.db")


def test_an_address_that_is_none_is_refused():
    with pytest.raises(StoreError, match="not a database address"):
        Store.open("nonsense")


def test_durability_and_integrity_are_switched_on(store):
    with store.snapshot() as tx:
        connection = tx.nodes._connection
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        values = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]
    assert values == ["wal", 2, 1, 1]


def test_jobs_of_before_the_cohorts_are_kept(url):
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", "fleet.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            sa.text(
                "INSERT INTO learning_job (job_id, request_id, request_digest, kind, state, attempt, rounds,"
                " rounds_done, generation, error, tags, forget_tags, metrics, created_at_ms) VALUES"
                " ('j', 'r', x'00', 'train.lora', 'queued', 0, 2, 0, 0, '', '[]', '[]',"
                " '{\"kept_clips_after\": 2.0}', 1)"
            )
        )
    engine.dispose()
    with Store.open(url) as store, store.snapshot() as tx:
        (job,) = tx.learning.list()
        assert (job.job_id, job.kind, job.rounds) == ("j", "train.lora", 2)
        assert job.metrics == {"kept_samples_after": 2.0}
        assert tx.cohorts.count() == 0


OF_BEFORE = """
INSERT INTO log_entry VALUES (1, 'c', x'00');
INSERT INTO campaign
    (campaign_id, request_id, request_digest, generation, state, created_at_ms, lora_affected, version)
    VALUES ('c', 'r', x'00', 1, 'committed', 1, 0, 1);
INSERT INTO node
    (node_id, receipt_public_key, sealing_public_key, flower_public_key, enrolled_at_ms, generation,
    log_head, revision, revision_digest, serve_state, quarantine_reason, held_reason, receipt_counter,
    last_receipt_hash,
    software_version, inferences, subject_adapters, energy_model_name, energy_model_version)
    VALUES ('n1', x'00', x'00', '', 1, 0, x'00', 0, x'', 'serving', 'unspecified', '', 0, x'00', '', 0, 0,
    '', '');
INSERT INTO execution (campaign_id, node_id, state, detail, updated_at_ms, version)
    VALUES ('c', 'n1', 'pending', '', 1, 1);
INSERT INTO execution_event (campaign_id, node_id, to_state, detail, at_ms)
    VALUES ('c', 'n1', 'pending', 'committed', 1)
"""


def test_executions_and_their_events_of_before_the_tickets_are_kept(url):
    engine = sa.create_engine(url)
    # As `Store` has it: what refers to a table that is copied must not be lost, nor stop the copying.
    sa.event.listen(engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA foreign_keys = ON"))
    config = Config()
    config.set_main_option("script_location", "fleet.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        for statement in OF_BEFORE.strip().split(";"):
            connection.execute(sa.text(statement))
    engine.dispose()
    with Store.open(url) as store, store.transaction() as tx:
        (execution,) = tx.forgets.executions("c")
        assert (execution.state, execution.joined, execution.held) == (ExecutionState.PENDING, False, None)
        assert [event.detail for event in tx.forgets.events("c")] == ["committed"]
        tx.forgets.set_execution("c", "n1", ExecutionState.LOST, "gone")


def test_states_of_shards_of_before_they_were_called_checkpoints_are_kept(url):
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", "fleet.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.execute(sa.text("INSERT INTO cohort_shard (shard, audit) VALUES (3, '')"))
        connection.execute(sa.text("INSERT INTO cohort_slice VALUES (3, 7, x'01', 'k')"))
    engine.dispose()
    with Store.open(url) as store, store.snapshot() as tx:
        (row,) = tx.cohorts.checkpoints(3)
        assert (row.round_number, row.ciphertext, row.key_id) == (7, b"\x01", "k")
