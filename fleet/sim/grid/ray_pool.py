"""Pool of Ray actors: chunks of nodes on several cores or machines."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import ray
from flwr.app import Context, Message, RecordDict

from fleet.sim.grid.apps import Chunk, ChunkPool, NodeApp

#: Chunks that wait at an actor while it works: one, so that it never idles.
_AHEAD = 2


class RayPool(ChunkPool):
    """Ray actors that run chunks of one `NodeApp`. Used in a `with` statement.

    Chunks are the same as without it, so results are too. Replies stay in Ray's shared memory. What a node keeps
    travels with its chunk: an app may be asked for any node on any actor.

    Parameters
    ----------
    app
        Is pickled; every actor has a copy.
    actors
        Each takes one core. A cluster that this process has joined with `ray.init` is used, or one is started here.
    threads
        Of torch and BLAS in each actor.
    """

    def __init__(self, app: NodeApp, *, actors: int = 2, threads: int = 1) -> None:
        if actors < 1:
            raise ValueError(f"a pool has at least one actor, got {actors}")
        self._app, self._count, self._threads = app, actors, threads
        self._actors: list[Any] = []
        self._started = False

    def __enter__(self) -> Self:
        if not ray.is_initialized():
            # Else Ray warns that this will be so one day; there are no accelerators here.
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            ray.init(num_cpus=self._count, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            self._started = True
        environment = {"env_vars": {"OMP_NUM_THREADS": str(self._threads), "MKL_NUM_THREADS": str(self._threads)}}
        actor = ray.remote(num_cpus=1, runtime_env=environment)(_Worker)
        app = ray.put(self._app)
        self._actors = [actor.remote(app) for _ in range(self._count)]
        return self

    def __exit__(self, *error: object) -> None:
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._started:
            ray.shutdown()
            self._started = False

    def map(self, chunks: Iterable[Chunk]) -> Iterator[Sequence[Message]]:
        """Run chunks in turn on the actors, at most two ahead on each."""
        running: deque[tuple[Any, Chunk]] = deque()
        for number, chunk in enumerate(chunks):
            if len(running) == _AHEAD * self._count:
                yield _replies(*running.popleft())
            running.append((self._actors[number % self._count].run.remote(*chunk), chunk))
        while running:
            yield _replies(*running.popleft())


class _Worker:
    """An actor's half: the app."""

    def __init__(self, app: NodeApp) -> None:
        self._app = app

    def run(self, messages: Sequence[Message], contexts: Sequence[Context]) -> tuple[Sequence[Message], list[Any]]:
        """Run a chunk; returns its replies, and the state of each context that has one."""
        replies = self._app(messages, contexts)
        return replies, [context.state or None for context in contexts]


def _replies(running: Any, chunk: Chunk) -> Sequence[Message]:
    replies, states = ray.get(running)
    for context, state in zip(chunk[1], states, strict=True):
        context.state = RecordDict() if state is None else state
    found: Sequence[Message] = replies
    return found
