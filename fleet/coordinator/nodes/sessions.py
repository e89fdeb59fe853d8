"""Sessions of nodes that are connected right now, and the wake-up of what waits for a change."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from reram_fleet.v1.node_pb2 import Telemetry

#: A node that has sent less than two heartbeats is taken for gone after this silence.
SILENCE_LIMIT_S = 15.0
#: As many heartbeats may be missed; a node gives its coordinator up after as many.
MISSED_HEARTBEATS = 8
#: A busy machine must not lose its nodes, however short their interval is.
_SHORTEST_LIMIT_S = 5.0


#: Times within an hour that one node may start over from a backup.
MAX_WENT_BACK = 30
_HOUR_MS = 3_600_000


class HeartbeatPace:
    """Pace of one node's heartbeats, and the silence after which it is taken for gone.

    The interval is the node's own setting, and it sends one early when it has something to say: the longest of
    the last gaps stands for it.
    """

    def __init__(self) -> None:
        self._gaps_s: deque[float] = deque(maxlen=MISSED_HEARTBEATS)
        self._last_s: float | None = None

    def note(self, now_s: float) -> None:
        """Note a heartbeat (seconds of a monotonic clock)."""
        if self._last_s is not None:
            self._gaps_s.append(now_s - self._last_s)
        self._last_s = now_s

    @property
    def silence_limit_s(self) -> float:
        """Longest silence that is not yet the end, in seconds."""
        if not self._gaps_s:
            return SILENCE_LIMIT_S
        longest_s = max(self._gaps_s)
        # One stall of a second must not buy the node a minute.
        most_s = max(SILENCE_LIMIT_S, 2 * longest_s)
        return max(_SHORTEST_LIMIT_S, min(MISSED_HEARTBEATS * longest_s, most_s))


@dataclass(eq=False)
class Session:
    """One open stream of one node."""

    node_id: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    #: Generation up to which this stream has been sent the forget log.
    log_sent: int = 0
    #: Revision last offered on this stream.
    revision_sent: int = 0
    #: Challenge nonces of the erase orders sent on this stream.
    erase_sent: set[bytes] = field(default_factory=set)
    #: Whether this stream has been asked for public codes.
    public_codes_asked: bool = False
    superseded: bool = False


@dataclass
class Announced:
    """Facts that a node has announced about itself since this process began."""

    #: Raw X25519 key (32 bytes) that job keys are sealed to, signed by the node; empty: nothing usable.
    session_key: bytes = b""
    #: Hash of what its float32 results depend on; empty if it has said nothing.
    environment: str = ""
    #: Latest telemetry of its present stream; empty if that has just begun.
    telemetry: Telemetry = field(default_factory=Telemetry)
    #: When (Unix ms) it started over from a backup.
    went_back_ms: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_WENT_BACK))

    def may_go_back(self, now_ms: int) -> bool:
        """Note that the node starts over from a backup; whether it may, since it has not done so too often."""
        times = self.went_back_ms
        if len(times) == MAX_WENT_BACK and now_ms - times[0] < _HOUR_MS:
            return False
        times.append(now_ms)
        return True


class Sessions:
    """The open streams, one per node: a node that connects again supersedes its older stream."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._announced: dict[str, Announced] = {}

    def open(self, node_id: str) -> Session:
        """Start a session; an older one of this node is told to end."""
        older = self._open.get(node_id)
        if older is not None:
            older.superseded = True
            older.wake.set()
        session = self._open[node_id] = Session(node_id)
        # A node that was killed goes on from the counters that it saved last.
        self.of(node_id).telemetry = Telemetry()
        return session

    def close(self, session: Session) -> None:
        """End a session, unless a newer one has taken its place."""
        if self._open.get(session.node_id) is session:
            del self._open[session.node_id]

    def of(self, node_id: str) -> Announced:
        """Return what a node has announced; whatever it says next is noted there."""
        return self._announced.setdefault(node_id, Announced())

    def environment_of(self, node_id: str) -> str:
        """Return what a node has announced of its environment; nothing is kept of a name that never did."""
        return self._announced.get(node_id, Announced()).environment

    def connected(self) -> frozenset[str]:
        """Return the ids of the nodes that are connected."""
        return frozenset(self._open)

    def wake_all(self) -> None:
        """Let every session look again at what its node needs."""
        for session in self._open.values():
            session.wake.set()


class Changes:
    """Something in the store has changed: a count that many can wait on, without a lock to lose."""

    def __init__(self) -> None:
        self._version = 0
        self._next = asyncio.Event()

    def announce(self) -> None:
        """Wake everyone who waits."""
        self._version += 1
        waiting, self._next = self._next, asyncio.Event()
        waiting.set()

    async def wait_beyond(self, version: int, timeout_s: float) -> int:
        """Return the version once it is beyond the given one, or after the timeout."""
        if self._version <= version:
            await woken(self._next, timeout_s)
        return self._version


async def woken(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for an event, but not for ever; returns whether it was set.

    Never with `asyncio.wait_for`: in Python 3.11 it swallows a cancellation that comes together with the
    event, and a loop that was told to end goes on.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
