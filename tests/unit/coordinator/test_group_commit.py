"""Works that wait for the writer become durable together, and fail alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fleet.coordinator.database import ThreadedDatabase
from fleet.errors import ConflictError
from fleet.store import schema
from fleet.store.database import Store
from tests.unit.store.kinds import kept_in_either


@pytest.fixture
def database(request, kept_in, tmp_path) -> Iterator[ThreadedDatabase]:
    on_postgres = kept_in == "postgresql"
    store = Store.open(request.getfixturevalue("postgres_url") if on_postgres else f"sqlite:///{tmp_path}/fleet.db")
    with store.transaction() as tx:
        tx.fleet.create("f1")
    database = ThreadedDatabase(store)
    yield database
    database.close()


@pytest.fixture
def commits(database, monkeypatch) -> list[int]:
    """Record how many transactions became durable."""
    commits: list[int] = []
    database.store.on_commit = lambda touched: commits.append(1)
    return commits


def together(database: ThreadedDatabase, *works) -> list[object]:
    """Run works that all wait while another one is at it."""

    async def story() -> list[object]:
        begun, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def busy(tx):
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

        first = asyncio.create_task(database.run(busy))
        await begun.wait()
        waiting = [asyncio.create_task(database.run(work)) for work in works]
        await asyncio.sleep(0)
        go_on.set()
        await first
        return await asyncio.gather(*waiting, return_exceptions=True)

    return asyncio.run(story())


def reserve(tx) -> int:
    tx.fleet.reserve_leases(1, 0)
    return tx.fleet.get().lease_sequence


def refuse(tx) -> None:
    raise ConflictError("not now")


def refuse_after_writing(tx) -> None:
    reserve(tx)
    raise ConflictError("not now")


def refused_by_the_database(tx) -> None:
    tx._scope.connection.execute(sa.update(schema.fleet).values(generation=-1))


def sequence(database: ThreadedDatabase) -> int:
    return database.read_now(lambda tx: tx.fleet.get().lease_sequence)


def test_works_that_wait_share_a_commit_and_each_sees_what_those_before_it_wrote(database, commits):
    assert together(database, reserve, reserve, reserve) == [1, 2, 3]
    assert sequence(database) == 3
    assert len(commits) == 2, "the one that kept them waiting, and theirs"


def test_one_that_fails_before_it_has_written_is_told_so_and_the_others_share_a_commit(database, commits):
    first, second, third = together(database, reserve, refuse, reserve)
    assert (first, third) == (1, 2)
    assert isinstance(second, ConflictError)
    assert len(commits) == 2


def test_one_that_fails_after_it_has_written_leaves_nothing_and_keeps_nobody_from_theirs(database, commits):
    first, second, third = together(database, reserve, refuse_after_writing, reserve)
    assert (first, third) == (1, 2)
    assert isinstance(second, ConflictError)
    assert sequence(database) == 2


@kept_in_either
@pytest.mark.parametrize("before", [[], [reserve]], ids=["first", "after one that wrote"])
def test_one_whose_statement_the_database_refuses_keeps_nobody_from_theirs(database, before):
    *_, failed, last = together(database, *before, refused_by_the_database, reserve)
    assert isinstance(failed, ConflictError)
    assert last == sequence(database) == len(before) + 1


def test_work_that_was_cancelled_while_it_waited_is_not_done(database):
    async def story() -> None:
        begun, go_on, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

        def busy(tx):
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

        first = asyncio.create_task(database.run(busy))
        await begun.wait()
        cancelled = asyncio.create_task(database.run(reserve))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await first

    asyncio.run(story())
    assert sequence(database) == 0
