"""Commits of another process wake this one; its own, and those that changed nothing, do not."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from fleet.errors import NotFoundError
from fleet.store import Store
from tests.unit.store.earlier_rows import engine_of
from tests.unit.store.kinds import SQLITE, postgresql_only

#: Nothing is expected to take as long.
LIMIT_S = 30.0


async def heard(listener):
    async with asyncio.timeout(LIMIT_S):
        await listener.wait()


def count_a_lease(store):
    with store.transaction() as tx:
        tx.fleet.reserve_leases(1, 0)


def roll_back(store):
    with store.transaction() as tx:
        tx.fleet.reserve_leases(1, 0)
        tx.nodes.hold("n9", "nobody")


@postgresql_only
def test_a_commit_of_another_process_wakes_this_one(store, url):
    async def listen():
        with Store.open(url) as other:
            async with store.others_commits() as listener:
                # What was committed before it listened may have been missed.
                await heard(listener)
                count_a_lease(other)
                await heard(listener)

    asyncio.run(listen())


@postgresql_only
def test_its_own_commits_and_those_that_change_nothing_wake_nobody(store, url):
    async def listen():
        with Store.open(url) as other:
            async with store.others_commits() as listener:
                await heard(listener)
                waiting = asyncio.create_task(listener.wait())
                with pytest.raises(NotFoundError):
                    roll_back(other)
                with other.transaction() as tx:
                    tx.nodes.list()
                await asyncio.to_thread(count_a_lease, store)
                # Time for what must not come: if it is too short, the test sees less, and is not red.
                await asyncio.sleep(0.1)
                assert not waiting.done()
                count_a_lease(other)
                async with asyncio.timeout(LIMIT_S):
                    await waiting

    asyncio.run(listen())


@postgresql_only
def test_a_listener_whose_connection_is_cut_looks_again_and_goes_on(store, url):
    async def listen():
        with Store.open(url) as other:
            async with store.others_commits() as listener:
                await heard(listener)
                with engine_of(url) as engine, engine.connect() as connection:
                    listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                    cut = connection.execute(sa.text(f"{listeners} AND datname = current_database()"))
                    assert cut.scalars().all() == [True]
                await heard(listener)
                count_a_lease(other)
                await heard(listener)

    asyncio.run(listen())


@pytest.mark.parametrize("url", [SQLITE], indirect=True)
def test_over_sqlite_there_is_nobody_to_hear_of(store):
    async def listen():
        async with store.others_commits() as listener:
            waiting = asyncio.create_task(listener.wait())
            await asyncio.sleep(0)
            count_a_lease(store)
            await asyncio.sleep(0)
            assert not waiting.done()
            waiting.cancel()

    asyncio.run(listen())
