"""Runs of plans over one fleet: it is hurt while people work with it, then all is made well, then it is judged."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from fleet.errors import FleetError
from fleet.sim.faults.record import Event, Record
from fleet.sim.faults.rules import Violation, check
from fleet.sim.faults.view import sequence
from tests.faults.real.acting import Hands
from tests.faults.real.fleet import HurtFleet, hurt_fleet
from tests.faults.real.looking import Observer
from tests.faults.real.moments import Moments
from tests.faults.real.operating import Operator
from tests.faults.real.plans import LEASE_S, Kind, Means, Plan, planned

#: How long the fleet has until all is well. A SuperNode that was killed is let in again after a minute, and a round of
#: learning waits two minutes for it; with a planted bug all may never be well.
HEALS_WITHIN_S, HEALS_WITH_BUG_S = 600.0, 45.0
#: So many consecutive seeds hurt one fleet in turn.
ONE_FLEET = 10
_TICK_S, _LOOK_EVERY_S = 0.2, 0.5


@dataclass(frozen=True)
class Run:
    """Outcome of a plan.

    Parameters
    ----------
    stand_ins
        Faults that this machine does not allow, and in whose place others were brought about.
    """

    plan: Plan
    events: Sequence[Event]
    violations: Sequence[Violation]
    wall_s: float
    stand_ins: Sequence[str]

    @property
    def forgets(self) -> int:
        """Forgets that were acknowledged."""
        return sum(event.kind == "forgotten" for event in self.events)

    @property
    def looks(self) -> int:
        """Looks at nodes and the coordinator that saw something."""
        return sum(event.kind in ("seen", "store") for event in self.events)

    def lines(self) -> Iterable[str]:
        """Yield what happened, and which promises were broken, in order."""
        yield from sequence(self.events, self.violations)


class Hurting:
    """A fleet that is hurt by one plan after another; what came of all of them is one record."""

    def __init__(self, fleet: HurtFleet, heals_within_s: float) -> None:
        self._heals_within_s = heals_within_s
        self._fleet, self._moments = fleet, Moments()
        self._record = Record(self._moments, LEASE_S)
        self._hands = Hands(fleet, self._moments)
        self._operator = Operator(fleet, self._record, self._hands.stopped.__contains__)
        self._observer = Observer(fleet, self._hands, self._operator, self._record, self._moments)
        self._operator.tags_of = self._observer.tags_of
        self._stand_ins = [] if all(disk.is_mounted for disk in fleet.disks.values()) else [Kind.DISK_FULL.value]
        self._stand_ins += [] if fleet.links[0].namespace else [Kind.PACKETS_LOST.value, Kind.UNPLUGGED.value]
        self._looked_s, self._node = 0.0, 0

    def close(self) -> None:
        """Let go of the fleet."""
        self._hands.let_go_of_all()
        self._operator.close()
        self._observer.close()

    def run(self, plan: Plan) -> Run:
        """Carry a plan out, and judge the fleet."""
        begun_s, first = time.monotonic(), len(self._record.events)
        self._record.note("plan", "", seed=plan.seed)
        for step in plan.steps:
            self._pass(step.after_s)
            came_of_it = (
                self._hands.hurt(step) if step.is_fault or step.kind is Kind.UPGRADE else self._operator.do(step)
            )
            what = f"{step}: {came_of_it}" if came_of_it else str(step)
            self._record.note("action", step.who, what=what, action=step.kind.value)
        while self._hands.next_end_s() < float("inf"):
            self._pass(_TICK_S)
        self._record.note("well again")
        missing = self._heal()
        self._observer.look_at_all()
        self._observer.read_logs()
        self._observer.note_end(missing, self._operator.campaigns)
        self._operator.campaigns.clear()
        events = self._record.events[first:]
        ids = {id(event) for event in events}
        violations = [each for each in check(self._record) if id(each.event) in ids]
        return Run(plan, events, violations, time.monotonic() - begun_s, self._stand_ins)

    def _pass(self, seconds: float) -> None:
        """Let time pass: faults end, operators ask again, and everything is looked at."""
        until_s = self._moments.now_s + seconds
        while True:
            self._moments.happened += 1
            self._hands.let_go()
            self._operator.ask_again()
            self._look()
            left_s = min(until_s, self._hands.next_end_s()) - self._moments.now_s
            if self._moments.now_s >= until_s:
                return
            time.sleep(min(_TICK_S, max(0.0, left_s)))

    def _look(self) -> None:
        """Look at the coordinator and one node, now and then."""
        if self._moments.now_s < self._looked_s + _LOOK_EVERY_S:
            return
        self._observer.look_at_coordinator()
        self._observer.look_at_node(self._node)
        self._node = (self._node + 1) % len(self._fleet.nodes)
        self._looked_s = self._moments.now_s

    def _heal(self) -> list[str]:
        until_s = self._moments.now_s + self._heals_within_s
        while True:
            self._pass(_TICK_S)
            missing = self._operator.missing()
            try:
                if not missing and not self._operator.unlearn():
                    return []
            except FleetError as error:
                missing = [str(error)]
            if missing and (held := self._operator.held()):
                return [*held, *missing]
            if missing and self._moments.now_s > until_s:
                return missing


@contextmanager
def hurting(folder: Path, means: Means, mutant: str = "") -> Iterator[Hurting]:
    """Start a fleet to be hurt, perhaps with a planted bug, and end it."""
    with hurt_fleet(folder, means, mutant) as fleet:
        hurting = Hurting(fleet, HEALS_WITH_BUG_S if mutant else HEALS_WITHIN_S)
        try:
            yield hurting
        finally:
            hurting.close()


def means_of(seed: int) -> Means:
    """Return the fleet that a seed hurts: every second one has PostgreSQL, every fifth a learning plane."""
    number = (seed - 1) // ONE_FLEET
    return Means(database=number % 2 == 1, learning=number % 5 == 1)


def runs(seeds: Iterable[int], *, brief: bool = False, mutant: str = "") -> Iterator[Run]:
    """Yield what comes of each seed; perhaps with a planted bug."""
    for _, some in groupby(seeds, lambda seed: (seed - 1) // ONE_FLEET):
        mine = list(some)
        means = means_of(mine[0])
        with (
            tempfile.TemporaryDirectory(prefix="hurt-") as folder,
            hurting(Path(folder) / "fleet", means, mutant) as fleet,
        ):
            for seed in mine:
                yield fleet.run(planned(seed, means, brief=brief))
