"""Pool of Ray actors: chunks of nodes on several cores or machines."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from flwr.app import Context, Message, RecordDict

from fleet.sim.grid.apps import Chunk, ChunkPool, NodeApp
from fleet.sim.grid.ray_actors import PARTS_AT_ACTOR, RayActors


class RayPool(ChunkPool):
    """Ray actors that run chunks of one `NodeApp`. Used in a `with` statement.

    Chunks are the same as without it, so results are too. Replies stay in Ray's shared memory. What a node keeps
    travels with its chunk: an app may be asked for any node on any actor.

    Parameters
    ----------
    app
        Is pickled; every actor has a copy.
    actors, threads
        As of `RayActors`.
    """

    def __init__(self, app: NodeApp, *, actors: int = 2, threads: int = 1) -> None:
        self._actors = RayActors(_Worker, app, count=actors, threads=threads)

    def __enter__(self) -> Self:
        self._actors.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._actors.__exit__(*error)

    def map(self, chunks: Iterable[Chunk]) -> Iterator[Sequence[Message]]:
        """Run chunks in turn on the actors, at most two ahead on each."""
        running: deque[tuple[Any, Chunk]] = deque()
        for number, chunk in enumerate(chunks):
            if len(running) == PARTS_AT_ACTOR * len(self._actors):
                yield self._replies(*running.popleft())
            running.append((self._actors[number % len(self._actors)].run.remote(*chunk), chunk))
        while running:
            yield self._replies(*running.popleft())

    def _replies(self, running: Any, chunk: Chunk) -> Sequence[Message]:
        replies, states = self._actors.got(running)
        for context, state in zip(chunk[1], states, strict=True):
            context.state = RecordDict() if state is None else state
        found: Sequence[Message] = replies
        return found


class _Worker:
    """An actor's half: the app."""

    def __init__(self, app: NodeApp) -> None:
        self._app = app

    def run(self, messages: Sequence[Message], contexts: Sequence[Context]) -> tuple[Sequence[Message], list[Any]]:
        """Run a chunk; returns its replies, and the state of each context that has one."""
        replies = self._app(messages, contexts)
        return replies, [context.state or None for context in contexts]
