"""Fleet of a history: real nodes and a real coordinator on disks, clocks and links that fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from reram_fleet.crypto.testing import seeded

from edge_node.agent.node import Node
from edge_node.testing.nodes import NodeBackup
from fleet.sim.control_plane import Arrived
from fleet.sim.faults.disks import Dies, Side
from fleet.sim.faults.learning import FaultyJobs, LearningEngine
from fleet.sim.faults.nodes import EXPECTED, FaultyMember, FaultyNode
from fleet.sim.faults.observing import look_at_coordinator, look_at_node
from fleet.sim.faults.people import FaultyPeople
from fleet.sim.faults.plane import RESTART_S, Content, FaultyPlane
from fleet.sim.faults.record import Record
from fleet.sim.links import Stream, Traffic
from fleet.sim.node_names import flower_id, node_id, number_of
from fleet.sim.scenario import Link
from fleet.sim.scheduler import Event, Scheduler, VirtualClock
from hwmodel import keyed_seed

#: Of the fleet: how long a node out of contact goes on serving, its heartbeats, and how long it is waited for.
LEASE_S, HEARTBEAT_S, LOST_AFTER_S = 90.0, 25.0, 250.0
#: Between two looks at all nodes.
LOOK_EVERY_S = 20.0
#: What an operator could not do is tried again after this.
AGAIN_S = 7.0
LINK = Link(latency=(0.02, 0.2))


class _Guarded(Scheduler):
    """Scheduler whose events may end a process."""

    def __init__(self, died: Callable[[Dies], None]) -> None:
        super().__init__()
        self._died = died

    def at(self, when_s: float, action: Callable[[], None]) -> Event:
        """Have something happen at a time; whoever dies of it is buried."""
        return super().at(when_s, partial(self._guarded, action))

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Dies as death:
            self._died(death)


class FaultyFleet:
    """The fleet: nodes by number, their coordinator, and everything that was seen."""

    def __init__(self, seed: int, nodes: int, folder: Path) -> None:
        self.seed = seed
        self.scheduler = _Guarded(self._died)
        self.record = Record(self.scheduler, LEASE_S)
        self.people = FaultyPeople(seed)
        self.members: dict[int, FaultyMember] = {}
        self._traffic = Traffic()
        self.plane = FaultyPlane(
            self.scheduler,
            folder,
            keyed_seed(seed, "faults.coordinator"),
            self.record,
            codes=self.people.subjects.codes,
            task=self.people.subjects.task,
            lease_s=LEASE_S,
            lost_after_s=LOST_AFTER_S,
            opened=self._opened,
            refused=self._refused,
        )
        self.jobs = FaultyJobs(self.plane, self._up, seed)
        #: Forgotten tags, as acknowledged, by when that was.
        self.forgotten: dict[str, float] = {}
        #: People whose forget was asked for, and is not acknowledged yet.
        self.asked: set[int] = set()
        self.node_backups: dict[tuple[int, float], NodeBackup] = {}
        self.backups: dict[float, Content] = {}
        #: Contributions that must not be taken: (node, tag, sequence).
        self.poison: set[tuple[str, str, int]] = set()
        for number in range(nodes):
            self.add(number)
        self._look()

    def add(self, number: int) -> None:
        """Make a node, register it, and let it connect."""
        clock, name = VirtualClock(self.scheduler), node_id(number)
        node = FaultyNode(
            name,
            self.record,
            clock=clock,
            make_engine=partial(LearningEngine, partial(self._trained, name)),
            randomness=seeded(keyed_seed(self.seed, "faults.node", name)),
            heartbeat_s=HEARTBEAT_S,
            task=self.people.subjects.task,
            energy_model=self.people.subjects.energy_model,
        )
        member = FaultyMember(
            number,
            node,
            clock,
            self.scheduler,
            self.plane,
            LINK,
            Random(keyed_seed(self.seed, "faults.link", name)),
            self._traffic,
            happened=self._happened,
            deployed=lambda overhead: None,
            record=self.record,
        )
        self.plane.register(node)
        self.members[number] = member
        member.connect()

    def join(self, number: int) -> None:
        """Have a node join; the command is repeated until it is acknowledged."""
        if number in self.members:
            return
        if self.plane.runs:
            try:
                self.add(number)
            except Dies:
                self.scheduler.after(AGAIN_S, partial(self.join, number))
                raise
            except EXPECTED as error:
                self.record.note("join-refused", "", error=f"{type(error).__name__}: {error}")
            else:
                self.record.note("joined", node_id(number))
                return
        self.scheduler.after(AGAIN_S, partial(self.join, number))

    @property
    def present(self) -> list[FaultyMember]:
        """Nodes that were not retired."""
        return [member for member in self.members.values() if not member.retired]

    def _of(self, name: str) -> FaultyMember:
        return self.members[number_of(name)]

    def _opened(self, stream: Stream) -> None:
        self._of(stream.node_id).opened(stream)

    def _refused(self, stream: Stream, reason: Exception) -> None:
        self._happened("refused", stream.node_id, str(reason))
        if not isinstance(reason, EXPECTED):
            self.record.note("unexpected", "", error=f"{type(reason).__name__}: {reason}")

    def _happened(self, kind: str, node: str, what: str) -> None:
        self.record.note(kind, node, what=what)

    def _trained(self, name: str, tags: frozenset[str]) -> None:
        self.record.note("trained", name, tags=tags)

    def _up(self) -> dict[int, Node]:
        return {
            flower_id(member.node_id): member.node.node
            for member in self.present
            if member.runs and member.connected and not member.stopped
        }

    def _died(self, death: Dies) -> None:
        self.record.note("dies", death.who if death.who in self._names else "", how=str(death))
        if death.who == self.plane.disk.who:
            survives, self.plane.disk.survives = self.plane.disk.survives, None
            self.plane.die(survives, RESTART_S)
        elif death.who in self._names:
            member = self._of(death.who)
            survives, member.node.disk.survives = member.node.disk.survives, None
            member.die(survives, RESTART_S, lost=death.side in (Side.LOST, Side.REORDERED))

    @property
    def _names(self) -> set[str]:
        return {member.node_id for member in self.members.values()}

    # Looks

    def _look(self) -> None:
        self.look()
        self.scheduler.after(LOOK_EVERY_S, self._look)

    def look(self) -> None:
        """Look at everything once."""
        look_at_coordinator(self.plane)
        for member in self.members.values():
            look_at_node(member, self.people, self.forgotten)

    # Owners and operators

    def enrol(self, person: int, numbers: list[int]) -> None:
        """Enrol a person on those of some nodes that run."""
        tag = self.people.tag(person)
        there = [self.members[number] for number in numbers if number in self.members]
        for place, member in enumerate(there):
            if member.retired or not member.runs or member.stopped:
                continue
            allowed = self._ticket(tag, *(each.node_id for each in there))
            try:
                member.enroll(allowed, self.people.subjects.samples(person, place, len(numbers)))
            except EXPECTED as error:
                self.record.note("not-enrolled", member.node_id, tag=tag, error=str(error))
            else:
                self.record.note("enrolled", member.node_id, tag=tag)

    def _ticket(self, tag: str, *node_ids: str) -> Any:
        from fleet.sim.faults.lies import ticket

        return ticket(self.plane.registry_key, self.plane.env.fleet_id, tag, *node_ids)

    def forget(self, person: int, request_id: str) -> None:
        """Have a person forgotten; the command is repeated until it is acknowledged."""
        tag = self.people.tag(person)
        self.asked.add(person)
        campaign = None
        if self.plane.runs:
            try:
                campaign, _ = self.plane.stepped.forget(request_id, tag, allow_unknown=True)
            except Dies:
                self.scheduler.after(AGAIN_S, partial(self.forget, person, request_id))
                raise
            except EXPECTED as error:
                self.record.note("forget-refused", "", tag=tag, error=f"{type(error).__name__}: {error}")
        if campaign is None:
            self.scheduler.after(AGAIN_S, partial(self.forget, person, request_id))
            return
        self.asked.discard(person)
        self.forgotten.setdefault(tag, self.scheduler.now_s)
        self.record.note("forgotten", "", generation=campaign.generation, tag=tag, tags=tuple(campaign.tags))
        look_at_coordinator(self.plane)

    def decided(self, work: Callable[[Any], Any]) -> None:
        """Have an operator decide something; again until it is acknowledged."""
        if self.plane.runs:
            try:
                with self.plane.stepped.transaction() as unit:
                    work(unit)
            except Dies:
                self.scheduler.after(AGAIN_S, partial(self.decided, work))
                raise
            except EXPECTED as error:
                self.record.note("decision-refused", "", error=f"{type(error).__name__}: {error}")
                if not isinstance(error, OSError) and type(error).__name__ != "StoreError":
                    return
            else:
                # Whom it releases may serve from now on, and not only once somebody looks again.
                look_at_coordinator(self.plane)
                return
        self.scheduler.after(AGAIN_S, partial(self.decided, work))

    def retire(self, member: FaultyMember, reason: str) -> None:
        """Take a node out for good."""
        if not member.retired:
            self.record.note("retired", member.node_id, reason=reason)
            member.retire()
            name = member.node_id
            self.decided(lambda unit: unit.decisions.retire(name, reason, discard=False))

    def restored(self, backup: Content, down_s: float) -> None:
        """Bring the coordinator back from a backup."""
        self.plane.restore(backup, down_s)
        with self.plane.kept.snapshot() as tx:
            kept = {tag for campaign in tx.forgets.list() for tag in campaign.tags}
        # Until a node brings the entry back, or all are heard, nobody can tell the nodes.
        self.record.note("restored", "", at_risk=frozenset(self.forgotten.keys() - kept))

    def arrive_again(self, member: FaultyMember, message: Any) -> None:
        """Have an old message of a node reach the coordinator once more, on the stream that it has now."""
        if member.connected and member._stream is not None:
            self.plane.arrive(Arrived(member._stream, message))
