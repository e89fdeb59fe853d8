"""Links to nodes: one suite over a stream and its twin in memory, and what only a stream can get wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from reram_fleet.v1.node_pb2 import ConnectResponse
from reram_fleet.v1.types_pb2 import Envelope

from fleet.coordinator.nodes.links import OUTBOX_LIMIT, Link, StreamLink
from fleet.coordinator.testing import MemoryLink

#: What a test does with a link; with `arrived`, what has reached the node by now.
Story = Callable[[Link, Callable[[], Awaitable[list[str]]]], Awaitable[object]]


def over_a_stream(story: Story) -> object:
    async def run() -> object:
        taken: list[ConnectResponse] = []

        async def write(message: ConnectResponse) -> None:
            taken.append(message)

        async def arrived() -> list[str]:
            await asyncio.sleep(0.01)
            return names(taken)

        async def stream() -> StreamLink:
            return StreamLink("node-1", write)

        return await story(await asyncio.create_task(stream()), arrived)

    return asyncio.run(run())


def in_memory(story: Story) -> object:
    async def run() -> object:
        link, taken = MemoryLink(), []

        async def arrived() -> list[str]:
            taken.extend(link.taken())
            return names(taken)

        return await story(link, arrived)

    return asyncio.run(run())


@pytest.fixture(params=[over_a_stream, in_memory])
def over(request) -> Callable[[Story], object]:
    return request.param


def messages(*names: str) -> list[ConnectResponse]:
    return [ConnectResponse(lease=Envelope(key_id=name)) for name in names]


def names(messages: list[ConnectResponse]) -> list[str]:
    return [message.lease.key_id for message in messages]


def test_messages_reach_a_node_in_order(over):
    async def story(link, arrived):
        link.send(messages("1", "2"))
        link.send(messages("3"))
        return await arrived()

    assert over(story) == ["1", "2", "3"]


def test_nothing_is_sent_once_a_link_has_ended(over):
    async def story(link, arrived):
        link.send(messages("1"))
        before = await arrived()
        link.end()
        link.send(messages("2"))
        return before, await arrived()

    assert over(story) == (["1"], ["1"])


def test_the_end_of_a_link_ends_the_task_that_serves_it():
    async def run() -> bool:
        links: list[StreamLink] = []

        async def write(message: ConnectResponse) -> None:
            raise AssertionError("nothing is sent")

        async def serve() -> None:
            links.append(StreamLink("node-1", write))
            await asyncio.sleep(60)

        serving = asyncio.create_task(serve())
        await asyncio.sleep(0)
        links[0].end()
        await asyncio.gather(serving, return_exceptions=True)
        return serving.cancelled()

    assert asyncio.run(run())


def test_a_reader_waits_for_a_node_that_does_not_take_its_messages():
    async def run() -> tuple[bool, int]:
        taken, open_gate = [], asyncio.Event()

        async def write(message: ConnectResponse) -> None:
            await open_gate.wait()
            taken.append(message)

        link = StreamLink("node-1", write)
        link.send(messages(*"x" * (OUTBOX_LIMIT + 2)))
        room = asyncio.create_task(link.room())
        await asyncio.sleep(0.01)
        waits = not room.done()
        open_gate.set()
        await room
        return waits, len(taken)

    assert asyncio.run(run()) == (True, OUTBOX_LIMIT + 2)
