"""Sessions of nodes that are connected right now, and the wake-up of what waits for a change."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from reram_fleet.v1.node_pb2 import ConnectResponse, Telemetry

from fleet.coordinator.nodes.links import Link
from fleet.domain.node import QuarantineReason, ServeState

#: A node that has not said how often it sends heartbeats is taken for gone after this silence.
SILENCE_LIMIT_S = 15.0
#: As many heartbeats may be missed; a node gives its coordinator up after as many.
MISSED_HEARTBEATS = 8
#: A busy machine must not lose its nodes, however short their interval is; nor is a node waited for that means years.
#: One that beats twice a day is not cut off: gRPC's pings find a connection that is dead.
_LIMITS_S = (5.0, 2 * 86_400.0)

#: Times within an hour that one node may start over from a backup.
MAX_WENT_BACK = 30
_HOUR_MS = 3_600_000


def silence_limit_s(interval_s: float) -> float:
    """Return the longest silence (s) that is not yet the end, of a node that sends heartbeats so often; 0: unknown."""
    if not interval_s:
        return SILENCE_LIMIT_S
    # Who beats slowly must not be missed for minutes.
    several_s = min(MISSED_HEARTBEATS * interval_s, max(SILENCE_LIMIT_S, 2 * interval_s))
    least_s, longest_s = _LIMITS_S
    return min(max(least_s, several_s), longest_s)


class Session:
    """One open stream of one node, and what it has been sent."""

    def __init__(self, node_id: str, link: Link, log_sent: int = 0) -> None:
        self.node_id, self._link = node_id, link
        #: Generation up to which the node had the forget log when the stream began, or this has been sent it.
        self.log_sent = log_sent
        #: Revision last offered on this stream.
        self.revision_sent = 0
        #: Challenge nonces of the erase orders sent on this stream.
        self.erase_sent: set[bytes] = set()
        #: Whether this stream has been asked for public codes.
        self.public_codes_asked = False
        #: Whether this stream was told that the coordinator was restored.
        self.restore_told = False
        #: Why the stream is closed; "" while it is not.
        self.refusal = ""
        self.superseded = False

    def send(self, messages: Iterable[ConnectResponse]) -> None:
        """Have messages reach the node, in this order."""
        self._link.send(messages)

    def end(self, refusal: str = "") -> None:
        """Have the stream end, with a refusal or since a newer one has taken its place."""
        self.refusal, self.superseded = refusal, True
        self._link.end()


@dataclass
class Announced:
    """Facts that a node has announced about itself since this process began."""

    #: Generation and log head of its last hello, and since when it was awaited then.
    log_end: tuple[int, bytes] = (0, b"")
    awaited_since_ms: int | None = None
    #: Raw X25519 key (32 bytes) that job keys are sealed to, signed by the node; empty: nothing usable.
    session_key: bytes = b""
    #: Generation of the node's log when it made that key: a node makes another one whenever it suppresses.
    key_generation: int = 0
    #: Things and styles that its backbone knows; none of a node that recognises.
    concepts: frozenset[str] = frozenset()
    #: host:port of its `/metrics`, where Prometheus may reach it; empty: nowhere.
    metrics_address: str = ""
    #: Latest telemetry of its present stream; empty if that has just begun.
    telemetry: Telemetry = field(default_factory=Telemetry)
    #: Serve state and reason that it reported last.
    serves: tuple[ServeState, QuarantineReason] = (ServeState.UNSPECIFIED, QuarantineReason.UNSPECIFIED)
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

    def open(self, node_id: str, link: Link) -> Session:
        """Start a session over a link; an older one of this node ends."""
        older = self._open.get(node_id)
        if older is not None:
            older.end()
        session = self._open[node_id] = Session(node_id, link, self.of(node_id).log_end[0])
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

    def known_concepts(self) -> frozenset[str]:
        """Return the things and styles that some connected node's backbone knows."""
        return frozenset[str]().union(*(self.of(node_id).concepts for node_id in self._open))

    def connected(self) -> frozenset[str]:
        """Return the ids of the nodes that are connected."""
        return frozenset(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def among(self, node_ids: Iterable[str]) -> set[str]:
        """Return those of some nodes that are connected."""
        return {node_id for node_id in node_ids if node_id in self._open}

    def chosen(self, node_ids: Iterable[str] | None = None) -> Sequence[Session]:
        """Return the open sessions of these nodes, or all."""
        if node_ids is None:
            return list(self._open.values())
        return [self._open[node_id] for node_id in node_ids if node_id in self._open]


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
