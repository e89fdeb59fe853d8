"""Finding of an examination: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """State of what was looked at."""

    OK = "ok"
    #: Could not be looked at, from here or now.
    UNKNOWN = "unknown"
    #: It works, and should be seen to.
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    area: str
    state: State
    found: str
    #: Command that mends it, or what to do where no command does; "" if there is nothing to mend.
    fix: str = ""


@dataclass(frozen=True)
class Area:
    """Name under which the findings of a check stand."""

    name: str

    def ok(self, found: str) -> Finding:
        """Return that it is as it should be."""
        return Finding(self.name, State.OK, found)

    def unknown(self, found: str, fix: str = "") -> Finding:
        """Return that it could not be looked at."""
        return Finding(self.name, State.UNKNOWN, found, fix)

    def warning(self, found: str, fix: str = "") -> Finding:
        """Return that it should be seen to."""
        return Finding(self.name, State.WARNING, found, fix)

    def failure(self, found: str, fix: str = "") -> Finding:
        """Return that it is not as it must be."""
        return Finding(self.name, State.FAILURE, found, fix)


def some(names: list[str], most: int = 5) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
