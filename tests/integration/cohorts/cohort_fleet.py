"""A fleet in one process: a real coordinator, Flower's own FedAvg, and real nodes that learn.

What is left out is transport: processes, gRPC, the SuperLink. Codes are made up.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reram_fleet.code_ranges import CodeRange
from reram_fleet.cohorts import fleet_seed, shard_of
from reram_fleet.v1.types_pb2 import SharedLora

from edge_node.recognition.score_calibration import ScoreCalibration
from edge_node.recognition.training.rounds import RoundRequest, RoundResult, run_rounds
from edge_node.testing import MemoryEngine
from fleet.coordinator.testing import CODES, FEATURES, SteppedCoordinator
from fleet.domain.learning import JobState
from fleet.sim.grid.product import UnitAttempt, play_attempt
from fleet.store import Store
from fleet.store.cohorts import CohortShardRow
from fleet.trust.keys import CoordinatorKeys
from hwmodel import Cost, Phase
from tests.device import Device

FLEET_ID = "cohort-fleet"
SHARDS = 2
SAMPLES = 4
#: Four public people of three samples.
PERSON = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def tags_in(shard: int, count: int) -> list[str]:
    """Return the first tags of a fixed series that fall into a shard."""
    found = (f"{number:032x}" for number in range(1, 1000))
    return [tag for tag in found if shard_of(tag, fleet_seed(FLEET_ID), SHARDS) == shard][:count]


def samples_of(tag: str, node_id: str) -> np.ndarray:
    """Return made-up codes of a person on a node, int32 [SAMPLES, FEATURES]: their own mean, with noise."""
    mean = np.random.default_rng(int(tag, 16)).integers(-3000, 3000, FEATURES)
    noise = np.random.default_rng([int(tag, 16), *node_id.encode()]).integers(-1500, 1500, (SAMPLES, FEATURES))
    return (mean + noise).astype(np.int32)


def public_codes_of(node_id: str) -> np.ndarray:
    """Return what a chip makes of four public people of three samples."""
    rng = np.random.default_rng(list(node_id.encode()))
    people = np.repeat(rng.integers(-3000, 3000, (4, FEATURES)), 3, axis=0)
    return people + rng.integers(-1500, 1500, people.shape)


class TrainingEngine(MemoryEngine):
    """A small engine whose rounds are real ones: over what the chip has learnt from public people."""

    def __init__(self, saved: Mapping[Phase, Cost], public: np.ndarray) -> None:
        super().__init__(saved, features=FEATURES, public=(public, PERSON))
        codes = torch.from_numpy(public.astype(np.int32))[None]
        self._calibration = ScoreCalibration.fit(codes, torch.tensor(PERSON))

    def run_rounds(self, requests: Sequence[RoundRequest]) -> list[RoundResult]:
        return run_rounds(self._calibration, self._banks, requests)


@dataclass
class NodeClock:
    """Clock of nodes whose time is their coordinator's."""

    now_ms: Callable[[], int]

    def boottime_s(self) -> float:
        return self.now_ms() / 1000

    def unix_ms(self) -> int:
        return self.now_ms()

    def boot_id(self) -> str:
        return "boot"


class LearningNode(Device):
    """A node that learns from who is enrolled on it."""

    def __init__(self, node_id: str, clock: NodeClock) -> None:
        public = public_codes_of(node_id)
        super().__init__(node_id, clock=clock, make_engine=lambda saved: TrainingEngine(saved, public))

    def enrol(self, tag: str) -> None:
        """Capture a person's samples."""
        self.capture(tag, samples_of(tag, self.node_id))


class KilledError(Exception):
    """The Flower run dies here."""


class MortalAttempt(UnitAttempt):
    """Attempt whose Flower run dies after as many rounds as it is told to."""

    def __init__(self, fleet: CohortFleet, job_id: str, attempt: int, rounds: int = 1000) -> None:
        coordinator = fleet.coordinator
        super().__init__(coordinator.transaction, job_id, attempt, coordinator.destroy_orphaned_keys)
        self._rounds = rounds

    def report_round(
        self, round_number: int, sealed_state: bytes, metrics: Mapping[str, float], node_ids: Sequence[str]
    ) -> None:
        super().report_round(round_number, sealed_state, metrics, node_ids)
        self._rounds -= 1
        if not self._rounds:
            raise KilledError


@dataclass
class CohortFleet:
    """The fleet.

    Attributes
    ----------
    online
        Ids of the nodes that are connected.
    """

    folder: Path
    nodes: dict[str, LearningNode]
    clock: Any
    online: set[str]
    coordinator: SteppedCoordinator
    codes: CodeRange = CODES

    @classmethod
    def make(
        cls,
        folder: Path,
        clock: Any,
        node_ids: Sequence[str],
        codes: CodeRange = CODES,
        make_node: Callable[[str, NodeClock], LearningNode] = LearningNode,
    ) -> CohortFleet:
        folder.mkdir(parents=True)
        CoordinatorKeys.load_or_create(folder / "keys")
        with Store.open(f"sqlite:///{folder / 'fleet.db'}", now_ms=clock) as store, store.transaction() as tx:
            tx.fleet.create(FLEET_ID)
        coordinator = SteppedCoordinator(folder, learning=True, now_ms=clock, codes=codes)
        fleet = cls(folder, {}, clock, set(node_ids), coordinator, codes)
        for number, node_id in enumerate(node_ids):
            fleet.nodes[node_id] = make_node(node_id, NodeClock(clock))
            coordinator.enroll(fleet.nodes[node_id])
            with coordinator.transaction() as unit:
                unit.tx.nodes.set_flower_node_id(node_id, 100 + number)
        return fleet

    def copy(self, folder: Path) -> CohortFleet:
        """Return a copy that goes its own way; this one must be closed."""
        shutil.copytree(self.folder, folder)
        nodes = {node_id: node.twin() for node_id, node in self.nodes.items()}
        coordinator = SteppedCoordinator(folder, learning=True, now_ms=self.clock, codes=self.codes)
        fleet = CohortFleet(folder, nodes, self.clock, set(self.online), coordinator, self.codes)
        fleet.settle()
        return fleet

    def enrol(self, people: Mapping[str, Sequence[str]]) -> None:
        """Enrol people, tag to nodes, and let everybody get to know them."""
        for tag, node_ids in people.items():
            for node_id in node_ids:
                self.nodes[node_id].enrol(tag)
        self.settle()

    def settle(self) -> None:
        """Pass messages until nobody has any more."""
        self.coordinator.converse(*(self.nodes[node_id] for node_id in sorted(self.online)))

    def unplug(self, node_id: str) -> None:
        self.online.discard(node_id)
        self.coordinator.disconnect(node_id)

    def train(self, request: str, rounds: int = 2) -> None:
        """Train all shards, to the end."""
        with self.coordinator.transaction() as unit:
            unit.jobs.start_cohorts(request, rounds, SHARDS)
        self.run()

    def forget(self, tag: str) -> str:
        """Commit a forget, and let nodes suppress and erase; returns the campaign."""
        campaign, _ = self.coordinator.forget(f"forget-{tag}", tag)
        self.settle()
        return campaign.campaign_id

    def run(self) -> int:
        """Run jobs until none can begin; returns how many began."""
        for count in range(50):
            self.settle()
            if (client := self.begin()) is None:
                return count
            self.play(client)
        raise AssertionError("jobs without end")

    def begin(self, rounds: int = 1000) -> MortalAttempt | None:
        """Begin the first job that can, as the reconciler does; the client dies after some rounds."""
        with self.coordinator.transaction() as unit:
            for job in unit.tx.learning.list_open():
                late = job.retry_at_ms is not None and job.retry_at_ms > unit.tx.now_ms
                if job.state is JobState.QUEUED and not late and unit.rounds.startable(job):
                    attempt = unit.tx.learning.next_attempt(job.job_id).attempt
                    return MortalAttempt(self, job.job_id, attempt, rounds)
        return None

    def play(self, client: MortalAttempt) -> None:
        """Do what the Flower run of an attempt does."""
        with self.coordinator.transaction() as unit:
            flower = {unit.tx.nodes.get(node_id).flower_node_id: self.nodes[node_id].node for node_id in self.online}
        with suppress(KilledError):
            play_attempt(client, flower)

    def rows(self) -> dict[str, list[int]]:
        """Return the installed integers by tag."""
        with self.coordinator.transaction() as unit:
            content = unit.revisions.latest_content()
        return {row.subject_tag: list(row.codes) for row in content.shared_lora.rows}

    def lora(self) -> SharedLora:
        """Return the installed LoRA."""
        with self.coordinator.transaction() as unit:
            return unit.revisions.latest_content().shared_lora

    def shard(self, number: int) -> CohortShardRow:
        with self.coordinator.transaction() as unit:
            return unit.tx.cohorts.get(number)

    def checkpoints(self) -> set[tuple[int, int]]:
        """Return (shard, round) of every checkpoint that opens."""
        with self.coordinator.transaction() as unit:
            found = {(row.shard, row.round_number) for row in unit.tx.cohorts.checkpoints()}
            for shard, number in found:
                unit.cohorts.load_checkpoint(shard, number)
        return found
