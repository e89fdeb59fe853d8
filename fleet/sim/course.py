"""Course of a scenario: what it has happen to its fleet, and when."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from edge_node.testing.nodes import NodeBackup
from fleet.sim.fleet import SimulatedFleet
from fleet.sim.lies import LIES, LyingNode
from fleet.sim.members import Member
from fleet.sim.scenario import Fault, FaultKind, Scenario
from hwmodel import keyed_seed

_DAY_S = 86_400.0
#: What a coordinator that is down cannot do is tried again after this.
_AGAIN_S = 60.0


class Course:
    """Course of a scenario; random times are drawn from the seed."""

    def __init__(self, fleet: SimulatedFleet, scenario: Scenario, seed: int) -> None:
        self._fleet, self._scheduler, self._scenario, self._seed = fleet, fleet.scheduler, scenario, seed
        self._random = Random(keyed_seed(seed, "sim.scenario"))
        self._backups: dict[str, NodeBackup] = {}
        #: When (virtual s) each node that is held was first seen to be.
        self._held_since: dict[str, float] = {}
        self._plan()

    def _plan(self) -> None:
        scenario, fleet, churn = self._scenario, self._fleet, self._scenario.churn
        forget, learn = partial(self._commanded, fleet.forget), partial(self._commanded, fleet.learn)
        self._look()
        for when_s in scenario.forgets.at:
            self._at(when_s, forget)
        if scenario.forgets.every is not None:
            self._every(scenario.forgets.every, forget)
        self._at_random(scenario.forgets.share_per_day, forget, lambda: len(fleet.roll.enrolled))
        self._at_random(scenario.enrolments.per_day, self._newcomer)
        self._at_random(churn.outages_per_day, self._outage, lambda: len(fleet.present))
        self._at_random(churn.crashes_per_day, self._crash, lambda: len(fleet.present))
        self._at_random(churn.joins_per_day, partial(self._commanded, fleet.join))
        self._at_random(churn.retirements_per_day, partial(self._commanded, self._retire))
        for fault in scenario.faults:
            self._at(fault.at, partial(self._fault, fault))
            if fault.kind is FaultKind.RESTORED_BACKUP:
                self._at(max(0.0, fault.at - fault.lasts), partial(self._back_up, fault))
        if scenario.learning.every is not None and scenario.learning.learns:
            self._every(scenario.learning.every, learn)
        if (patience_s := scenario.operator.retire_held_after) is not None:
            self._every(patience_s / 10, partial(self._commanded, partial(self._retire_held, patience_s)))

    # When

    def _at(self, when_s: float, action: Callable[[], None]) -> None:
        self._scheduler.at(self._fleet.recorder.begun_s + when_s, action)

    def _every(self, period_s: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self._scheduler.after(period_s, again)

        self._scheduler.after(period_s, again)

    def _at_random(self, per_day: float, action: Callable[[], None], each_of: Callable[[], int] = lambda: 1) -> None:
        """Have something happen at random times: so often a day, on average, to each of so many."""

        def again() -> None:
            action()
            plan()

        def plan() -> None:
            if (several := each_of()) > 0:
                self._scheduler.after(self._random.expovariate(per_day * several) * _DAY_S, again)
            else:
                # Until somebody is there.
                self._scheduler.after(_DAY_S, plan)

        if per_day > 0:
            plan()

    def _commanded(self, action: Callable[[], object]) -> None:
        """Do what takes the coordinator, once it runs."""
        if self._fleet.plane.runs:
            action()
        else:
            self._scheduler.after(_AGAIN_S, partial(self._commanded, action))

    # What

    def _look(self) -> None:
        self._fleet.recorder.look(self._scheduler.now_s)
        self._scheduler.after(self._scenario.time.sample_every, self._look)

    def _newcomer(self) -> None:
        person = self._fleet.enrol()
        if person is not None:
            self._fleet.happened("enrolment", "", f"person {person.number}")

    def _some(self) -> Member | None:
        present = self._fleet.present
        return present[self._random.randrange(len(present))] if present else None

    def _outage(self) -> None:
        if (member := self._some()) is not None:
            lasts_s = self._random.expovariate(1 / self._scenario.churn.outage)
            member.lose_contact(lasts_s)
            self._fleet.happened("outage", member.node_id, f"for {lasts_s:.0f} s")

    def _crash(self) -> None:
        if (member := self._some()) is not None:
            member.crash()
            self._fleet.happened("crash", member.node_id, "")

    def _retire(self) -> None:
        if (member := self._some()) is not None:
            self._fleet.retire(member, "its time is over")

    def _retire_held(self, patience_s: float) -> None:
        """Retire the nodes that have been held for so long."""
        held = {name for name in self._fleet.plane.env.held if not self._fleet.of(name).retired}
        self._held_since = {name: self._held_since.get(name, self._scheduler.now_s) for name in sorted(held)}
        for name, since_s in self._held_since.items():
            if self._scheduler.now_s - since_s >= patience_s:
                self._fleet.retire(self._fleet.of(name), "it was held")

    # Faults

    def _met(self, fault: Fault) -> list[Member]:
        """Return the nodes that a fault meets: the same whenever it is asked."""
        present = {member.node_id: member for member in self._fleet.present}
        if not isinstance(fault.nodes, float):
            return [present[name] for name in fault.nodes if name in present]
        names = sorted(present)
        Random(keyed_seed(self._seed, "sim.fault", fault.kind.value, str(fault.at))).shuffle(names)
        return [present[name] for name in sorted(names[: round(fault.nodes * len(names))])]

    def _fault(self, fault: Fault) -> None:
        plane, happened = self._fleet.plane, self._fleet.happened
        if fault.kind is FaultKind.COORDINATOR_CRASH:
            plane.crash()
            self._scheduler.after(fault.lasts, plane.restart)
            happened(fault.kind.value, "", f"for {fault.lasts:g} s")
            return
        jump_ms = round(1000 * fault.lasts) * (-1 if fault.backwards else 1)
        if fault.kind is FaultKind.CLOCK_JUMP and not fault.nodes:
            plane.clock.wrong_ms += jump_ms
            happened(fault.kind.value, "", f"the coordinator's, by {jump_ms} ms")
        for place, member in enumerate(self._met(fault)):
            happened(fault.kind.value, member.node_id, "")
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
