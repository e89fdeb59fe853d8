import sqlite3
import threading

import pytest
import sqlalchemy as sa

from fleet.errors import ConflictError, NotFoundError, StoreError
from fleet.store import Store, schema


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


def test_a_snapshot_does_not_see_what_is_written_meanwhile(store):
    with store.snapshot() as before:
        assert before.nodes.get("n1").held_reason == ""
        with store.transaction() as tx:
            tx.nodes.hold("n1", "broken")
        assert before.nodes.get("n1").held_reason == ""
    with store.snapshot() as after:
        assert after.nodes.get("n1").held_reason == "broken"


def test_the_writer_lock_is_taken_at_the_beginning_of_a_transaction(store, url):
    with store.transaction():
        other = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


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


def test_two_stores_on_one_file_lose_nothing(store, url):
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
