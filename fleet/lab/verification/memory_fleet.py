"""Fleet in memory: the product's nodes, coordinator and rounds, with people of one's choice.

Another fleet of the same seed has the same chips, fleet id and tags: one in which somebody was never enrolled differs
in nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from reram_fleet.crypto.digests import subject_digest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.testing import seeded

from edge_node.engine import NodeEngine
from fleet.coordinator.unit import UnitOfWork
from fleet.errors import FleetError
from fleet.sim import checkpoint
from fleet.sim.defaults import CHUNK
from fleet.sim.fleet import SimulatedFleet
from fleet.sim.jobs import quiet
from fleet.sim.people import Person, Subjects
from fleet.sim.scenario import Fleet, Scenario
from hwmodel import Cost, Phase, keyed_seed

NODES, NODES_PER_PERSON = 3, 2
#: Virtual seconds between two looks whether everything is done, and looks until something is wrong.
_LOOK_S, _LOOKS = 30.0, 200


def verified(task: str, *, head: bool) -> Fleet:
    """Return the nodes of a fleet that is verified; nobody is enrolled yet."""
    return Fleet(nodes=NODES, task=task, people=0, nodes_per_person=NODES_PER_PERSON, samples=1000, head=head)


class MemoryFleet:
    """Fleet in memory; its people have numbers.

    Attributes
    ----------
    people
        Whoever is, or was, enrolled, by number.
    """

    def __init__(self, fleet: Fleet, subjects: Subjects, seed: int, folder: Path) -> None:
        scenario = Scenario(name="verification", title="A forget", question="Is anything left?", fleet=fleet)
        own = Path(mkdtemp(dir=folder))
        self._fleet = SimulatedFleet(scenario, seed, own, CHUNK, lambda text: None, subjects=subjects)
        self._seed, self._plane = seed, self._fleet.plane
        self.people: dict[int, Person] = {}

    def copy(self) -> Self:
        """Return a fleet that goes its own way from here."""
        found = checkpoint.restored(checkpoint.saved(self))
        assert isinstance(found, type(self))
        return found

    def close(self) -> None:
        """Let go of everything."""
        self._plane.close_store()

    # What is done

    def tag(self, number: int) -> str:
        """Return the tag that a person has, or would have."""
        return new_tag(seeded(keyed_seed(self._seed, "verification.tag", number)).draw)

    def enrol(self, numbers: Sequence[int]) -> None:
        """Enrol people, and let everybody get to know them."""
        self._plane.held_up = True
        for number in numbers:
            person = self._fleet.enrol(number, self.tag(number))
            assert person is not None
            self.people[number] = person
        self._fleet.run(_LOOK_S)
        self._plane.held_up = False
        self._plane.look()
        self._settle()

    def forget(self, *numbers: int) -> None:
        """Forget people, to the end: with repair or replay, erasing and receipts."""
        self._fleet.forget(*(self.people[number] for number in numbers))
        self._settle()

    def backup(self) -> Callable[[], None]:
        """Back the first node up; returns what brings the backup back, with all that it knew."""
        member = self._fleet.members[0]
        content = member.node.backup()

        def restore() -> None:
            member.crash(content)
            self._settle()

        return restore

    def _settle(self) -> None:
        """Let time pass until nothing is left to do, and every node runs the newest revision."""
        for _ in range(_LOOKS):
            with quiet(logging.getLogger("fleet.coordinator")):
                self._fleet.run(_LOOK_S)
            if self._plane.read(self._is_settled):
                return
        raise FleetError(f"the fleet has not come to rest: {self._fleet.recorder.tables['events'][-3:]}")

    def _is_settled(self, unit: UnitOfWork) -> bool:
        newest = unit.revisions.settled()
        waits = unit.tx.forgets.list_open() or unit.tx.learning.list_open()
        if newest is None or waits or any(row.replay_from is not None for row in unit.tx.cohorts.list()):
            return False
        active = [m.node.node.context.journal.active_revision() for m in self._fleet.members.values() if m.connected]
        return len(active) == NODES and all(row and row.revision == newest.revision for row in active)

    # What is seen

    @property
    def tags(self) -> list[str]:
        """Tags of whoever is, or was, enrolled."""
        return [person.tag for person in self.people.values()]

    def engine_of(self, node: int) -> tuple[NodeEngine, int]:
        """Return the engine that a node runs on, and its place there."""
        context = self._fleet.members[node].node.node.context
        return context.engine, context.node_index

    def meter(self) -> Callable[[], dict[Phase, Cost]]:
        """Begin to count what nodes spend; returns what tells the costs since, while no node is started again."""
        places = [self.engine_of(node) for node in range(NODES)]
        marks = [(engine.ledger, engine.ledger.mark(place)) for engine, place in places]

        def spent() -> dict[Phase, Cost]:
            parts = [ledger.since(mark) for ledger, mark in marks]
            return {phase: sum((part[phase] for part in parts), start=Cost()) for phase in Phase}

        return spent

    def subject_digests(self) -> list[str]:
        """Return the digest of each person's adapter in each node's SRAM.

        Without the canaries that the coordinator plants: every fleet draws others.
        """
        mine = set(self.tags)
        return [
            subject_digest(adapter).hex()
            for engine, place in map(self.engine_of, range(NODES))
            for adapter in engine.active_subjects(place)
            if adapter.subject_tag in mine
        ]
