"""State that every part of the coordinator shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from reram_fleet.crypto.key_store import KeyStore

from fleet.config import ServeSettings
from fleet.coordinator.at_rest import destroy_orphaned_keys
from fleet.coordinator.database import Database
from fleet.coordinator.heads import HeadPrecomputer
from fleet.coordinator.plane import LearningPlane
from fleet.coordinator.sessions import Changes, Sessions
from fleet.trust.keys import CoordinatorKeys


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
