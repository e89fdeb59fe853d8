"""The caller's map of people to subject tags. It never leaves the caller.

The fleet knows random tags only; who is behind a tag stands in this JSON file (0600).
Each enrolment of a person has a tag of its own, so that a new consent after a forget is
a new tag. A forgotten tag stays listed, to show that it was forgotten; it is never used
again.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from reram_fleet.durable import write_atomically

from fleet.domain.tags import new_tag
from fleet.errors import FleetError, NotFoundError, reason_of

API_VERSION = "reram-fleet/registry/v1"


class RegistryError(FleetError):
    """The registry's file cannot be read, or does not hold what a registry holds."""


class UnknownPersonError(RegistryError, NotFoundError):
    """Nobody of this name has an enrolment."""


class EnrolmentState(StrEnum):
    """What became of an enrolment."""

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

        Raises
        ------
        RegistryError
            If the file is damaged or written by something else.
        """
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
            if raw["api_version"] != API_VERSION:
                raise RegistryError(f"{self.path} is {raw['api_version']!r}, expected {API_VERSION!r}")
            return {
                person: tuple(Enrolment(**{**e, "state": EnrolmentState(e["state"])}) for e in enrolments)
                for person, enrolments in raw["people"].items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"cannot read the registry {self.path}: {reason_of(error)}") from error

    def enrolments(self, person: str) -> tuple[Enrolment, ...]:
        """Return a person's enrolments.

        Raises
        ------
        UnknownPersonError
            If there is nobody of this name.
        """
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
        """Give a person a new enrolment; returns its tag once it is on disk.

        Raises
        ------
        RegistryError
            If the name is empty.
        """
        if not person.strip():
            raise RegistryError("a person needs a name to be found again")
        tag = new_tag()
        with self._locked():
            people = self.people()
            enrolment = Enrolment(tag, enrolled_at_unix_ms=time.time_ns() // 1_000_000)
            people[person] = (*people.get(person, ()), enrolment)
            self._write(people)
        return tag

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
        content = {
            "api_version": API_VERSION,
            "people": {name: [asdict(e) for e in enrolments] for name, enrolments in people.items()},
        }
        try:
            write_atomically(self.path, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The lock has a file of its own: the registry itself is replaced at each change.
        lock = self.path.with_name(f"{self.path.name}.lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unwritable(self, error: OSError) -> RegistryError:
        return RegistryError(
            f"cannot write the registry {self.path}: {reason_of(error)}; nothing was changed",
            hint="--registry names another file",
        )
