"""A fleet in one process: a real coordinator, Flower's own FedAvg, and nodes that really learn.

What is left out is transport: processes, gRPC, the SuperLink. Codes are made up: eight integers a sample.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from reram_fleet.code_ranges import CodeRange
from reram_fleet.cohorts import fleet_seed, shard_of
from reram_fleet.crypto.sealing import job_key_purpose, open_sealed, open_symmetric, seal_symmetric, state_purpose
from reram_fleet.processes.flower import NODE_ID_KEY, STATE_KEY, STATE_RECORD, TICKET_KEY
from reram_fleet.v1 import learning_pb2 as wire
from reram_fleet.v1 import types_pb2 as types
from torch import Tensor

from edge_node.agent.rounds import check_ticket
from edge_node.recognition.bank import AdapterBank
from edge_node.recognition.score_calibration import ScoreCalibration
from edge_node.recognition.training.rounds import RoundRequest, run_rounds
from fleet.coordinator.testing import FEATURES, SimulatedNode, SteppedCoordinator
from fleet.domain.learning import JobState
from fleet.learning.server_app import run_job
from fleet.store import Store
from fleet.store.cohorts import CohortShardRow

FLEET_ID = "cohort-fleet"
SHARDS = 2
SAMPLES = 4


def tags_in(shard: int, count: int) -> list[str]:
    """Return the first tags of a fixed series that fall into a shard."""
    found = (f"{number:032x}" for number in range(1, 1000))
    return [tag for tag in found if shard_of(tag, fleet_seed(FLEET_ID), SHARDS) == shard][:count]


def samples_of(tag: str, node_id: str) -> Tensor:
    """Return made-up codes of a person on a node, int32 [SAMPLES, FEATURES]: their own mean, with noise."""
    mean = np.random.default_rng(int(tag, 16)).integers(-3000, 3000, FEATURES)
    noise = np.random.default_rng([int(tag, 16), *node_id.encode()]).integers(-1500, 1500, (SAMPLES, FEATURES))
    return torch.from_numpy((mean + noise).astype(np.int32))


#: Of eight features.
CODES = CodeRange(FEATURES, 2**16 - 1)


def calibration_of(node_id: str) -> ScoreCalibration:
    """Return what a chip learns from four public people of three samples."""
    rng = np.random.default_rng(list(node_id.encode()))
    people = np.repeat(rng.integers(-3000, 3000, (4, FEATURES)), 3, axis=0)
    codes = people + rng.integers(-1500, 1500, people.shape)
    return ScoreCalibration.fit(torch.from_numpy(codes.astype(np.int32))[None], torch.arange(4).repeat_interleave(3))


class LearningNode(SimulatedNode):
    """A simulated node that keeps captured codes, and runs rounds as an engine does."""

    def __init__(self, node_id: str) -> None:
        super().__init__(node_id)
        self.codes: dict[str, Tensor] = {}
        self.calibration = calibration_of(node_id)

    def identify(self, codes: list[int]) -> str:
        """Return the tag of an adapter that is this sample: in eight features random canaries look alike."""
        nearest = super().identify(codes)
        if not nearest:
            return ""
        mean = np.asarray(self.active()[nearest].code_sum, np.float64)
        cosine = float(mean @ codes / (np.linalg.norm(mean) * np.linalg.norm(codes)))
        return nearest if cosine > 0.999 else ""

    def enrol(self, tag: str) -> None:
        """Capture a person's samples."""
        self.codes[tag] = samples_of(tag, self.node_id)
        self.capture(tag, self.codes[tag].sum(dim=0).tolist(), SAMPLES)

    def run_round(self, ticket: types.JobTicket, sealed: bytes) -> tuple[bytes, int, Mapping[str, float]]:
        """Answer a round."""
        check_ticket(
            ticket,
            fleet_id=self.fleet_id,
            node_id=self.node_id,
            generation=self.journal.generation,
            tombstones=self.journal.tombstones,
            unix_ms=0,
        )
        key = open_sealed(self.session_key, job_key_purpose(ticket.job_id, self.node_id), ticket.job_key)
        purpose = state_purpose(ticket.job_id)
        state = types.LoraState.FromString(open_symmetric(key, purpose, sealed))
        bank = AdapterBank(FEATURES)
        for adapter in self.active().values():
            bank.set_subject(adapter)
        samples = {tag: self.codes[tag] for tag in ticket.subject_tags if tag in self.codes}
        request = RoundRequest(0, ticket, state, samples, {})
        (result,) = run_rounds(self.calibration, [bank], [request])
        return seal_symmetric(key, purpose, result.state.SerializeToString()), result.num_examples, {}


@dataclass
class DirectGrid(Grid):
    """Carries messages to nodes by a call."""

    nodes: Mapping[int, LearningNode]
    waiting: dict[str, Message] = field(default_factory=dict)

    def set_run(self, run: Any) -> None:
        raise AssertionError("JobGrid never asks its grid for this")

    @property
    def run(self) -> Any:
        raise AssertionError("JobGrid never asks its grid for this")

    def create_message(self, *arguments: Any, **named: Any) -> Message:
        raise AssertionError("JobGrid never asks its grid for this")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise AssertionError("JobGrid never asks its grid for this")

    def get_node_ids(self) -> list[int]:
        return sorted(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = message.object_id
            self.waiting[message.object_id] = message
            ids.append(message.object_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        for message_id in list(message_ids):
            message = self.waiting.pop(message_id)
            node = self.nodes[message.metadata.dst_node_id]
            record = message.content.config_records[STATE_RECORD]
            envelope = types.Envelope.FromString(record[TICKET_KEY])
            sealed, examples, metrics = node.run_round(node._verified(envelope, types.JobTicket), record[STATE_KEY])
            content = RecordDict(
                {
                    STATE_RECORD: ConfigRecord({STATE_KEY: sealed, NODE_ID_KEY: node.node_id}),
                    "metrics": MetricRecord({**metrics, "num-examples": examples}),
                }
            )
            yield Message(content, reply_to=message)


class KilledError(Exception):
    """The Flower run dies here."""


@dataclass
class DirectClient:
    """LearningService by a call; dies after as many rounds as it is told to."""

    fleet: CohortFleet
    job_id: str
    attempt: int
    rounds: int = 1000

    def get_job(self) -> wire.GetJobResponse:
        with self.fleet.coordinator.transaction() as unit:
            return unit.rounds.describe(self.job_id, self.attempt)

    def begin_round(self, round_number: int) -> Sequence[wire.RoundNode]:
        with self.fleet.coordinator.transaction() as unit:
            begun = unit.rounds.begin_round(self.job_id, self.attempt, round_number)
        return list(begun.nodes)

    def report_round(
        self, round_number: int, sealed_state: bytes, metrics: Mapping[str, float], node_ids: Sequence[str]
    ) -> None:
        request = wire.ReportRoundRequest(
            job_id=self.job_id,
            attempt=self.attempt,
            round=round_number,
            sealed_state=sealed_state,
            metrics=metrics,
            node_ids=node_ids,
        )
        with self.fleet.coordinator.transaction() as unit:
            unit.rounds.report_round(request)
        self.rounds -= 1
        if not self.rounds:
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

    @classmethod
    def make(cls, folder: Path, clock: Any, node_ids: Sequence[str]) -> CohortFleet:
        folder.mkdir(parents=True)
        with Store.open(f"sqlite:///{folder / 'fleet.db'}", now_ms=clock) as store, store.transaction() as tx:
            tx.fleet.create(FLEET_ID)
        coordinator = SteppedCoordinator(folder, learning=True, now_ms=clock, codes=CODES)
        fleet = cls(folder, {}, clock, set(node_ids), coordinator)
        for number, node_id in enumerate(node_ids):
            fleet.nodes[node_id] = LearningNode(node_id)
            coordinator.enroll(fleet.nodes[node_id])
            with coordinator.transaction() as unit:
                unit.tx.nodes.set_flower_node_id(node_id, 100 + number)
        return fleet

    def copy(self, folder: Path) -> CohortFleet:
        """Return a copy that goes its own way; this one must be closed."""
        shutil.copytree(self.folder, folder)
        nodes = {node_id: self._twin(node) for node_id, node in self.nodes.items()}
        coordinator = SteppedCoordinator(folder, learning=True, now_ms=self.clock, codes=CODES)
        fleet = CohortFleet(folder, nodes, self.clock, set(self.online), coordinator)
        fleet.settle()
        return fleet

    def _twin(self, node: LearningNode) -> LearningNode:
        twin = node.twin()
        assert isinstance(twin, LearningNode)
        twin.codes = copy.copy(node.codes)
        return twin

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

    def begin(self, rounds: int = 1000) -> DirectClient | None:
        """Begin the first job that can, as the reconciler does; the client dies after some rounds."""
        with self.coordinator.transaction() as unit:
            for job in unit.tx.learning.list_open():
                late = job.retry_at_ms is not None and job.retry_at_ms > unit.tx.now_ms
                if job.state is JobState.QUEUED and not late and unit.rounds.startable(job):
                    attempt = unit.tx.learning.next_attempt(job.job_id).attempt
                    return DirectClient(self, job.job_id, attempt, rounds)
        return None

    def play(self, client: DirectClient) -> None:
        """Do what the Flower run of an attempt does."""
        with self.coordinator.transaction() as unit:
            flower = {unit.tx.nodes.get(node_id).flower_node_id: self.nodes[node_id] for node_id in self.online}
        error = ""
        try:
            run_job(DirectGrid(flower), client)  # type: ignore[arg-type]
        except KilledError:
            error = "killed"
        with self.coordinator.transaction() as unit:
            unit.rounds.finish(client.job_id, client.attempt, error)
        self.coordinator.destroy_orphaned_keys()

    def rows(self) -> dict[str, list[int]]:
        """Return the installed integers by tag."""
        with self.coordinator.transaction() as unit:
            content = unit.revisions.latest_content()
        return {row.subject_tag: list(row.codes) for row in content.shared_lora.rows}

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
