"""Members of a simulated fleet: `edge_node`'s own nodes, with the link that a daemon would keep open for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import numpy as np
from reram_fleet.v1.node_pb2 import Challenge, ConnectRequest, ConnectResponse
from reram_fleet.v1.types_pb2 import SERVE_STATE_SERVING, DeploymentOverhead, Envelope

from edge_node.agent.link import RECONNECT_BACKOFF
from edge_node.agent.node import JITTER
from edge_node.engine import NodeEngine
from edge_node.errors import NodeError
from edge_node.testing import MemoryNode
from edge_node.testing.nodes import NodeBackup
from fleet.sim.control_plane import Arrived, ControlPlane
from fleet.sim.links import Stream, Traffic
from fleet.sim.scenario import Link
from fleet.sim.scheduler import Event, Scheduler, VirtualClock

#: From the end of a daemon until it runs again.
RESTART_S = 10.0


class Member:
    """One node of the fleet: it connects, sends heartbeats, and comes back when it is cut, crashes or is out of reach.

    Attributes
    ----------
    suppressed_s
        When (virtual s) it had suppressed a generation, by generation.
    """

    def __init__(
        self,
        number: int,
        node: MemoryNode,
        clock: VirtualClock,
        scheduler: Scheduler,
        plane: ControlPlane,
        link: Link,
        random: Random,
        traffic: Traffic,
        *,
        happened: Callable[[str, str, str], None],
        deployed: Callable[[DeploymentOverhead], None],
    ) -> None:
        self.number, self.node, self.clock = number, node, clock
        self._scheduler, self._plane, self._link, self._random, self._traffic = scheduler, plane, link, random, traffic
        #: Called with kind, node and text of what is worth a line.
        self._happened, self._deployed = happened, deployed
        #: When (virtual s) it joined.
        self.since_s = scheduler.now_s
        #: Whether its daemon runs, whether it is out of reach, and whether it is out of the fleet.
        self.runs, self.unreachable, self.retired = True, False, False
        self.restarts, self.heartbeats, self._failures = 0, 0, 0
        #: Share of its messages that is lost beside the link's own.
        self.losing = 0.0
        self.suppressed_s: dict[int, float] = {}
        self._stream: Stream | None = None
        #: Said once the coordinator has taken the hello.
        self._after_hello: Sequence[ConnectRequest] = ()
        self._open = False
        self._beat: Event | None = None
        self._crashed_with: NodeBackup | None = None

    @property
    def node_id(self) -> str:
        """The node's name."""
        return self.node.node_id

    @property
    def engine(self) -> NodeEngine:
        """Engine that it runs on, perhaps with others."""
        return self.node.node.context.engine

    @property
    def node_index(self) -> int:
        """Its place on that engine's node axis."""
        return self.node.node.context.node_index

    @property
    def connected(self) -> bool:
        """Whether the coordinator has taken its hello, on a stream that is still there."""
        return self._open and self._stream is not None and not self._stream.cut

    @property
    def serving(self) -> bool:
        """Whether it serves adapters now."""
        return self.runs and self.node.node.serve_status().state == SERVE_STATE_SERVING

    @property
    def generation(self) -> int:
        """Generation that it has suppressed."""
        return self.node.node.context.journal.position().generation

    def use(self, link: Link) -> None:
        """Send over a link of other properties from now on."""
        self._link = link
        if self._stream is not None:
            self._stream.link = link

    def connect(self) -> None:
        """Ask for a challenge, and answer it."""
        if not self.runs or self.unreachable or self.retired or self._stream is not None:
            return
        if not self._plane.runs:
            self._again()
            return
        stream = self._stream = Stream(
            self.node_id,
            self._scheduler,
            self._link,
            self._random,
            self._traffic,
            to_node=self._receive,
            to_coordinator=lambda stream, message: self._plane.arrive(Arrived(stream, message)),
            on_cut=self._cut,
        )
        stream.losing = self.losing
        nonce = self._plane.challenge()
        self._scheduler.after(stream.latency_s() + stream.latency_s(), partial(self._say_hello, stream, nonce))

    def _say_hello(self, stream: Stream, nonce: bytes) -> None:
        if stream.cut or not self.runs:
            return
        hello, *self._after_hello = self.node.receive(ConnectResponse(challenge=Challenge(nonce=nonce)))
        self._scheduler.after(stream.latency_s(), lambda: self._plane.arrive(Arrived(stream, hello, nonce)))

    def opened(self, stream: Stream) -> None:
        """Go on after the hello, which the coordinator has taken."""
        if stream is not self._stream or not self.runs:
            return
        self._open, self._failures = True, 0
        self._say(self._after_hello)
        self._beat_after()

    def refused(self, stream: Stream, reason: str) -> None:
        """Note why the coordinator has ended the stream."""
        self._happened("refused", self.node_id, reason)

    def _receive(self, stream: Stream, message: ConnectResponse) -> None:
        if stream is not self._stream or not self.runs:
            return
        try:
            answers = self.node.receive(message)
        except NodeError as error:
            self._happened("protocol-error", self.node_id, str(error))
            stream.end()
            return
        if message.HasField("forget_log"):
            generation = self.generation
            for number in range(max(self.suppressed_s, default=0) + 1, generation + 1):
                self.suppressed_s[number] = self._scheduler.now_s
        self._say(answers)

    def _say(self, messages: Sequence[ConnectRequest]) -> None:
        for message in messages:
            if message.HasField("revision_result") and message.revision_result.active:
                self._deployed(message.revision_result.overhead)
        if self._stream is not None:
            self._stream.say(messages)

    def _beat_after(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
        self._beat = self._scheduler.after(self.node.node.heartbeat_s * self._random.uniform(*JITTER), self.beat)

    def beat(self) -> None:
        """Send a heartbeat now, and the next one in time."""
        if self.connected and self.runs:
            self.heartbeats += 1
            self._say(self.node.heartbeat())
            self._beat_after()

    def _cut(self, stream: Stream) -> None:
        self._plane.close(stream)
        if stream is self._stream:
            self._stream, self._open = None, False
            if self._beat is not None:
                self._beat.cancel()
            self._again()

    def _again(self) -> None:
        self._failures += 1
        self._scheduler.after(RECONNECT_BACKOFF.delay_s(self._failures, self._random.random()), self.connect)

    # People

    def ask(self, samples: Sequence[np.ndarray]) -> list[str]:
        """Return the tags that samples are taken for; "" where nobody is recognised."""
        if not samples:
            return []
        answers = self.node.node.identify(samples).answers
        return [each.best_tag if each.accepted else "" for each in answers]

    def enroll(self, ticket: Envelope, samples: Sequence[np.ndarray]) -> None:
        """Capture somebody's samples; what comes of it goes out at once."""
        self.node.node.enroll(ticket, samples)
        self.beat()

    # Faults

    def lose_contact(self, lasts_s: float) -> None:
        """Be out of reach for a while."""
        if self.unreachable or self.retired:
            return
        self.unreachable = True
        if self._stream is not None:
            self._stream.break_off()
        self._scheduler.after(lasts_s, self._in_reach)

    def _in_reach(self) -> None:
        self.unreachable = False
        if self._stream is None:
            self._again()

    def crash(self, backup: NodeBackup | None = None, down_s: float = RESTART_S) -> None:
        """End without warning, and start again from what is on disk, or from an older backup of it."""
        if not self.runs or self.retired:
            return
        self.runs = False
        self._crashed_with = backup or self.node.backup()
        if self._stream is not None:
            self._stream.break_off(0.0)
        self._scheduler.after(down_s, self._start)

    def _start(self) -> None:
        assert self._crashed_with is not None
        self.restarts += 1
        self.clock.boot()
        self.node.restore(self._crashed_with)
        self._crashed_with, self.runs = None, True
        self.connect()

    def lose_messages(self, share: float, lasts_s: float) -> None:
        """Lose a share of all messages for a while."""
        self._losing(share)
        self._scheduler.after(lasts_s, partial(self._losing, 0.0))

    def _losing(self, share: float) -> None:
        self.losing = share
        if self._stream is not None:
            self._stream.losing = share

    def retire(self) -> None:
        """Be taken out of the fleet for good."""
        self.retired = True
        if self._stream is not None:
            self._stream.break_off(0.0)
