"""Record of a history: what was asked, said, heard and seen, in order, for the checker to judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

#: What is no line of a readable history: every heartbeat brings some.
_QUIET = frozenset({"asked", "lease", "leased", "look", "said", "ledger", "entry", "seen", "sram", "revision"})


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was seen.

    Parameters
    ----------
    step
        Events that had happened by then.
    at_s
        Time since the history began: virtual, or of the wall.
    node
        Node that it is about; "" for the coordinator, or the fleet.
    """

    step: int
    at_s: float
    kind: str
    node: str
    data: Mapping[str, Any]

    @property
    def is_quiet(self) -> bool:
        """Whether a reader of the history would rather not see it."""
        return self.kind in _QUIET

    def __str__(self) -> str:
        return f"{self.kind} {self.node} " + " ".join(f"{name}={shown(value)}" for name, value in self.data.items())


def shown(value: Any) -> str:
    """Return a value as a line of a history has it."""
    match value:
        case bytes():
            return value.hex()[:8]
        case float():
            return f"{value:.1f}"
        case set() | frozenset():
            return shown(sorted(value))
        case tuple() | list():
            return f"[{', '.join(map(shown, value))}]"
        case str() if len(value) == 32:
            return value[:6]
        case _:
            return str(value)


class Moments(Protocol):
    """Time of a history: the scheduler of a simulated one, a clock of a real one."""

    @property
    def happened(self) -> int:
        """Events that have happened."""

    @property
    def now_s(self) -> float:
        """Seconds since the history began."""


class Record:
    """Events of one history, in order.

    Parameters
    ----------
    lease_s
        Lease of the fleet.
    """

    def __init__(self, moments: Moments, lease_s: float) -> None:
        self._moments, self.lease_s = moments, lease_s
        self.events: list[Event] = []
        #: Called with each event.
        self.on_event: Callable[[Event], None] = lambda event: None

    def note(self, kind: str, node: str = "", /, **data: Any) -> None:
        """Note an event of now."""
        event = Event(self._moments.happened, self._moments.now_s, kind, node, data)
        self.events.append(event)
        self.on_event(event)

    def of(self, *kinds: str) -> Iterator[Event]:
        """Yield the events of some kinds, in order."""
        return (event for event in self.events if event.kind in kinds)
