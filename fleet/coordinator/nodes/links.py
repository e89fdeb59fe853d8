"""Links to nodes: what a session writes to, and how that ends."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from reram_fleet.v1.node_pb2 import ConnectResponse

logger = logging.getLogger(__name__)

#: Messages that wait to be written to one node.
OUTBOX_LIMIT = 64
#: A message that a node has not taken by then keeps its stream from ending in order.
WRITE_LIMIT_S = 5.0


class Link(Protocol):
    """Way to one connected node."""

    def send(self, messages: Iterable[ConnectResponse]) -> None:
        """Have messages reach the node, in this order, unless the link ends before."""

    def end(self) -> None:
        """Have the link end; nothing that is sent from now on arrives."""


class StreamLink:
    """Link over a stream of gRPC: messages wait in a queue, and are written as fast as the node takes them.

    It is made by the task that serves the stream, which its end cancels.
    """

    def __init__(self, node_id: str, write: Callable[[ConnectResponse], Awaitable[None]]) -> None:
        self._node_id, self._write = node_id, write
        self._waiting: deque[ConnectResponse] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[Any] | None = asyncio.current_task()
        self._ended = False

    def send(self, messages: Iterable[ConnectResponse]) -> None:
        """Have messages written, in this order."""
        if self._ended:
            return
        self._waiting.extend(messages)
        if self._waiting and self._writer is None:
            self._writer = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._write(self._waiting.popleft())
        except Exception as error:  # noqa: BLE001  # Whatever carries the messages.
            # The stream has ended; its reader sees that as well.
            logger.debug("node %s is not written to: %r", self._node_id, error)
            self._waiting.clear()
        finally:
            self._writer = None

    async def room(self) -> None:
        """Wait until the node has taken most of what it was sent: who talks without listening is not listened to."""
        while len(self._waiting) >= OUTBOX_LIMIT and self._writer is not None:
            await asyncio.wait([self._writer])

    async def written(self) -> None:
        """Wait for the message that is being written, and let no other begin.

        gRPC cannot end a call meanwhile: it refuses to, and the node would wait on a stream that nobody serves.
        """
        self._waiting.clear()
        if self._writer is not None and not (await asyncio.wait([self._writer], timeout=WRITE_LIMIT_S))[0]:
            logger.info("node %s does not take the message that it is sent", self._node_id)

    def end(self) -> None:
        """Cancel the task that reads, and write no message more than the one that is being written."""
        self._ended = True
        self._waiting.clear()
        if self._reader is not None:
            self._reader.cancel()
