"""The coordinator as it runs: environment, store, learning plane, and who waits for a change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fleet.config import ServeSettings
from fleet.coordinator.database import Database
from fleet.coordinator.dispatcher import Dispatcher
from fleet.coordinator.nodes.sessions import Changes
from fleet.coordinator.shared_folder import SharedFolder
from fleet.coordinator.tls import Endpoint, ServerTls, called
from fleet.coordinator.unit import UnitOfWork
from fleet.coordinator.work import Environment
from fleet.store.database import Transaction
from fleet.store.touched import Touched

if TYPE_CHECKING:
    from fleet.learning.proxy import FleetProxy
    from fleet.learning.superlink import SuperLink

T = TypeVar("T")


@dataclass(frozen=True)
class LearningPlane:
    """One SuperLink, embedded or attached, and the proxy in front of it, which shows the coordinator's certificate.

    Its methods block for up to seconds: call them off the event loop.
    """

    superlink: SuperLink
    proxy: FleetProxy
    tls: ServerTls
    #: What ServerApps call this coordinator by; without an address and CA certificate of their own, as nodes do.
    token_path: Path
    ca_path: Path | None
    address: str | None
    attached: bool

    @classmethod
    def open(cls, settings: ServeSettings, tls: ServerTls, token_path: Path) -> LearningPlane:
        """Prepare the plane that the settings ask for."""
        # Imported here: it brings a web server and client, which no coordinator without a plane needs.
        from fleet.learning.superlink import SuperLink

        if settings.flower_attach is None or settings.flower_ca is None:
            superlink, attached = SuperLink.embedded(settings.state), False
        else:
            superlink = SuperLink.attached(settings.state, settings.flower_attach, settings.flower_ca)
            attached = True
        proxy = superlink.open_proxy(
            tls.files, host=settings.bound_host, called=called(settings), port=settings.flower_port
        )
        ca_path = None
        if settings.learning_folder is not None:
            shared = SharedFolder(settings.learning_folder)
            token_path, ca_path = shared.token_path, shared.ca_path
        return cls(superlink, proxy, tls, token_path, ca_path, settings.learning_address, attached)

    def is_gone(self, flower_public_key: str) -> bool:
        """Whether a SuperNode certainly takes no messages now: `FleetProxy.is_gone`."""
        return self.proxy.is_gone(flower_public_key)

    @property
    def state(self) -> str:
        """State as `fleet status` shows it: attached, or the state of the supervised SuperLink."""
        return "attached" if self.attached else str(self.superlink.state)

    def start(self) -> None:
        """Start the SuperLink and the proxy; returns when both answer."""
        self.superlink.start()
        self.proxy.start()
        self.superlink.wait_ready()

    def stop(self) -> None:
        """End both, with every run."""
        self.proxy.stop()
        self.superlink.stop()


@dataclass
class Coordinator:
    """One coordinator as it runs; made by `serve.compose`. What it decides is in `unit`."""

    env: Environment
    database: Database
    #: The learning plane, or None when the fleet runs without.
    learning: LearningPlane | None
    changes: Changes = field(default_factory=Changes)
    dispatcher: Dispatcher = field(init=False)
    #: Unit of the last transaction that has written.
    _writing: UnitOfWork | None = field(default=None, init=False)
    #: Where the gRPC server is, once it is bound; host:port of its metrics.
    endpoint: Endpoint = field(default_factory=Endpoint)
    metrics_address: str = ""
    #: When (monotonic, s) the reconcile loop began to look the last time; before it has, when this was made.
    looked_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(self)

    async def run(self, work: Callable[[UnitOfWork], T], node_id: str = "") -> T:
        """Do some work, about a node perhaps, as one transaction; when this returns, it is durable."""
        return await self.database.run(lambda tx: work(self._unit(tx)), node_id)

    def _unit(self, tx: Transaction) -> UnitOfWork:
        """Return the unit of the transaction that writes: works that share it share the parts."""
        if self._writing is None or self._writing.tx is not tx:
            self._writing = UnitOfWork(self.env, tx)
        return self._writing

    async def read(self, work: Callable[[UnitOfWork], T]) -> T:
        """Do some reading over one consistent view of the store."""
        return await self.database.read(lambda tx: work(UnitOfWork(self.env, tx)))

    def read_now(self, work: Callable[[UnitOfWork], T]) -> T:
        """Do the same in the calling thread."""
        return self.database.read_now(lambda tx: work(UnitOfWork(self.env, tx)))

    def silent_s(self) -> float:
        """Return the time (s) since the reconcile loop last looked."""
        return time.monotonic() - self.looked_s

    async def serve_changes(self) -> None:
        """Tell whom it concerns what transactions have changed, for ever; from the loop that runs this."""
        loop = asyncio.get_running_loop()

        def committed(touched: Touched) -> None:
            self.env.note(touched)
            if touched != Touched():
                loop.call_soon_threadsafe(self.tell, touched)

        self.database.store.on_commit = committed
        await self.dispatcher.run()

    def tell(self, touched: Touched) -> None:
        """Tell whom it concerns what a transaction has changed."""
        everybody = touched.everybody or touched.heads
        self.dispatcher.wake(None if everybody else touched.nodes)
        self.changes.announce()

    def announce(self) -> None:
        """Tell the reconciler and watchers that something has changed."""
        self.changes.announce()

    async def write_contacts(self) -> None:
        """Store what nodes said since the last time."""
        contacts = self.env.contacts.unwritten()
        if contacts:
            await self.run(lambda unit: unit.tx.nodes.write_contacts(contacts))
            self.env.contacts.written(contacts)

    async def solve_head_ahead(self) -> None:
        """Solve the head of the next revision off the thread that writes; from now on heads are solved so."""
        self.env.solves_ahead = True
        if self.env.revision_checked is not None:
            return
        self.env.head_ahead = await self.read(lambda unit: unit.heads.solved_ahead())

    async def destroy_orphaned_keys(self) -> None:
        """Destroy the keys of what was forgotten, erased or finished."""
        await self.run(lambda unit: unit.keys.destroy_orphaned())
