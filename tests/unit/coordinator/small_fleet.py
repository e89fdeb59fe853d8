"""Two nodes and four people, and what tests ask of a coordinator that they take step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from reram_fleet.crypto.sealing import open_symmetric, seal_symmetric, state_purpose
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse
from reram_fleet.wire.shared_lora import SCALE_BITS

from fleet.coordinator.nodes.report_checks import Effect
from fleet.coordinator.testing import FEATURES, SteppedCoordinator
from fleet.domain.learning import JobKind
from fleet.sim.faults.learning import GOOD_REPAIR
from fleet.store.rows import ExecutionRow, LearningJobRow, NodeRow
from tests.device import Device

ANN, BOB, CEM, DEB = PEOPLE = tuple(letter * 32 for letter in "abcd")

Nodes = tuple[Device, Device]


@dataclass
class Clock:
    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


def captured(seed: int, samples: int = 3, largest: int = 3000) -> np.ndarray:
    """Return codes [samples, FEATURES] of a made-up person."""
    return np.random.default_rng(seed).integers(-largest, largest, (samples, FEATURES)).astype(np.int32)


def code_sum(seed: int) -> list[int]:
    """Return the sum of such a person's codes."""
    return captured(seed).sum(axis=0).tolist()


def make_nodes(coordinator: SteppedCoordinator) -> Nodes:
    """Enrol two nodes with two people each, and let everybody get to know everybody."""
    nodes = (Device("node-1"), Device("node-2"))
    for number, node in enumerate(nodes):
        coordinator.enroll(node)
        with coordinator.transaction() as unit:
            unit.tx.nodes.set_flower_node_id(node.node_id, 100 + number)
    for number, tag in enumerate(PEOPLE):
        nodes[number // 2].capture(tag, captured(number))
    coordinator.converse(*nodes)
    return nodes


def campaign_state(coordinator: SteppedCoordinator, campaign_id: str) -> str:
    with coordinator.transaction() as unit:
        return unit.tx.forgets.get(campaign_id).state.value


def states(coordinator: SteppedCoordinator, campaign_id: str) -> dict[str, str]:
    """Return the state of the campaign's execution per node."""
    with coordinator.transaction() as unit:
        return {row.node_id: row.state.value for row in unit.tx.forgets.executions(campaign_id)}


def execution(coordinator: SteppedCoordinator, campaign_id: str, node: Device) -> ExecutionRow:
    with coordinator.transaction() as unit:
        return unit.tx.forgets.execution(campaign_id, node.node_id)


def row_of(coordinator: SteppedCoordinator, node: Device) -> NodeRow:
    with coordinator.transaction() as unit:
        return unit.tx.nodes.get(node.node_id)


def newest(coordinator: SteppedCoordinator) -> types.RevisionContent:
    """Return what the newest revision holds."""
    with coordinator.transaction() as unit:
        return unit.revisions.latest_content()


def kinds(messages) -> list[str]:
    return [message.WhichOneof("message") for message in messages]


def deliver(coordinator: SteppedCoordinator, node: Device, messages) -> list[ConnectResponse]:
    """Let a node act upon messages, and the coordinator take its answers; returns the replies to those."""
    answers = [answer for message in messages for answer in node.receive(message)]
    return [reply for answer in answers for reply in coordinator.take(node.node_id, answer).replies]


def serve(coordinator: SteppedCoordinator, *nodes: Device) -> None:
    """Give nodes what they need now, and no more."""
    for node in nodes:
        deliver(coordinator, node, coordinator.outbox(node.node_id))


def start_job(coordinator: SteppedCoordinator, request_id: str, kind: JobKind = JobKind.TRAIN_LORA) -> str:
    """Queue a job of two rounds and return its id."""
    with coordinator.transaction() as unit:
        return unit.jobs.start(request_id, kind, 2)[0].job_id


def job(coordinator: SteppedCoordinator, job_id: str) -> LearningJobRow:
    with coordinator.transaction() as unit:
        return unit.tx.learning.get(job_id)


def fill(value: float) -> Callable[[types.LoraState], None]:
    """Return a change that sets every number of every row."""

    def change(state: types.LoraState) -> None:
        code = round(value * 2**SCALE_BITS)
        state.rows = np.full(len(state.subject_tags) * (state.neurons + state.rank), code, "<i2").tobytes()

    return change


def run_job(
    coordinator: SteppedCoordinator,
    job_id: str,
    change: Callable[[types.LoraState], None] = fill(0.25),
    metrics: Mapping[str, float] = GOOD_REPAIR,
) -> None:
    """Do what a Flower run does: all rounds of a job's next attempt; `change` is what is learned."""
    with coordinator.transaction() as unit:
        attempt = unit.tx.learning.next_attempt(job_id).attempt
    with coordinator.transaction() as unit:
        given = unit.rounds.describe(job_id, attempt)
    purpose = state_purpose(job_id)
    state = types.LoraState.FromString(open_symmetric(given.job_key, purpose, given.sealed_state))
    change(state)
    sealed = seal_symmetric(given.job_key, purpose, state.SerializeToString())
    for number in range(given.round_offset, given.rounds):
        with coordinator.transaction() as unit:
            unit.rounds.checkpoint(job_id, attempt, number + 1, sealed, metrics)
    with coordinator.transaction() as unit:
        unit.rounds.finish(job_id, attempt, "")
    coordinator.destroy_orphaned_keys()


def teach(coordinator: SteppedCoordinator, nodes: Nodes) -> None:
    """Give everybody a row in the shared LoRA, and install it."""
    run_job(coordinator, start_job(coordinator, "teach"))
    coordinator.converse(*nodes)
    assert {row.subject_tag for row in newest(coordinator).shared_lora.rows} == set(PEOPLE)


#: What nothing can be sealed to: no key, one cut off, two points of low order.
NO_KEYS = [
    pytest.param(b"", id="none"),
    pytest.param(b"\x09" + bytes(30), id="cut off"),
    pytest.param(bytes(32), id="zero"),
    pytest.param(b"\x01" + bytes(31), id="one"),
]


def reason_for_putting_aside(coordinator: SteppedCoordinator, message: ConnectRequest) -> str:
    """Let node-1 say something that is not acted upon; returns what operators see of it."""
    effect = coordinator.take("node-1", message)
    assert effect == Effect()
    with coordinator.transaction() as unit:
        (row,) = unit.tx.nodes.quarantined("node-1")
    assert row.kind == message.WhichOneof("message")
    return row.reason
