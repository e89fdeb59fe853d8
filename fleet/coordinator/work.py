"""Unit of work: one transaction of the coordinator, and what it may use beside the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.v1.types_pb2 import RevisionContent

from fleet.config import ServeSettings
from fleet.coordinator.nodes.sessions import Sessions
from fleet.coordinator.revisions.revision_head import RevisionHead
from fleet.store.database import Transaction
from fleet.trust.keys import CoordinatorKeys

P = TypeVar("P", bound="Part")


class RoundsReach(Protocol):
    """Learning plane as transactions see it."""

    def is_gone(self, flower_public_key: str) -> bool:
        """Whether a SuperNode certainly takes no messages now."""
        ...


@dataclass(frozen=True)
class OpenedRevision:
    """Decrypted content of a revision, and what it was decrypted from."""

    key_id: str
    ciphertext: bytes
    content: RevisionContent


@dataclass
class Environment:
    """Everything that a transaction may use beside the store: ports, settings, and facts of this process."""

    settings: ServeSettings
    fleet_id: str
    keys: CoordinatorKeys
    #: One key file per person, revision, learning job and checkpoint (`at_rest`): what is stored under it is gone when
    #: the file is.
    secrets: KeyStore
    #: The learning plane, or None when the fleet runs without.
    learning: RoundsReach | None = None
    sessions: Sessions = field(default_factory=Sessions)
    #: Whether heads are solved off the thread that writes, and the last one that was, until a revision has it.
    solves_ahead: bool = False
    head_ahead: RevisionHead | None = None
    #: The revision that was read last; gone with its key.
    opened_revision: OpenedRevision | None = None
    #: Since when (Unix ms) this process has seen a job wait for nodes, by (job, attempt, generation).
    waiting_since: dict[tuple[str, int, int], int] = field(default_factory=dict)
    #: When this process began (Unix ms): before, no node could reach it.
    started_at_ms: int = 0
    #: Raw Ed25519 key of the registry whose tickets take people in; empty: nobody is taken in.
    registry_public_key: bytes = b""


class Work:
    """One transaction and its parts, each made once."""

    def __init__(self, env: Environment, tx: Transaction) -> None:
        self.env, self.tx = env, tx
        self._parts: dict[type[Part], Any] = {}

    def part(self, kind: type[P]) -> P:
        """Return the part of a kind."""
        if kind not in self._parts:
            self._parts[kind] = kind(self)
        found: P = self._parts[kind]
        return found


class Part:
    """Decisions about one subject, within one transaction."""

    def __init__(self, work: Work) -> None:
        self._env, self._tx = work.env, work.tx
