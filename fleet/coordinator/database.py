"""The store off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fleet.store.database import Store, Transaction

T = TypeVar("T")


class Database:
    """The store in threads of its own: one writes, so that transactions never wait for each other's locks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-reader")

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run some work as one transaction; when this returns, it is durable."""

        def transact() -> T:
            with self._store.transaction() as tx:
                return work(tx)

        return await asyncio.get_running_loop().run_in_executor(self._writer, transact)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run some reading over one consistent view."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, work)

    def read_now(self, work: Callable[[Transaction], T]) -> T:
        """Do the same in the calling thread."""
        with self._store.snapshot() as tx:
            return work(tx)

    def close(self) -> None:
        """Finish what runs, then close the store."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._store.close()
