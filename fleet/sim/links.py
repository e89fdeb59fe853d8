"""Links of a simulated fleet: how long a message takes, and what becomes of it on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from google.protobuf.message import Message
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse

from fleet.sim.scenario import Link
from fleet.sim.scheduler import Scheduler

#: After so long both sides notice that a connection was cut: gRPC's ping, and the wait for its answer.
UNNOTICED_S = 40.0


class Traffic:
    """Count of what was sent over all links."""

    def __init__(self) -> None:
        self.messages, self.bytes, self.lost = 0, 0, 0


class Stream:
    """Stream of one node: both directions, each in order, until it is cut.

    The coordinator's side is a `Link` of its sessions. A message that is lost takes the stream with it, since a
    connection delivers all or ends; one that is repeated or overtaken is what a proxy or a replay may do.

    Parameters
    ----------
    random
        Of this node's link alone: what happens on another one does not shift it.
    to_node, to_coordinator
        Called when a message arrives.
    on_cut
        Called when both sides have noticed that the stream is no more.
    """

    def __init__(
        self,
        node_id: str,
        scheduler: Scheduler,
        link: Link,
        random: Random,
        traffic: Traffic,
        *,
        to_node: Callable[[Stream, ConnectResponse], None],
        to_coordinator: Callable[[Stream, ConnectRequest], None],
        on_cut: Callable[[Stream], None],
    ) -> None:
        self.node_id = node_id
        self._scheduler, self._random, self._traffic = scheduler, random, traffic
        #: Its properties now.
        self.link = link
        self._to_node, self._to_coordinator, self._on_cut = to_node, to_coordinator, on_cut
        #: Whether nothing more arrives: messages under way are lost.
        self.cut = False
        #: Share of the messages that is lost beside the link's own.
        self.losing = 0.0
        self._latest = {True: 0.0, False: 0.0}

    def send(self, messages: Iterable[ConnectResponse]) -> None:
        """Have messages reach the node, in this order."""
        for message in messages:
            self._carry(message, self._to_node, down=True)

    def say(self, messages: Iterable[ConnectRequest]) -> None:
        """Have messages reach the coordinator, in this order."""
        for message in messages:
            self._carry(message, self._to_coordinator, down=False)

    def end(self) -> None:
        """End it from the coordinator's side: the node hears of that."""
        self.break_off(self.latency_s())

    def break_off(self, noticed_after_s: float = UNNOTICED_S) -> None:
        """Let nothing more through; both sides notice after a while."""
        if not self.cut:
            self.cut = True
            self._scheduler.after(noticed_after_s, self._noticed)

    def _noticed(self) -> None:
        self._on_cut(self)

    def latency_s(self) -> float:
        """Return how long (s) one way takes now."""
        return self._random.uniform(*self.link.latency)

    def _carry(self, message: Message, arrive: Callable[..., None], *, down: bool) -> None:
        if self.cut:
            return
        traffic, draw, link = self._traffic, self._random.random, self.link
        traffic.messages += 1
        traffic.bytes += message.ByteSize()
        lost = 1 - (1 - link.loss) * (1 - self.losing)
        if lost and draw() < lost:
            traffic.lost += 1
            self.break_off()
            return
        at_s = self._scheduler.now_s + self.latency_s()
        if not (link.reorder and draw() < link.reorder):
            self._latest[down] = at_s = max(at_s, self._latest[down])
        else:
            at_s += self.latency_s()
        times = 2 if link.duplicate and draw() < link.duplicate else 1
        for _ in range(times):
            self._scheduler.at(at_s, _Arrival(self, message, arrive))


class _Arrival:
    """A message that arrives, unless its stream was cut meanwhile."""

    __slots__ = ("_arrive", "_message", "_stream")

    def __init__(self, stream: Stream, message: Message, arrive: Callable[..., None]) -> None:
        self._stream, self._message, self._arrive = stream, message, arrive

    def __call__(self) -> None:
        if not self._stream.cut:
            self._arrive(self._stream, self._message)
