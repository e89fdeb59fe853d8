"""Fleet of a recognition task that is verified: what its nodes hold of people, and say of samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from reram_fleet.crypto.digests import lora_digest
from reram_fleet.v1.types_pb2 import SharedLora
from torch import Tensor

from edge_node.recognition.engine import Engine
from edge_node.tasks import RecognitionTask
from fleet.errors import FleetError
from fleet.lab.verification.evidence import AdapterKind
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.memory_fleet import NODES, MemoryFleet, verified
from fleet.lab.verification.metrics import Answers
from fleet.sim.defaults import CHUNK
from fleet.sim.scenario import Chip, Learning
from fleet.sim.task_people import TaskPeople
from hwmodel import Phase


class VerifiedFleet(MemoryFleet):
    """Fleet of a recognition task; people are numbers: the enrolled ones by name, then the strangers."""

    def __init__(
        self,
        task: RecognitionTask,
        seed: int,
        folder: Path,
        *,
        head: bool,
        chip: Chip = Chip(),
    ) -> None:
        fleet = verified(task.name, head=head)
        subjects = TaskPeople(task, fleet, chip, seed, lambda text: None, CHUNK, _new, None)
        super().__init__(fleet, subjects, seed, folder)
        self._names, self._samples = subjects.names, task.load_people()

    def learn(self, rounds: int, shards: int = 0) -> None:
        """Train the shared LoRA, or cohort shards, by so many rounds."""
        rows = self._fleet.recorder.tables["rounds"]
        before = len(rows)
        self._fleet.learn(Learning(rounds=rounds, shards=shards))
        self._settle()
        if len(rows) == before:
            raise FleetError(f"nothing was learnt: {self._fleet.recorder.tables['events'][-1:]}")

    @property
    def engine(self) -> Engine:
        """Engine that all nodes run on."""
        engine, _ = self.engine_of(0)
        assert isinstance(engine, Engine)
        return engine

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
