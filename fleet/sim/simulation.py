"""Simulation: one run of a scenario from one seed, from checkpoint to checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Self

from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.testing import seeded
from reram_fleet.crypto.tickets import issue_ticket

from edge_node.testing.nodes import NodeBackup
from fleet.sim import checkpoint
from fleet.sim.control_plane import ControlPlane
from fleet.sim.lies import LIES, LyingNode
from fleet.sim.links import Stream, Traffic
from fleet.sim.members import Member
from fleet.sim.people import MadeUpPeople, Person, Roll, Subjects
from fleet.sim.recorder import Recorder, Row
from fleet.sim.scenario import Fault, FaultKind, Link, Scenario
from fleet.sim.scheduler import Scheduler, VirtualClock
from hwmodel import keyed_seed

#: Nodes that connect in a second when the fleet is set up, and how long it is left alone then, over a perfect network.
CONNECTS_PER_S, SETTLES_S = 200.0, 30.0
#: A scenario has at least so many checkpoints, and one a day.
CHECKPOINTS = 20
_DAY_S = 86_400.0
#: A ticket outlasts every scenario.
_NEVER_MS = 2**62


def subjects_of(scenario: Scenario, seed: int, nodes: int) -> Subjects:
    """Return the people of a scenario's task."""
    return MadeUpPeople(seed, scenario.fleet.samples)


class Simulation:
    """One run of a scenario, from one seed.

    Parameters
    ----------
    folder
        For what a coordinator keeps in files; empty afterwards but for a note that there was a fleet.
    progress
        Called with what is being done.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        folder: Path,
        chunk: int = 50,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.scenario, self.seed, self._chunk = scenario, seed, chunk
        self.scheduler, self._traffic = Scheduler(), Traffic()
        self._link, self._members = Link(latency=(0.01, 0.02)), dict[int, Member]()
        self._subjects = subjects_of(scenario, seed, scenario.fleet.nodes)
        self._roll = Roll(seed, self._subjects.count)
        self._random = Random(keyed_seed(seed, "sim.scenario"))
        self._plane = ControlPlane(
            self.scheduler,
            folder,
            keyed_seed(seed, "sim.coordinator"),
            codes=self._subjects.codes,
            lease_s=scenario.time.lease,
            lost_after_s=scenario.time.lost_after,
            opened=self._opened,
            refused=self._refused,
        )
        self._recorder = Recorder(self._plane, self._members, self._subjects, self._roll, self._traffic)
        self._backups: dict[str, NodeBackup] = {}
        self._set_up(progress)

    # What whoever runs it looks at

    @property
    def tables(self) -> Mapping[str, list[Row]]:
        """Rows so far, by name of the table."""
        return self._recorder.tables

    @property
    def now_s(self) -> float:
        """Virtual seconds since the scenario began."""
        return self.scheduler.now_s - self._recorder.begun_s

    @property
    def done(self) -> bool:
        """Whether the scenario is over."""
        return self.now_s >= self.scenario.time.duration

    def advance(self) -> None:
        """Go on to the next checkpoint: the end of a day, or of a twentieth of the duration, if that is shorter."""
        duration_s = self.scenario.time.duration
        every_s = min(_DAY_S, duration_s / CHECKPOINTS)
        until_s = min(duration_s, every_s * (1 + math.floor(self.now_s / every_s + 1e-9)))
        with self._recorder.phase("simulated time"):
            self.scheduler.run_until(self._recorder.begun_s + until_s)
            self._recorder.forgets()
            if self.done:
                self._recorder.nodes()

    def digest(self) -> str:
        """Return the SHA-256 over the integers and verdicts that a repeated run has too."""
        return self._recorder.digest()

    def saved(self) -> bytes:
        """Return all that there is, for `restored`."""
        return checkpoint.saved(self)

    @classmethod
    def restored(cls, content: bytes, *, folder: Path) -> Self:
        """Return the simulation that was saved, to go on from there."""
        found = checkpoint.restored(content, folder)
        assert isinstance(found, cls)
        return found

    def close(self) -> None:
        """Let go of everything."""
        self._plane.close_store()

    # How it begins

    def _set_up(self, progress: Callable[[str], None]) -> None:
        """Bring up the fleet with everybody enrolled, over a perfect network, before the scenario's time begins."""
        fleet, recorder = self.scenario.fleet, self._recorder
        with recorder.phase("nodes"):
            progress(f"making {fleet.nodes} nodes")
            for number in range(fleet.nodes):
                self._make(number)
            self._plane.stepped.enroll(*(member.node for member in self._members.values()))
        with recorder.phase("enrolment"):
            progress(f"enrolling {fleet.people} people")
            for _ in range(fleet.people):
                self._enrol()
        with recorder.phase("connecting"):
            progress("connecting them")
            self._plane.held_up = True
            for number, member in self._members.items():
                self.scheduler.after(number / CONNECTS_PER_S, member.connect)
            self._pass(fleet.nodes / CONNECTS_PER_S + SETTLES_S)
            self._plane.held_up = False
        with recorder.phase("first revision"):
            progress("installing the first revision")
            self._plane.look()
            self._pass(SETTLES_S)
        for member in self._members.values():
            member.use(self.scenario.link)
        self._link, recorder.begun_s = self.scenario.link, self.scheduler.now_s
        self._schedule()

    def _pass(self, seconds: float) -> None:
        self.scheduler.run_until(self.scheduler.now_s + seconds)

    def _make(self, number: int) -> Member:
        node_id, clock = f"node-{number:05}", VirtualClock(self.scheduler)
        node = LyingNode(
            node_id,
            clock=clock,
            make_engine=self._subjects.make_engine(number),
            randomness=seeded(keyed_seed(self.seed, "sim.node", node_id)),
            heartbeat_s=self.scenario.time.heartbeat,
        )
        member = self._members[number] = Member(
            number,
            node,
            clock,
            self.scheduler,
            self._plane,
            self._link,
            Random(keyed_seed(self.seed, "sim.link", node_id)),
            self._traffic,
            happened=self._happened,
            deployed=self._recorder.deployed,
        )
        return member

    # What the coordinator tells

    def _opened(self, stream: Stream) -> None:
        self._of(stream.node_id).opened(stream)

    def _refused(self, stream: Stream, reason: str) -> None:
        self._of(stream.node_id).refused(stream, reason)

    def _happened(self, kind: str, node: str, what: str) -> None:
        self._recorder.event(self.scheduler.now_s, kind, node, what)

    def _of(self, node_id: str) -> Member:
        return self._members[int(node_id.removeprefix("node-"))]

    # What the scenario has happen

    def _schedule(self) -> None:
        scenario, at = self.scenario, self._at
        self._look()
        for when_s in scenario.forgets.at:
            at(when_s, self._forget)
        if scenario.forgets.every is not None:
            self._every(scenario.forgets.every, self._forget)
        self._at_random(lambda: scenario.forgets.share_per_day * len(self._roll.enrolled), self._forget)
        self._at_random(lambda: scenario.enrolments.per_day, self._newcomer)
        churn = scenario.churn
        self._at_random(lambda: churn.outages_per_day * len(self._members), self._outage)
        self._at_random(lambda: churn.crashes_per_day * len(self._members), self._crash)
        self._at_random(lambda: churn.joins_per_day, self._join)
        self._at_random(lambda: churn.retirements_per_day, self._retire)
        for fault in scenario.faults:
            at(fault.at, partial(self._fault, fault))
            if fault.kind is FaultKind.RESTORED_BACKUP:
                at(max(0.0, fault.at - fault.lasts), partial(self._back_up, fault))
        if scenario.operator.retire_held_after is not None:
            self._every(scenario.time.sample_every, self._retire_held)

    def _at(self, when_s: float, action: Callable[[], None]) -> None:
        self.scheduler.at(self._recorder.begun_s + when_s, action)

    def _every(self, period_s: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self.scheduler.after(period_s, again)

        self.scheduler.after(period_s, again)

    def _at_random(self, per_day: Callable[[], float], action: Callable[[], None]) -> None:
        """Have something happen at random times, so often a day on average, as long as the rate is above 0."""

        def again() -> None:
            action()
            plan()

        def plan() -> None:
            if (rate := per_day()) > 0:
                self.scheduler.after(self._random.expovariate(rate) * _DAY_S, again)

        plan()

    def _look(self) -> None:
        self._recorder.look(self.scheduler.now_s)
        self.scheduler.after(self.scenario.time.sample_every, self._look)

    def _forget(self) -> None:
        if not self._plane.runs:
            self.scheduler.after(60.0, self._forget)
            return
        person = self._roll.next_forgotten()
        if person is None:
            return
        campaign = self._plane.forget([person.tag])
        self._recorder.ordered(campaign.generation, self.scheduler.now_s)
        self._happened("forget", "", f"generation {campaign.generation}, person {person.number}")

    def _newcomer(self) -> None:
        person = self._enrol()
        if person is not None:
            self._happened("enrolment", "", f"person {person.number}")

    def _enrol(self) -> Person | None:
        present = [number for number, member in self._members.items() if member.runs and not member.retired]
        person = self._roll.add(new_tag(self._plane.randomness.draw), present, self.scenario.fleet.nodes_per_person)
        if person is None:
            return None
        members = [self._members[number] for number in person.places]
        ticket = issue_ticket(
            self._plane.registry_key,
            fleet_id=self._plane.env.fleet_id,
            subject_tag=person.tag,
            node_ids=[member.node_id for member in members],
            expires_at_unix_ms=_NEVER_MS,
        )
        for member in members:
            member.enroll(ticket, self._subjects.samples(person.number, member.number))
        return person

    def _join(self) -> None:
        if self._plane.runs:
            member = self._make(max(self._members) + 1)
            self._plane.stepped.enroll(member.node)
            member.connect()
            self._happened("join", member.node_id, "")

    def _retire(self) -> None:
        if (member := self._some()) is not None and self._plane.runs:
            self._take_out(member, "its time is over")

    def _take_out(self, member: Member, reason: str) -> None:
        with self._plane.stepped.transaction() as unit:
            unit.decisions.retire(member.node_id, reason, discard=False)
        member.retire()
        self._happened("retirement", member.node_id, reason)

    def _retire_held(self) -> None:
        for node_id in sorted(self._plane.env.held):
            if not (member := self._of(node_id)).retired:
                self._take_out(member, "it was held")

    def _some(self) -> Member | None:
        present = [member for member in self._members.values() if not member.retired]
        return present[self._random.randrange(len(present))] if present else None

    def _outage(self) -> None:
        if (member := self._some()) is not None:
            lasts_s = self._random.expovariate(1 / self.scenario.churn.outage)
            member.lose_contact(lasts_s)
            self._happened("outage", member.node_id, f"for {lasts_s:.0f} s")

    def _crash(self) -> None:
        if (member := self._some()) is not None:
            member.crash()
            self._happened("crash", member.node_id, "")

    # Faults

    def _met(self, fault: Fault) -> list[Member]:
        """Return the nodes that a fault meets: the same whenever it is asked."""
        if not isinstance(fault.nodes, float | int):
            known = {member.node_id: member for member in self._members.values()}
            return [known[node_id] for node_id in fault.nodes if node_id in known]
        present = sorted(number for number, member in self._members.items() if not member.retired)
        Random(keyed_seed(self.seed, "sim.fault", fault.kind.value, str(fault.at))).shuffle(present)
        return [self._members[number] for number in sorted(present[: round(fault.nodes * len(present))])]

    def _fault(self, fault: Fault) -> None:
        if fault.kind is FaultKind.COORDINATOR_CRASH:
            self._plane.crash()
            self.scheduler.after(fault.lasts, self._plane.restart)
            self._happened(fault.kind.value, "", f"for {fault.lasts:g} s")
            return
        jump_ms = round(1000 * fault.lasts) * (-1 if fault.backwards else 1)
        if fault.kind is FaultKind.CLOCK_JUMP and not fault.nodes:
            self._plane.clock.wrong_ms += jump_ms
            self._happened(fault.kind.value, "", f"the coordinator's, by {jump_ms} ms")
        for place, member in enumerate(self._met(fault)):
            self._happened(fault.kind.value, member.node_id, "")
            match fault.kind:
                case FaultKind.CRASH:
                    member.crash(down_s=fault.lasts)
                case FaultKind.OUTAGE:
                    member.lose_contact(fault.lasts)
                case FaultKind.LOST_MESSAGES:
                    member.lose_messages(fault.loss, fault.lasts)
                case FaultKind.CLOCK_JUMP:
                    member.clock.wrong_ms += jump_ms
                case FaultKind.RESTORED_BACKUP:
                    member.crash(self._backups.get(member.node_id))
                case FaultKind.LIES:
                    assert isinstance(member.node, LyingNode)
                    member.node.lie = list(LIES)[place % len(LIES)]

    def _back_up(self, fault: Fault) -> None:
        for member in self._met(fault):
            self._backups[member.node_id] = member.node.backup()
