"""The store off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from fleet.store.database import Store, Transaction

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Works that become durable with one commit.
MOST_AT_ONCE = 500
#: How long (s) works gather for one commit when the last one had several: what a transaction costs by itself, an fsync
#: above all, is then paid for by many. One that comes alone does not wait.
GATHER_S = 0.05


@dataclass(frozen=True)
class Asked:
    """Work that is asked of the store."""

    work: Callable[[Transaction], Any]
    #: Whose row it is about to read; "" if that is nobody's.
    node_id: str


@dataclass(frozen=True)
class Outcome:
    """Outcome of some work: its result, or why it failed."""

    result: Any = None
    failure: Exception | None = None


class Database:
    """The store in the calling thread: nobody is waited for, so tests and simulations go on when they choose."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def run(self, work: Callable[[Transaction], T], node_id: str = "") -> T:
        """Run some work, about a node perhaps, as one transaction; when this returns, it is durable."""
        with self.store.transaction() as tx:
            return work(tx)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run some reading over one consistent view."""
        return self.read_now(work)

    def read_now(self, work: Callable[[Transaction], T]) -> T:
        """Do the same in the calling thread."""
        with self.store.snapshot() as tx:
            return work(tx)

    def commit(self, together: Sequence[Asked]) -> list[Outcome]:
        """Do several works with as few commits as it takes; when this returns, they are durable.

        One that raises before it has written is left out; after that, all are undone and done again one by one.
        """
        if len(together) > 1:
            try:
                return self._committed_together(together)
            except Exception as error:  # noqa: BLE001  # Each is tried alone, and told.
                logger.info("works that waited for one commit are tried one by one: %s", error)
        return [self._committed(each) for each in together]

    def _committed_together(self, together: Sequence[Asked]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        with self.store.transaction() as tx:
            about = {each.node_id for each in together if each.node_id}
            tx.nodes.prefetch(about)
            tx.forgets.prefetch(about)
            for each in together:
                written = tx.writes
                try:
                    outcomes.append(Outcome(each.work(tx)))
                except Exception as error:
                    # PostgreSQL goes on with no transaction in which a statement has failed.
                    if tx.writes != written or isinstance(error, DBAPIError):
                        raise
                    outcomes.append(Outcome(failure=error))
        return outcomes

    def _committed(self, asked: Asked) -> Outcome:
        try:
            with self.store.transaction() as tx:
                result = asked.work(tx)
        except Exception as error:  # noqa: BLE001  # Told to whoever waits.
            return Outcome(failure=error)
        return Outcome(result)

    def close(self) -> None:
        """Close the store."""
        self.store.close()


@dataclass(frozen=True)
class _Waiting(Asked):
    """Work that somebody waits for."""

    done: asyncio.Future[Any]

    def tell(self, outcome: Outcome) -> None:
        """Tell whoever waits for it, if anybody still does; in their loop."""
        if self.done.done():
            return
        if outcome.failure is None:
            self.done.set_result(outcome.result)
        else:
            self.done.set_exception(outcome.failure)


class ThreadedDatabase(Database):
    """The store in threads of its own: one writes, so that transactions never wait for each other's locks.

    Works that wait for the writer are committed together, and none is acknowledged before all are durable.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="store-writer", daemon=True)
        self._writer.start()
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-reader")

    async def run(self, work: Callable[[Transaction], T], node_id: str = "") -> T:
        """Run some work, about a node perhaps, as one transaction; when this returns, it is durable."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put(_Waiting(work, node_id, done))
        return await done

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run some reading over one consistent view."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, work)

    def close(self) -> None:
        """Finish what runs, then close the store."""
        self._waiting.put(None)
        self._writer.join()
        self._readers.shutdown()
        super().close()

    def _write(self) -> None:
        together: list[_Waiting] = []
        while (first := self._waiting.get()) is not None:
            if len(together) > 1:
                time.sleep(GATHER_S)
            together = [first]
            while len(together) < MOST_AT_ONCE and not self._waiting.empty():
                if (following := self._waiting.get()) is None:
                    self._waiting.put(None)
                    break
                together.append(following)
            # Whoever was cancelled while they waited is left out.
            together = [each for each in together if not each.done.cancelled()]
            _tell(list(zip(together, self.commit(together), strict=True)))


def _tell(outcomes: Sequence[tuple[_Waiting, Outcome]]) -> None:
    """Tell all who wait, of one loop nearly always, with one wake-up of it: each costs a system call."""
    for loop, those in groupby(outcomes, lambda told: told[0].done.get_loop()):
        told = list(those)
        # A loop that has ended has nobody who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_tell_now, told)


def _tell_now(outcomes: Sequence[tuple[_Waiting, Outcome]]) -> None:
    for waiting, outcome in outcomes:
        waiting.tell(outcome)
