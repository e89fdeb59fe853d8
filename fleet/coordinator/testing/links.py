"""Link to a node of a test: what is sent waits in a list."""

from __future__ import annotations

from collections.abc import Iterable

from reram_fleet.v1.node_pb2 import ConnectResponse


class MemoryLink:
    """Link that keeps what is sent until it is taken."""

    def __init__(self) -> None:
        self._waiting: list[ConnectResponse] = []
        #: Whether the session has ended it.
        self.ended = False

    def send(self, messages: Iterable[ConnectResponse]) -> None:
        """Keep messages, in this order."""
        if not self.ended:
            self._waiting.extend(messages)

    def end(self) -> None:
        """Drop what was not taken."""
        self._waiting.clear()
        self.ended = True

    def taken(self) -> list[ConnectResponse]:
        """Return what was sent since the last time."""
        taken, self._waiting = self._waiting, []
        return taken
