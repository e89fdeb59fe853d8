"""Learning jobs of a real coordinator on real nodes with real engines, over a VectorGrid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from reram_fleet.code_ranges import SPEAKERS as CODES
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.testing import seeded
from reram_fleet.crypto.tickets import issue_ticket

from edge_node.agent.rounds import compute
from edge_node.errors import EngineError, RoundError
from edge_node.recognition.engine import Engine
from edge_node.recognition.training.rounds import RoundRequest, RoundResult
from edge_node.tasks.speakers import SPEAKERS, load_people
from edge_node.testing import FakeClock, MemoryNode
from fleet.coordinator.testing import REGISTRY_KEY, SteppedCoordinator
from fleet.domain.learning import JobKind, JobState
from fleet.learning.errors import QuorumError
from fleet.sim.grid.product import UnitAttempt, play_attempt
from hwmodel import load_preset

NODES = ("east", "north", "south")
FLEET_SEED = 11
PEOPLE = SPEAKERS.split.enrolled
#: Who shows up where: each node has other people, and everybody is known somewhere.
PLACES = {"east": PEOPLE[:2], "north": PEOPLE[1:3], "south": PEOPLE[2:]}


class CountingEngine(Engine):
    """An engine that counts the nodes of its batches."""

    batches: list[list[int]]

    def run_rounds(self, requests: Sequence[RoundRequest]) -> list[RoundResult]:
        self.__dict__.setdefault("batches", []).append([request.node for request in requests])
        return super().run_rounds(requests)


@dataclass
class SmallFleet:
    """Three nodes, four people, and a coordinator that is taken step by step."""

    coordinator: SteppedCoordinator
    nodes: dict[str, MemoryNode]
    tags: dict[str, str]

    def attempt(self, kind: JobKind = JobKind.TRAIN_LORA) -> UnitAttempt:
        """Begin a job of two rounds."""
        with self.coordinator.transaction() as unit:
            job, _ = unit.jobs.start(new_tag(), kind, 2)
            attempt = unit.tx.learning.next_attempt(job.job_id).attempt
        return UnitAttempt(self.coordinator.transaction, job.job_id, attempt, self.coordinator.destroy_orphaned_keys)

    def up(self, *names: str) -> dict[int, Any]:
        """Return the nodes that are up by Flower's ids."""
        return {100 + NODES.index(name): self.nodes[name].node for name in names or NODES}

    def rows(self) -> dict[str, list[int]]:
        """Return the integers of the newest revision's LoRA by person."""
        with self.coordinator.transaction() as unit:
            rows = {row.subject_tag: list(row.codes) for row in unit.revisions.latest_content().shared_lora.rows}
        return {name: rows[tag] for name, tag in self.tags.items()}

    def state(self, attempt: UnitAttempt) -> tuple[JobState, str]:
        with self.coordinator.transaction() as unit:
            job = unit.tx.learning.get(attempt.job_id)
        return job.state, job.error


@pytest.fixture(scope="module")
def shared() -> CountingEngine:
    return CountingEngine.build(SPEAKERS, load_preset("180nm-1t1r"), FLEET_SEED, NODES)  # type: ignore[return-value]


def emptied(engine: Engine) -> None:
    for index in range(len(engine.node_ids)):
        engine.set_lora(index, None)
        engine.set_head(index, None)
        engine.drop_subjects(index, [adapter.subject_tag for adapter in engine.active_subjects(index)])


def built(folder: Path, engines: dict[str, tuple[Engine, int]]) -> SmallFleet:
    """Make the fleet on engines that are there: for each node one, and its place in it."""
    clock = FakeClock()
    coordinator = SteppedCoordinator(
        folder,
        learning=True,
        codes=CODES,
        database="sqlite://",
        now_ms=clock.unix_ms,
        # The fleet's id, from which its LoRA is drawn, is the same every time.
        randomness=seeded(1),
    )
    people, tags = load_people(PEOPLE), {name: f"{number:032x}" for number, name in enumerate(PEOPLE, 1)}
    nodes = {}
    for engine, _ in engines.values():
        emptied(engine)
    for number, name in enumerate(NODES):
        engine, index = engines[name]
        nodes[name] = MemoryNode(name, clock=clock, make_engine=lambda saved, engine=engine: engine, node_index=index)
        coordinator.enroll(nodes[name])
        with coordinator.transaction() as unit:
            unit.tx.nodes.set_flower_node_id(name, 100 + number)
        for person in PLACES[name]:
            consent = issue_ticket(
                REGISTRY_KEY,
                fleet_id=coordinator.coordinator.env.fleet_id,
                subject_tag=tags[person],
                node_ids=[name],
                expires_at_unix_ms=2**62,
            )
            nodes[name].node.enroll(consent, people[person].train[:6])
    coordinator.converse(*nodes.values())
    return SmallFleet(coordinator, nodes, tags)


@pytest.fixture
def fleet(tmp_path: Path, shared: Engine) -> Iterator[SmallFleet]:
    """A fleet whose nodes share an engine."""
    fleet = built(tmp_path / "shared", {name: (shared, index) for index, name in enumerate(NODES)})
    yield fleet
    fleet.coordinator.close()


def test_a_job_gives_the_same_integers_for_every_chunk_and_as_on_engines_of_their_own(
    tmp_path: Path, shared: CountingEngine
) -> None:
    preset, found = load_preset("180nm-1t1r"), {}
    alone = {name: (Engine.build(SPEAKERS, preset, FLEET_SEED, [name]), 0) for name in NODES}
    together: dict[str, tuple[Engine, int]] = {name: (shared, index) for index, name in enumerate(NODES)}
    for label, engines, chunk in (("1", together, 1), ("2", together, 2), ("all", together, 50), ("alone", alone, 50)):
        fleet = built(tmp_path / label, engines)
        shared.batches = []
        attempt = fleet.attempt()
        play_attempt(attempt, fleet.up(), chunk=chunk)
        assert fleet.state(attempt) == (JobState.SUCCEEDED, "")
        sizes = [len(batch) for batch in shared.batches]
        assert sizes == {"1": [1] * 6, "2": [2, 1] * 2, "all": [3, 3], "alone": []}[label]
        found[label] = fleet.rows()
        fleet.coordinator.close()

    assert any(any(codes) for codes in found["1"].values())
    assert found["1"] == found["2"] == found["all"] == found["alone"]


def test_a_job_gives_the_same_integers_with_two_threads(tmp_path: Path, shared: CountingEngine) -> None:
    found = []
    for threads in (1, 2):
        fleet = built(tmp_path / str(threads), {name: (shared, index) for index, name in enumerate(NODES)})
        torch.set_num_threads(threads)
        try:
            play_attempt(fleet.attempt(), fleet.up())
        finally:
            torch.set_num_threads(1)
        found.append(fleet.rows())
        fleet.coordinator.close()
    assert found[0] == found[1]


def test_a_node_that_refuses_is_left_out_and_says_why(fleet: SmallFleet, caplog: pytest.LogCaptureFixture) -> None:
    attempt = fleet.attempt()
    # It says hello anew, so that its session key is another one than the coordinator seals the job's key to.
    fleet.nodes["north"].node._new_session_key()
    play_attempt(attempt, fleet.up())
    assert fleet.state(attempt) == (JobState.SUCCEEDED, "")
    assert "node north" in caplog.text
    assert "does not open" in caplog.text


def test_a_job_without_its_quorum_fails_at_once_and_is_tried_again_later(fleet: SmallFleet) -> None:
    attempt = fleet.attempt()
    with pytest.raises(QuorumError, match="needs 2 nodes"):
        play_attempt(attempt, fleet.up("east"))
    state, error = fleet.state(attempt)
    assert state is JobState.QUEUED
    assert "QuorumError" in error


def test_costs_of_a_batch_are_charged_to_each_node_as_alone(fleet: SmallFleet) -> None:
    def spent() -> list[float]:
        return [
            sum(cost.energy_j for cost in fleet.nodes[name].node.status().costs if cost.phase == 3) for name in NODES
        ]

    costs = []
    for chunk in (1, 50):
        before = spent()
        play_attempt(fleet.attempt(), fleet.up(), chunk=chunk)
        costs.append([after - start for after, start in zip(spent(), before, strict=True)])
    assert costs[0] == pytest.approx(costs[1])
    assert all(cost > 0 for cost in costs[0])


def test_a_round_that_an_engine_cannot_run_stops_no_other(fleet: SmallFleet) -> None:
    attempt = fleet.attempt()
    job = attempt.get_job()
    opened = [
        fleet.nodes[named.node_id].node.open_round(named.ticket, job.sealed_state) for named in attempt.begin_round(1)
    ]
    bad = opened[1].request.state
    bad.rank += 1

    computed = compute(opened)

    assert isinstance(computed[1], RoundError)
    assert [isinstance(each, EngineError) for each in computed] == [False, True, False]
    assert [each.num_examples for each in computed if isinstance(each, RoundResult)] == [
        12 + 90,
        12 + 90,
    ]
