"""Unit of work: one transaction of the coordinator, and what it may use beside the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

from reram_fleet.crypto.digests import erasers_digest, head_digest, lora_digest, subject_digest
from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.crypto.randomness import SYSTEM, Randomness
from reram_fleet.v1.types_pb2 import RevisionContent

from fleet.config import ServeSettings
from fleet.coordinator.nodes.leases import LeaseBook
from fleet.coordinator.nodes.sessions import Sessions
from fleet.coordinator.revisions.revision_head import RevisionHead
from fleet.store.database import Transaction
from fleet.store.touched import Contacts, Touched
from fleet.trust.keys import Signer

P = TypeVar("P", bound="Part")


#: Tables that say nothing of people: what is written to them changes no revision.
NOT_IN_REVISIONS = {
    *("node", "node_cost", "quarantined_report", "tally", "execution", "execution_event", "receipt", "receipt_cost"),
    *("audit_event", "tree_leaf", "tree_node", "leader"),
}


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
    #: RevisionContent, serialised.
    plaintext: bytes

    @cached_property
    def content(self) -> RevisionContent:
        """What was decrypted."""
        return RevisionContent.FromString(self.plaintext)

    @cached_property
    def expected(self) -> ExpectedAdapters:
        """What a node that runs it must name."""
        content = self.content
        return ExpectedAdapters(
            {subject.subject_tag: subject_digest(subject) for subject in content.subjects},
            lora_digest(content.shared_lora),
            head_digest(content.head),
            erasers_digest(content.erasers),
        )


@dataclass(frozen=True)
class ExpectedAdapters:
    """Digests of a revision's adapters: of every person's, of the LoRA, of the head, of erasers."""

    subjects: Mapping[str, bytes]
    lora: bytes
    head: bytes
    erasers: bytes


@dataclass
class Environment:
    """Everything that a transaction may use beside the store: ports, settings, and facts of this process."""

    settings: ServeSettings
    fleet_id: str
    keys: Signer
    #: One key file per person, revision, learning job and checkpoint (`at_rest`): what is stored under it is gone when
    #: the file is.
    secrets: KeyStore
    randomness: Randomness = SYSTEM
    #: The learning plane, or None when the fleet runs without.
    learning: RoundsReach | None = None
    sessions: Sessions = field(default_factory=Sessions)
    #: Whether heads are solved off the thread that writes, and the last one that was, until a revision has it.
    solves_ahead: bool = False
    head_ahead: RevisionHead | None = None
    #: Head solved ahead with which the next revision was found to be the newest one, as long as that is so; else None.
    revision_checked: tuple[RevisionHead | None] | None = None
    #: The revision that was read last; gone with its key.
    opened_revision: OpenedRevision | None = None
    #: Heartbeats and telemetry that are not written yet.
    contacts: Contacts = field(default_factory=Contacts)
    #: Leases that may be granted without a transaction.
    leases: LeaseBook = field(default_factory=LeaseBook)
    #: Newest entry of the forget log that is durable, and the nodes that are held.
    generation: int = 0
    held: set[str] = field(default_factory=set)
    #: Nodes that have not said where they are since the coordinator was restored: nobody gets a lease before.
    awaited: set[str] = field(default_factory=set)
    #: Since when (Unix ms) this process has seen a job wait for nodes, by (job, attempt, generation).
    waiting_since: dict[tuple[str, int, int], int] = field(default_factory=dict)
    #: When this process began (Unix ms): before, no node could reach it.
    started_at_ms: int = 0
    #: Raw Ed25519 key of the registry whose tickets take people in; empty: nobody is taken in.
    registry_public_key: bytes = b""

    def note(self, touched: Touched) -> None:
        """Keep in mind what has become durable."""
        # None is built while nodes are awaited, whose rows else change none. Leases are reserved in the fleet's row; a
        # forget, which also changes that, writes elsewhere as well.
        reserved = {"fleet"} if touched.leases is not None else set()
        if touched.awaited or touched.wrote - NOT_IN_REVISIONS - reserved:
            self.revision_checked = None
        self.generation = self.generation if touched.generation is None else touched.generation
        for node_id, held in touched.held.items():
            (self.held.add if held else self.held.discard)(node_id)
        for node_id, awaited in touched.awaited.items():
            (self.awaited.add if awaited else self.awaited.discard)(node_id)
        if touched.leases is not None:
            self.leases.reserved(*touched.leases)


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
