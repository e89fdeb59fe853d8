"""The caller's map of people to subject tags. It never leaves the caller.

The fleet knows random tags only; who is behind a tag stands in this JSON file (0600). Each enrolment of a person has a
tag of its own, so that a new consent after a forget is a new tag. A forgotten tag stays listed, to show that it was
forgotten; it is never used again.

The registry alone knows who consented, so it signs who may be enrolled where: its key lies beside it, and coordinator
and nodes have the public half.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.key_store import create_private, read_private
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.processes.durable import locked, write_atomically
from reram_fleet.v1.types_pb2 import Envelope

from fleet.errors import FleetError, NotFoundError, reason_of

API_VERSION = "reram-fleet/registry/v1"


class RegistryError(FleetError):
    """The registry's file cannot be read, or does not hold what a registry holds."""


class UnknownPersonError(RegistryError, NotFoundError):
    """Nobody of this name has an enrolment."""


class EnrolmentState(StrEnum):
    """State of an enrolment."""

    ACTIVE = "active"  # -> forgotten
    FORGOTTEN = "forgotten"


@dataclass(frozen=True)
class Enrolment:
    """One consent of one person, and the random tag that stands for it."""

    tag: str
    state: EnrolmentState = EnrolmentState.ACTIVE
    enrolled_at_unix_ms: int = 0
    campaign_id: str | None = None


class Registry:
    """The file, read at each question and rewritten under a lock at each change."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def people(self) -> dict[str, tuple[Enrolment, ...]]:
        """Return all people with their enrolments, oldest first; an absent file has none.

        `RegistryError` if the file is damaged or written by something else.
        """
        raw = self._read()
        try:
            return {
                person: tuple(Enrolment(**{**e, "state": EnrolmentState(e["state"])}) for e in enrolments)
                for person, enrolments in (raw["people"] if raw else {}).items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"cannot read the registry {self.path}: {reason_of(error)}") from error

    def _read(self) -> dict[str, Any]:
        try:
            raw: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            if raw["api_version"] != API_VERSION:
                raise RegistryError(f"{self.path} is {raw['api_version']!r}, expected {API_VERSION!r}")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RegistryError(f"cannot read the registry {self.path}: {reason_of(error)}") from error
        return raw

    def enrolments(self, person: str) -> tuple[Enrolment, ...]:
        """Return a person's enrolments; `UnknownPersonError` if there is nobody of this name."""
        people = self.people()
        if person not in people:
            near = " or ".join(repr(name) for name in difflib.get_close_matches(person, people, n=3))
            raise UnknownPersonError(
                f"nobody called {person!r} is in the registry {self.path}",
                hint=f"did you mean {near}?" if near else "`fleet registry list` shows who is",
            )
        return people[person]

    def active_tags(self, person: str) -> list[str]:
        """Return the tags that a forget of this person has to name; raises `UnknownPersonError`."""
        return [e.tag for e in self.enrolments(person) if e.state is EnrolmentState.ACTIVE]

    def person_of(self, tag: str) -> str | None:
        """Return whose tag this is."""
        for person, enrolments in self.people().items():
            if any(enrolment.tag == tag for enrolment in enrolments):
                return person
        return None

    def enrol(self, person: str) -> str:
        """Give a person a new enrolment; returns its tag once it is on disk; `RegistryError` if the name is empty."""
        if not person.strip():
            raise RegistryError("a person needs a name to be found again")
        tag = new_tag()
        with self._locked():
            people = self.people()
            enrolment = Enrolment(tag, enrolled_at_unix_ms=time.time_ns() // 1_000_000)
            people[person] = (*people.get(person, ()), enrolment)
            self._write(people)
        return tag

    @property
    def key_path(self) -> Path:
        """File of the key that signs enrolment tickets (0600)."""
        return self.path.with_suffix(".key")

    def key(self) -> Ed25519PrivateKey:
        """Return the key that signs enrolment tickets, made with the first ticket.

        `RegistryError` if it is not there although there was one: coordinators and nodes have its public half pinned,
        so another one would be of no use to them.
        """
        with self._locked():
            content = self._read()
            said = content.get("ticket_public_key")
            if not self.key_path.exists():
                if said is not None:
                    raise RegistryError(
                        f"the registry's key {self.key_path} is missing",
                        hint="restore it from a backup: fleets take people in on tickets of that key only",
                    )
                try:
                    create_private(self.key_path, Ed25519PrivateKey.generate().private_bytes_raw())
                except OSError as error:
                    raise self._unwritable(error) from error
            try:
                key = Ed25519PrivateKey.from_private_bytes(read_private(self.key_path))
            except ValueError as error:
                raise RegistryError(f"{self.key_path} is not a key: {error}") from error
            public = key.public_key().public_bytes_raw().hex()
            if said not in (None, public):
                raise RegistryError(f"{self.key_path} is another key than {self.path} was begun with")
            if said is None:
                self._save({**content, "ticket_public_key": public})
            return key

    def ticket(self, tag: str, fleet_id: str, node_ids: Collection[str], days: float = 30.0) -> Envelope:
        """Return leave to enrol the person of a tag on some nodes, for some days.

        `RegistryError` if no active enrolment has this tag, or no node is named.
        """
        if not node_ids:
            raise RegistryError("a ticket is for nodes that are named", hint="--node NODE, once for each")
        person = self.person_of(tag)
        if person is None or tag not in self.active_tags(person):
            raise RegistryError(f"no active enrolment in {self.path} has the tag {tag[:40]!r}")
        return issue_ticket(
            self.key(),
            fleet_id=fleet_id,
            subject_tag=tag,
            node_ids=node_ids,
            expires_at_unix_ms=round(time.time() * 1000 + days * 86_400_000),
        )

    def mark_forgotten(self, tags: Collection[str], campaign_id: str) -> int:
        """Record that these tags were forgotten by a campaign; returns how many are listed here."""
        with self._locked():
            marked = 0
            people = self.people()
            for person, enrolments in people.items():
                marked += sum(e.tag in tags for e in enrolments)
                people[person] = tuple(
                    replace(e, state=EnrolmentState.FORGOTTEN, campaign_id=campaign_id)
                    if e.tag in tags and e.state is EnrolmentState.ACTIVE
                    else e
                    for e in enrolments
                )
            if marked:
                self._write(people)
        return marked

    def _write(self, people: dict[str, tuple[Enrolment, ...]]) -> None:
        listed = {name: [asdict(e) for e in enrolments] for name, enrolments in people.items()}
        self._save({**self._read(), "people": listed})

    def _save(self, content: dict[str, Any]) -> None:
        whole = {"people": {}, **content, "api_version": API_VERSION}
        try:
            write_atomically(self.path, json.dumps(whole, indent=2, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The lock has a file of its own: the registry itself is replaced at each change.
        lock = self.path.with_name(f"{self.path.name}.lock")
        with ExitStack() as held:
            try:
                held.enter_context(locked(lock, wait=True))
            except OSError as error:
                raise self._unwritable(error) from error
            yield

    def _unwritable(self, error: OSError) -> RegistryError:
        return RegistryError(
            f"cannot write the registry {self.path}: {reason_of(error)}; nothing was changed",
            hint="--registry names another file",
        )
