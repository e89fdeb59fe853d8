from __future__ import annotations

import asyncio

import pytest

from fleet.coordinator.nodes.sessions import (
    MISSED_HEARTBEATS,
    SILENCE_LIMIT_S,
    Changes,
    Sessions,
    silence_limit_s,
    woken,
)
from fleet.coordinator.testing import MemoryLink


def test_node_is_connected_from_open_to_close():
    sessions = Sessions()
    session = sessions.open("node-1", MemoryLink())
    sessions.open("node-2", MemoryLink())
    assert sessions.connected() == {"node-1", "node-2"}
    sessions.close(session)
    assert sessions.connected() == {"node-2"}


def test_second_stream_of_a_node_supersedes_the_first_and_ends_it():
    sessions, links = Sessions(), [MemoryLink(), MemoryLink()]
    streams = [sessions.open("node-1", link) for link in links]
    assert [session.superseded for session in streams] == [True, False]
    assert [link.ended for link in links] == [True, False]


def test_end_of_a_superseded_stream_does_not_disconnect_the_node():
    sessions = Sessions()
    older = sessions.open("node-1", MemoryLink())
    sessions.open("node-1", MemoryLink())
    sessions.close(older)
    assert sessions.connected() == {"node-1"}


def test_new_stream_remembers_nothing_of_what_the_old_one_was_sent():
    sessions = Sessions()
    older = sessions.open("node-1", MemoryLink())
    older.log_sent, older.revision_sent = 3, 2
    older.erase_sent.add(b"nonce")
    newer = sessions.open("node-1", MemoryLink())
    assert (newer.log_sent, newer.revision_sent, newer.erase_sent) == (0, 0, set())


def test_only_connected_nodes_are_looked_at():
    sessions = Sessions()
    both = [sessions.open("node-1", MemoryLink()), sessions.open("node-2", MemoryLink())]
    assert sessions.among(["node-2", "node-3"]) == {"node-2"}
    assert sessions.chosen(["node-2", "node-3"]) == both[1:]
    assert sessions.chosen() == both


def test_waiter_returns_with_the_change_that_it_has_not_seen():
    async def story() -> tuple[int, int]:
        changes = Changes()
        waiting = asyncio.create_task(changes.wait_beyond(0, timeout_s=60.0))
        await asyncio.sleep(0)
        changes.announce()
        return await waiting, await changes.wait_beyond(0, 60.0)

    assert asyncio.run(story()) == (1, 1)


def test_waiter_that_has_seen_everything_returns_after_the_timeout_with_the_same_version():
    async def story() -> int:
        changes = Changes()
        changes.announce()
        return await changes.wait_beyond(1, timeout_s=0.01)

    assert asyncio.run(story()) == 1


def test_watcher_that_leaves_keeps_nobody_from_hearing_the_next_change():
    async def story() -> int:
        changes = Changes()
        leaving = [asyncio.create_task(changes.wait_beyond(0, 60.0)) for _ in range(3)]
        staying = asyncio.create_task(changes.wait_beyond(0, 60.0))
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
            task.cancel()
        changes.announce()
        await asyncio.gather(*leaving, return_exceptions=True)
        return await asyncio.wait_for(staying, 5.0)

    assert asyncio.run(story()) == 1


@pytest.mark.parametrize("steps", range(4))
def test_watcher_that_is_cancelled_as_its_event_comes_ends(steps):
    """Else the session of a stream that has ended stays open: its node would count as connected for ever."""

    async def turn(times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def ends() -> bool:
        event = asyncio.Event()

        async def watch() -> None:
            while True:
                event.clear()
                await woken(event, 60.0)

        watcher = asyncio.create_task(watch())
        await turn(5)
        event.set()
        await turn(steps)
        watcher.cancel()
        await turn(10)
        ended = watcher.done()
        watcher.cancel()
        return ended

    assert asyncio.run(ends())


def test_silence_of_several_beats_is_the_end_whatever_the_interval():
    assert silence_limit_s(0) == SILENCE_LIMIT_S
    assert silence_limit_s(1.0) == MISSED_HEARTBEATS
    assert silence_limit_s(0.05) == 5.0
    # Nodes that beat more slowly than the first limit keep their streams, but not for years.
    assert silence_limit_s(10.0) == 20.0
    assert silence_limit_s(43_200.0) == 86_400.0
    assert silence_limit_s(2e6) == 172_800.0
