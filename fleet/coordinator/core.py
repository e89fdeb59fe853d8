"""State that every part of the coordinator shares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from reram_fleet.crypto.key_store import KeyStore

from fleet.config import ServeSettings
from fleet.coordinator.plane import LearningPlane
from fleet.coordinator.sessions import Changes, Sessions
from fleet.store.database import Store, Transaction
from fleet.trust.keys import CoordinatorKeys

if TYPE_CHECKING:
    from fleet.coordinator.heads import HeadPrecomputer

T = TypeVar("T")


class Database:
    """The store, off the event loop: one thread writes, so transactions never wait for each other's locks."""

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


@dataclass
class Coordinator:
    """Composition of the coordinator; made by `serve.run`.

    Attributes
    ----------
    secrets
        One key file per person (`subject-TAG`), revision (`revision-N`) and learning job (`job-ID`): what is
        stored under it is gone when the file is.
    learning
        The learning plane, or None when the fleet runs without.
    head_precomputer
        Solves closed-form heads off the thread that writes while the reconcile loop runs; else None.
    """

    settings: ServeSettings
    fleet_id: str
    keys: CoordinatorKeys
    secrets: KeyStore
    database: Database
    learning: LearningPlane | None
    sessions: Sessions = field(default_factory=Sessions)
    changes: Changes = field(default_factory=Changes)
    head_precomputer: HeadPrecomputer | None = None
    #: Since when (Unix ms) this process has seen a job wait for nodes, by (job, attempt, generation).
    waiting_since: dict[tuple[str, int, int], int] = field(default_factory=dict)
    #: When this process began (Unix ms): before, no node could reach it.
    started_at_ms: int = 0
    #: Raw Ed25519 key of the registry whose tickets take people in; empty: nobody is taken in.
    registry_public_key: bytes = b""
    #: host:port of the gRPC server, once it is bound.
    address: str = ""

    def announce(self) -> None:
        """Tell sessions, the reconciler and watchers that the store has changed."""
        self.sessions.wake_all()
        self.changes.announce()
