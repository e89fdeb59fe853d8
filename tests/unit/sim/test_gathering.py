import pytest

from fleet.errors import ConflictError
from fleet.sim.gathering import GatheringDatabase
from fleet.store.database import Store


@pytest.fixture
def database():
    found = GatheringDatabase(Store.open("sqlite://"))
    with found.store.transaction() as tx:
        tx.fleet.create("fleet-1")
    yield found
    found.close()


def commits(database):
    """Count the transactions that are committed from now on."""
    seen = []
    database.store.on_commit = seen.append
    return seen


async def adding(database, tag, then=None):
    await database.run(lambda tx: tx.subjects.add_canary(tag))
    if then is not None:
        return await database.run(then)
    return tag


def known(database):
    with database.store.snapshot() as tx:
        return set(tx.subjects.live_canaries())


def test_what_coroutines_wait_for_at_one_moment_shares_a_commit(database):
    seen = commits(database)
    outcomes = database.together([adding(database, tag * 32) for tag in "abc"])
    assert [each.result for each in outcomes] == ["a" * 32, "b" * 32, "c" * 32]
    assert len(seen) == 1
    assert known(database) == {"a" * 32, "b" * 32, "c" * 32}


def test_a_coroutine_that_waits_twice_goes_on_with_the_next_commit(database):
    seen = commits(database)
    coroutines = [adding(database, "a" * 32, lambda tx: len(tx.subjects.live_canaries())), adding(database, "b" * 32)]
    assert [each.result for each in database.together(coroutines)] == [2, "b" * 32]
    assert len(seen) == 2


def test_work_that_fails_undoes_nobody_elses(database):
    async def failing():
        def work(tx):
            tx.subjects.add_canary("d" * 32)
            raise ConflictError("on purpose")

        await database.run(work)

    outcomes = database.together([adding(database, "a" * 32), failing(), adding(database, "b" * 32)])
    assert [type(each.failure) for each in outcomes] == [type(None), ConflictError, type(None)]
    assert known(database) == {"a" * 32, "b" * 32}


def test_one_that_never_ends_is_told_so_and_the_others_end(database):
    async def endless():
        while True:
            await database.run(lambda tx: None)

    outcomes = database.together([endless(), adding(database, "a" * 32)])
    assert isinstance(outcomes[0].failure, RuntimeError)
    assert outcomes[1].result == "a" * 32


def test_alone_nothing_waits(database):
    coroutine = adding(database, "a" * 32)
    with pytest.raises(StopIteration, match="a" * 32):
        coroutine.send(None)
