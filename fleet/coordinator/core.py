"""State that every part of the coordinator shares, and its learning plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reram_fleet.crypto.key_store import KeyStore

from fleet.config import ServeSettings
from fleet.coordinator.at_rest import destroy_orphaned_keys
from fleet.coordinator.database import Database
from fleet.coordinator.heads import HeadPrecomputer
from fleet.coordinator.sessions import Changes, Sessions
from fleet.learning.proxy import FleetProxy
from fleet.learning.superlink import SuperLink
from fleet.trust.keys import CoordinatorKeys


@dataclass(frozen=True)
class LearningPlane:
    """One SuperLink, embedded or attached, and the proxy in front of it.

    Its methods block for up to seconds: call them off the event loop.
    """

    superlink: SuperLink
    proxy: FleetProxy
    token_path: Path
    attached: bool

    @classmethod
    def open(cls, settings: ServeSettings, token_path: Path) -> LearningPlane:
        """Prepare the plane that the settings ask for."""
        if settings.flower_attach is None or settings.flower_ca is None:
            superlink, attached = SuperLink.embedded(settings.state), False
        else:
            superlink = SuperLink.attached(settings.state, settings.flower_attach, settings.flower_ca)
            attached = True
        return cls(superlink, superlink.open_proxy(settings.host), token_path, attached)

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
    """Composition of the coordinator; made by `serve.compose`."""

    settings: ServeSettings
    fleet_id: str
    keys: CoordinatorKeys
    #: One key file per person, revision, learning job and checkpoint (`at_rest`): what is stored under it is gone when
    #: the file is.
    secrets: KeyStore
    database: Database
    #: The learning plane, or None when the fleet runs without.
    learning: LearningPlane | None
    sessions: Sessions = field(default_factory=Sessions)
    changes: Changes = field(default_factory=Changes)
    #: Solves closed-form heads off the thread that writes while the reconcile loop runs; else None.
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

    async def destroy_orphaned_keys(self) -> None:
        """Destroy the keys of what was forgotten, erased or finished."""
        await self.database.run(partial(destroy_orphaned_keys, self.secrets))
