"""Control plane of a simulated fleet: the coordinator's own logic over a store in memory, moved on by the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.code_ranges import CodeRange
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.key_store import KeyStore, MemoryKeyStore
from reram_fleet.crypto.testing import seeded
from reram_fleet.v1.node_pb2 import ConnectRequest

from fleet.coordinator.database import GATHER_S as COMMIT_GATHER_S
from fleet.coordinator.database import Outcome
from fleet.coordinator.dispatcher import GATHER_S as DISPATCH_GATHER_S
from fleet.coordinator.nodes.sessions import Session
from fleet.coordinator.testing import AnyNode, SteppedCoordinator
from fleet.coordinator.testing.awaited import done_now
from fleet.coordinator.unit import UnitOfWork
from fleet.coordinator.work import Environment, RoundsReach
from fleet.sim.gathering import GatheringDatabase
from fleet.sim.links import Stream
from fleet.sim.node_names import flower_id
from fleet.sim.scheduler import Scheduler, VirtualClock
from fleet.store.database import Store
from fleet.store.rows import CampaignRow
from fleet.store.touched import Touched
from fleet.trust.keys import PrivateKeys

#: From a change until the reconciler looks, and between two looks.
LOOK_AFTER_S, LOOK_EVERY_S = 0.05, 0.25
#: Jobs that cannot begin yet are looked at this often.
PLAY_EVERY_S = 10.0
#: It also looks when nothing has changed, for what only time brings about: the served one every second, this one a
#: hundred times while a lost node is waited for, and within these bounds (s).
_IDLE_LOOK_S = (60.0, 6 * 3600.0)


@dataclass(frozen=True)
class Arrived:
    """Message that a coordinator has got, and the stream that it came on; `nonce` is that of a hello."""

    stream: Stream
    message: ConnectRequest
    nonce: bytes = b""


class ControlPlane:
    """Coordinator of a simulated fleet.

    Parameters
    ----------
    opened, refused
        Called when a stream was opened, and when the coordinator refuses a node, with the reason.
    secrets, open_store
        Keys that are destroyed to erase, and what opens the database, if they are to be of another kind.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        folder: Path,
        seed: int,
        *,
        codes: CodeRange,
        lease_s: float,
        lost_after_s: float,
        task: str,
        opened: Callable[[Stream], None],
        refused: Callable[[Stream, Exception], None],
        secrets: KeyStore | None = None,
        open_store: Callable[[str, Callable[[], int]], Store] | None = None,
    ) -> None:
        self.clock = VirtualClock(scheduler)
        self._scheduler, self._opened, self._refused = scheduler, opened, refused
        self.randomness = seeded(seed)
        draw = self.randomness.draw
        options: dict[str, Any] = {} if open_store is None else {"open_store": open_store}
        self.registry_key = Ed25519PrivateKey.from_private_bytes(draw(32))
        self._open = partial(
            SteppedCoordinator,
            folder,
            now_ms=self.clock.unix_ms,
            codes=codes,
            database="sqlite://",
            signer=PrivateKeys.drawn(draw),
            secrets=MemoryKeyStore(draw=draw) if secrets is None else secrets,
            randomness=self.randomness,
            make_database=GatheringDatabase,
            registry_key=self.registry_key.public_key().public_bytes_raw(),
            lease_s=lease_s,
            lost_after_s=lost_after_s,
            tags_per_node=1_000_000,
            task=task,
            **options,
        )
        #: Learning plane that its logic sees, and what plays its jobs: returns whether there is more to play.
        self.learning: RoundsReach | None = None
        self.play: Callable[[], bool] = bool
        #: Whether it runs.
        self.runs = False
        #: It hears and answers, but sends nobody what is due and builds no revision: a fleet that is being set up.
        self.held_up = False
        self._arrived: list[Arrived] = []
        self._sessions: dict[str, tuple[Stream, Session]] = {}
        self._due: dict[str, bool] = {}
        self._looked_s = -LOOK_EVERY_S
        least_s, most_s = _IDLE_LOOK_S
        self._idle_s = min(most_s, max(least_s, lost_after_s / 100))
        self.start(None)
        self._idle_look()

    @property
    def env(self) -> Environment:
        """Environment of the coordinator's logic."""
        return self.stepped.coordinator.env

    def start(self, store: Store | None) -> None:
        """Start on a store that an earlier process has left, or on a new one."""
        self.stepped = self._open() if store is None else self._open(open_store=lambda url, now_ms: store)
        self.stepped.store.on_commit = self._committed
        self.env.learning = self.learning
        self.runs = True

    def crash(self) -> None:
        """End without warning: what is not in the store is gone, and every stream is cut."""
        self.runs = False
        open_now, self._sessions = [stream for stream, _ in self._sessions.values()], {}
        arrived, self._arrived = [each.stream for each in self._arrived], []
        for stream in (*open_now, *arrived):
            stream.break_off(0.0)

    def restart(self) -> None:
        """Start anew from what is in the store."""
        # What heartbeats said last is written every two seconds, and here only at an idle look.
        done_now(self.stepped.coordinator.write_contacts())
        self.start(self.stepped.store)
        self._change()

    # Nodes

    def register(self, *nodes: AnyNode) -> None:
        """Register nodes, with Flower ids, and tell each what it needs to join."""
        self.stepped.enroll(*nodes)
        with self.stepped.transaction() as unit:
            for node in nodes:
                unit.tx.nodes.set_flower_node_id(node.node_id, flower_id(node.node_id))

    def challenge(self) -> bytes:
        """Return the nonce that a node's hello must answer."""
        return self.randomness.draw(32)

    def arrive(self, arrived: Arrived) -> None:
        """Take a message in; it is handled with what else arrives at this moment."""
        if self.runs:
            self._arrived.append(arrived)
            self._soon("drain", COMMIT_GATHER_S, self.drain)
        else:
            # A hello that was under way when it ended.
            arrived.stream.break_off(0.0)

    def close(self, stream: Stream) -> None:
        """Notice that a stream has ended."""
        known = self._sessions.get(stream.node_id)
        if known is not None and known[0] is stream:
            del self._sessions[stream.node_id]
            self.env.sessions.close(known[1])
            self._change()

    def drain(self) -> None:
        """Handle what has arrived: one message of each node at a time, since none of its next is read before."""
        while self._arrived and self.runs:
            turn: dict[str, Arrived] = {}
            later: list[Arrived] = []
            for each in self._arrived:
                if each.stream.node_id in turn:
                    later.append(each)
                else:
                    turn[each.stream.node_id] = each
            self._arrived = later
            try:
                self._handle(list(turn.values()))
            except BaseException:
                # It ends within them: their streams are cut as well.
                self._arrived += turn.values()
                raise

    def _handle(self, turn: Sequence[Arrived]) -> None:
        service, database = self.stepped.node_service, self.stepped.coordinator.database
        assert isinstance(database, GatheringDatabase)
        open_now = [each for each in turn if each.nonce or self._is_open(each.stream)]
        outcomes = database.together(
            [
                service.welcome(each.message, each.nonce)
                if each.nonce
                else service.take(each.stream.node_id, each.message)
                for each in open_now
            ]
        )
        for each, outcome in zip(open_now, outcomes, strict=True):
            self._told(each, outcome)

    def _is_open(self, stream: Stream) -> bool:
        known = self._sessions.get(stream.node_id)
        return known is not None and known[0] is stream and not stream.cut

    def _told(self, arrived: Arrived, outcome: Outcome) -> None:
        stream = arrived.stream
        if outcome.failure is not None:
            self.close(stream)
            stream.end()
            self._refused(stream, outcome.failure)
            return
        if arrived.nonce:
            older = self._sessions.get(stream.node_id)
            self._sessions[stream.node_id] = stream, self.env.sessions.open(stream.node_id, stream)
            if older is not None:
                older[0].break_off(0.0)
            self.stepped.coordinator.dispatcher.wake([stream.node_id])
            self._opened(stream)
            self._change()
            self._soon("dispatch", DISPATCH_GATHER_S, self.dispatch)
            return
        self._sessions[stream.node_id][1].send(outcome.result.replies)
        if outcome.result.changed:
            self._change()

    # What follows

    def _committed(self, touched: Touched) -> None:
        self.env.note(touched)
        # What concerns leases alone, nobody waits for.
        if replace(touched, leases=None) != Touched():
            self.stepped.coordinator.tell(touched)
            self._soon("dispatch", DISPATCH_GATHER_S, self.dispatch)
            self._change()

    def _change(self) -> None:
        wait_s = max(LOOK_AFTER_S, self._looked_s + LOOK_EVERY_S - self._scheduler.now_s)
        self._soon("look", wait_s, self.look)

    def _soon(self, what: str, delay_s: float, action: Callable[[], Any]) -> None:
        if not self._due.get(what):
            self._due[what] = True
            self._scheduler.after(delay_s, partial(self._now, what, action))

    def _now(self, what: str, action: Callable[[], Any]) -> None:
        self._due[what] = False
        if self.runs:
            action()

    def dispatch(self) -> None:
        """Send to connected nodes what is due to them."""
        if self.held_up:
            return
        done_now(self.stepped.coordinator.dispatcher.look())
        for stream, session in list(self._sessions.values()):
            if session.superseded:
                self.close(stream)

    def look(self) -> bool:
        """Let the reconciler look once; returns whether it changed anything."""
        if self.held_up:
            return False
        self._looked_s = self._scheduler.now_s
        changed = self.stepped.step()
        if changed:
            self._change()
        if self.play():
            # What waits for a node, or for another attempt, is tried again by then.
            self._soon("play", PLAY_EVERY_S, self.look)
        return changed

    def _idle_look(self) -> None:
        try:
            if self.runs:
                done_now(self.stepped.coordinator.write_contacts())
                self.look()
        finally:
            # Whatever becomes of this look.
            self._scheduler.after(self._idle_s, self._idle_look)

    # Operators

    def forget(self, tags: Sequence[str], concepts: Sequence[str] = ()) -> CampaignRow:
        """Commit a forget of people, or of a concept."""
        campaign, _ = self.stepped.forget(new_tag(self.randomness.draw), *tags, concepts=concepts)
        return campaign

    def read(self, work: Callable[[UnitOfWork], Any]) -> Any:
        """Read over one consistent view of the store."""
        return self.stepped.coordinator.read_now(work)

    def close_store(self) -> None:
        """Let go of the store."""
        self.stepped.close()
