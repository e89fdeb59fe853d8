import sqlite3
import threading

import pytest
import sqlalchemy as sa

from fleet.errors import ConflictError, InvalidInputError, NotFoundError, StoreError
from fleet.store import Store, engines, schema
from tests.unit.store.earlier_rows import engine_of
from tests.unit.store.kinds import MEMORY, lasting, postgresql_only, sqlite_only


def test_an_exception_rolls_everything_back(store):
    def hold_both():
        with store.transaction() as tx:
            tx.nodes.hold("n1", "broken")
            tx.nodes.hold("n9", "broken")

    with pytest.raises(NotFoundError):
        hold_both()
    with store.snapshot() as tx:
        assert tx.nodes.get("n1").held_reason == ""


def test_what_is_written_in_a_snapshot_is_rolled_back(store):
    with store.snapshot() as tx:
        tx.nodes.hold("n1", "broken")
    with store.snapshot() as tx:
        assert tx.nodes.get("n1").held_reason == ""


@lasting
def test_a_snapshot_does_not_see_what_is_written_meanwhile(store):
    with store.snapshot() as before:
        assert before.nodes.get("n1").held_reason == ""
        with store.transaction() as tx:
            tx.nodes.hold("n1", "broken")
        assert before.nodes.get("n1").held_reason == ""
    with store.snapshot() as after:
        assert after.nodes.get("n1").held_reason == "broken"


@sqlite_only
def test_the_writer_lock_is_taken_at_the_beginning_of_a_transaction(store, url):
    with store.transaction():
        other = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


@postgresql_only
def test_a_writer_of_another_machine_that_stands_still_gives_way(url, monkeypatch):
    with Store.open(url) as still, Store.open(url) as other:

        def stand_still():
            monkeypatch.setattr(engines, "IDLE_WRITER_TIMEOUT_MS", 50)
            with still.transaction() as tx:
                monkeypatch.undo()
                tx.fleet.create("of the one that stood still")
                with other.transaction() as meanwhile:
                    meanwhile.fleet.create("f1")

        with pytest.raises(StoreError, match="cannot be used now"):
            stand_still()
        with still.snapshot() as tx:
            assert tx.fleet.get().fleet_id == "f1"


@postgresql_only
def test_a_server_that_was_started_anew_costs_no_transaction(store, url):
    with engine_of(url) as engine, engine.connect() as connection:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        connection.execute(sa.text(f"{ended} AND datname = current_database()"))
    with store.transaction() as tx:
        tx.fleet.reserve_leases(1, 0)
        assert tx.fleet.get().lease_sequence == 1


@pytest.mark.parametrize("url", [MEMORY], indirect=True)
def test_in_memory_a_transaction_inside_a_snapshot_is_an_error_and_no_deadlock(store):
    with store.snapshot(), pytest.raises(StoreError, match="already open"), store.transaction():
        pass


@postgresql_only
@pytest.mark.parametrize("text", ["x" * 129, "\0"])
def test_a_value_that_no_column_holds_is_the_callers_mistake(store, text):
    with pytest.raises(InvalidInputError, match="cannot hold"), store.transaction() as tx:
        tx.nodes._connection.execute(sa.insert(schema.leader).values(epoch=7, holder=text, since_ms=0))


def test_threads_that_write_at_once_lose_nothing(store):
    def count():
        for _ in range(10):
            with store.transaction() as tx:
                tx.fleet.reserve_leases(1, 0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.snapshot() as tx:
        assert tx.fleet.get().lease_sequence == 40


@lasting
def test_two_stores_on_one_database_lose_nothing(store, url):
    with Store.open(url) as second:
        for each in (store, second, store):
            with each.transaction() as tx:
                tx.fleet.reserve_leases(1, 0)
        with second.snapshot() as tx:
            assert tx.fleet.get().lease_sequence == 3


def test_a_transaction_inside_a_transaction_is_an_error_and_no_deadlock(store):
    with store.transaction(), pytest.raises(StoreError, match="already open"), store.transaction():
        pass


def test_a_write_that_the_schema_forbids_is_a_conflict(store, commit):
    with store.transaction() as tx:
        commit(tx, "aa" * 16)
    with pytest.raises(ConflictError, match="database refused"), store.transaction() as tx:
        tx.forgets._connection.execute(sa.update(schema.execution).values(state="verified"))


def test_everything_in_a_transaction_has_one_time(store, clock, commit):
    with store.transaction() as tx:
        clock.now_ms += 5000
        assert commit(tx, "aa" * 16).created_at_ms == tx.now_ms == clock.now_ms - 5000
