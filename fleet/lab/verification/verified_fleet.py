"""Fleet that is verified: the product's nodes, coordinator and rounds in memory, with people of one's choice.

Another fleet of the same seed has the same chips, fleet id and tags: one in which somebody was never enrolled differs
in nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp

import torch
from reram_fleet.crypto.digests import lora_digest, subject_digest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.testing import seeded
from reram_fleet.v1.types_pb2 import SharedLora
from torch import Tensor

from edge_node.recognition.engine import Engine
from edge_node.tasks import RecognitionTask
from fleet.coordinator.unit import UnitOfWork
from fleet.errors import FleetError
from fleet.lab.verification.evidence import AdapterKind
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.metrics import Answers
from fleet.sim import checkpoint
from fleet.sim.defaults import CHUNK
from fleet.sim.fleet import SimulatedFleet
from fleet.sim.jobs import quiet
from fleet.sim.people import Person
from fleet.sim.scenario import Chip, Fleet, Learning, Scenario
from fleet.sim.task_people import TaskPeople
from hwmodel import Phase, keyed_seed

NODES, NODES_PER_PERSON = 3, 2
#: Virtual seconds between two looks whether everything is done, and looks until something is wrong.
_LOOK_S, _LOOKS = 30.0, 200


class VerifiedFleet:
    """Fleet of a recognition task; people are numbers: the enrolled ones by name, then the strangers.

    Attributes
    ----------
    people
        Whoever is, or was, enrolled, by number.
    """

    def __init__(
        self,
        task: RecognitionTask,
        seed: int,
        folder: Path,
        *,
        head: bool,
        chip: Chip = Chip(),
    ) -> None:
        scenario = Scenario(
            name="verification",
            title="A forget",
            question="Is anything left?",
            fleet=Fleet(
                nodes=NODES, task=task.name, people=0, nodes_per_person=NODES_PER_PERSON, samples=1000, head=head
            ),
        )
        subjects = TaskPeople(task, scenario.fleet, chip, seed, lambda text: None, CHUNK, _new, None)
        own = Path(mkdtemp(dir=folder))
        self._fleet = SimulatedFleet(scenario, seed, own, CHUNK, lambda text: None, subjects=subjects)
        self._seed, self._plane = seed, self._fleet.plane
        self._names, self._samples = subjects.names, task.load_people()
        self.people: dict[int, Person] = {}

    def copy(self) -> VerifiedFleet:
        """Return a fleet that goes its own way from here."""
        found = checkpoint.restored(checkpoint.saved(self))
        assert isinstance(found, VerifiedFleet)
        return found

    def close(self) -> None:
        """Let go of everything."""
        self._plane.close_store()

    # What is done

    def enrol(self, numbers: Sequence[int]) -> None:
        """Enrol people, and let everybody get to know them."""
        self._plane.held_up = True
        for number in numbers:
            tag = new_tag(seeded(keyed_seed(self._seed, "verification.tag", number)).draw)
            person = self._fleet.enrol(number, tag)
            assert person is not None
            self.people[number] = person
        self._fleet.run(_LOOK_S)
        self._plane.held_up = False
        self._plane.look()
        self._settle()

    def learn(self, rounds: int, shards: int = 0) -> None:
        """Train the shared LoRA, or cohort shards, by so many rounds."""
        rows = self._fleet.recorder.tables["rounds"]
        before = len(rows)
        self._fleet.learn(Learning(rounds=rounds, shards=shards))
        self._settle()
        if len(rows) == before:
            raise FleetError(f"nothing was learnt: {self._fleet.recorder.tables['events'][-1:]}")

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
    def engine(self) -> Engine:
        """Engine that all nodes run on."""
        engine = self._fleet.members[0].engine
        assert isinstance(engine, Engine)
        return engine

    def meter(self) -> Callable[[], dict[Phase, float]]:
        """Begin to count what nodes spend; returns what tells the joules since."""
        ledger = self.engine.ledger
        marks = [ledger.mark(node) for node in range(NODES)]

        def spent() -> dict[Phase, float]:
            parts = [ledger.since(mark) for mark in marks]
            return {phase: sum(part[phase].energy_j for part in parts) for phase in Phase}

        return spent

    def subject_digests(self) -> list[str]:
        """Return the digest of each person's adapter in each node's SRAM.

        Without the canaries that the coordinator plants: every fleet draws others.
        """
        mine = set(self.tags)
        return [
            subject_digest(adapter).hex()
            for node in range(NODES)
            for adapter in self.engine.active_subjects(node)
            if adapter.subject_tag in mine
        ]

    def head_digests(self) -> list[str]:
        """Return the digest of the head in each node's SRAM."""
        return [self.engine.head_digest(node).hex() for node in range(NODES)]

    def lora_digests(self) -> list[str]:
        """Return the digest of the LoRA in each node's SRAM."""
        return [lora_digest(self.engine.active_lora(node) or SharedLora()).hex() for node in range(NODES)]

    def held(self, number: int) -> Rate:
        """Return on how many nodes there is an adapter, a row or a column of a person in SRAM."""
        if number not in self.people:
            return Rate(0, NODES)
        tag, engine = self.people[number].tag, self.engine
        hits = 0
        for node in range(NODES):
            lora, head = engine.active_lora(node), engine.active_head(node)
            rows = [row.subject_tag for row in lora.rows] if lora else []
            hits += tag in (*engine.active_tags(node), *rows, *(head.subject_tags if head else ()))
        return Rate(hits, NODES)

    def shard_digests(self, shards: Sequence[int]) -> list[str]:
        """Return the digests of some shards' rows and branches, as the coordinator has them."""
        return [lora_digest(self.rows_of(shard)).hex() for shard in shards]

    def rows_of(self, shard: int) -> SharedLora:
        """Return a shard's rows and branches, as the coordinator has them."""
        rows: SharedLora = self._plane.read(lambda unit: unit.cohorts.rows_of(shard))
        return rows

    @property
    def tags(self) -> list[str]:
        """Tags of whoever is, or was, enrolled."""
        return [person.tag for person in self.people.values()]

    def shard_of(self, number: int) -> int:
        """Return the shard that a person is in, or would be."""
        shard: int = self._plane.read(lambda unit: unit.cohorts.shard_in(self.people[number].tag))
        return shard

    def capture(self, number: int) -> tuple[Tensor, Tensor]:
        """Return what every chip makes of a person's training samples, and of held-out ones: codes ``[N, B, F]``."""
        person = self._samples[self._names[number]]
        return self.engine.capture(person.train), self.engine.capture(person.test)

    def answers(self, codes: Tensor, numbers: Sequence[int]) -> Answers:
        """Return what nodes say of these people to samples; nothing of whoever is not enrolled."""
        return Answers.of(self.engine, codes, [self.people[n].tag if n in self.people else "" for n in numbers])

    def named(self, codes: Tensor, number: int) -> dict[AdapterKind, Rate]:
        """Return how many samples, codes ``[N, B, F]``, nodes name as a person's, by the adapters that say so."""
        found = self.engine.identify(codes, Phase.VERIFY)
        by = {
            AdapterKind.SUBJECT: found.best_tag_subject_only,
            AdapterKind.HEAD: found.best_tag,
            AdapterKind.COHORT: found.best_tag_without_head,
        }
        tag = self.people[number].tag
        return {
            kind: Rate.of(torch.tensor([[best == tag for best in row] for row in tags])) for kind, tags in by.items()
        }


def _new() -> float:
    """Return the age (s) of chips that are programmed now."""
    return 0.0
