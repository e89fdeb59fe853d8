"""The real node's state machine against the real coordinator's, without a network between them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from reram_fleet.code_ranges import CodeRange
from reram_fleet.crypto.identifiers import new_tag

from edge_node.agent.node import Node
from edge_node.config import StateFolder
from edge_node.storage.keys import NodeKeys
from edge_node.testing import FakeClock, FakeCoordinator, open_node
from fleet.coordinator.testing import REGISTRY_KEY, SteppedCoordinator


def sample(voice: int) -> np.ndarray:
    return np.eye(8, dtype=np.float32)[voice][None] * 1000


@pytest.fixture
def coordinator(tmp_path) -> Iterator[SteppedCoordinator]:
    stepped = SteppedCoordinator(tmp_path / "coordinator", codes=CodeRange(8, 2**16 - 1))
    yield stepped
    stepped.close()


class Device:
    """One node's state folder, and the node while it is open."""

    def __init__(self, folder: Path, coordinator: SteppedCoordinator) -> None:
        keys = coordinator.coordinator.env.keys
        self.folder = folder
        self.fake = FakeCoordinator(
            coordinator.coordinator.env.fleet_id, keys.command_key, keys.sealing_key, REGISTRY_KEY
        )
        with coordinator.transaction() as unit:
            unit.decisions.enroll(NodeKeys.create(StateFolder(folder), "node-1").identity)
        self.node = self._open()

    def _open(self) -> Node:
        return open_node(self.folder, self.fake, FakeClock())

    def while_closed(self, work: Callable[[], object]) -> None:
        """Stop the node, do something with its folder, and start it again."""
        self.node.close()
        work()
        self.node = self._open()

    def restore(self, backup: Path) -> None:
        """Replace everything on the device's disk, keys and all."""
        shutil.rmtree(self.folder)
        shutil.copytree(backup, self.folder)


@pytest.fixture
def device(tmp_path, coordinator) -> Iterator[Device]:
    found = Device(tmp_path / "node", coordinator)
    yield found
    found.node.close()


def tags_of(device):
    return set(device.node.status().subject_tags)


def campaign(coordinator, campaign_id):
    with coordinator.transaction() as unit:
        (execution,) = unit.tx.forgets.executions(campaign_id)
        return unit.tx.forgets.get(campaign_id).state, execution.state, unit.tx.nodes.get("node-1").held_reason


def deliver(coordinator, node):
    """Give the node what it needs now, and the coordinator its answers; no sign of life between."""
    for message in coordinator.outbox("node-1"):
        for answer in node.receive(message):
            coordinator.take("node-1", answer)


def test_forget_is_verified(coordinator, device):
    kept, forgotten = new_tag(), new_tag()
    device.node.enroll(device.fake.consent(kept), [sample(0)])
    device.node.enroll(device.fake.consent(forgotten), [sample(1)])
    coordinator.converse(device.node)
    made, _ = coordinator.forget("r1", forgotten)
    coordinator.converse(device.node)
    assert campaign(coordinator, made.campaign_id) == ("converged", "verified", "")
    assert kept in tags_of(device)
    assert forgotten not in tags_of(device)


def test_node_restored_from_a_backup_forgets_again_what_the_backup_brought_back(tmp_path, coordinator, device):
    first, second = new_tag(), new_tag()
    device.node.enroll(device.fake.consent(first), [sample(0)])
    device.node.enroll(device.fake.consent(second), [sample(1)])
    coordinator.converse(device.node)
    one, _ = coordinator.forget("r1", first)
    coordinator.converse(device.node)
    backup = tmp_path / "backup"
    device.while_closed(lambda: shutil.copytree(device.folder, backup))
    two, _ = coordinator.forget("r2", second)
    coordinator.disconnect("node-1")
    coordinator.converse(device.node)
    assert campaign(coordinator, two.campaign_id) == ("converged", "verified", "")
    device.while_closed(lambda: device.restore(backup))
    assert second in tags_of(device)
    coordinator.connect(device.node)
    assert campaign(coordinator, two.campaign_id)[:2] == ("erasing", "pending")
    coordinator.disconnect("node-1")
    coordinator.converse(device.node)
    for made in (one, two):
        assert campaign(coordinator, made.campaign_id) == ("converged", "verified", "")
    assert not {first, second} & tags_of(device)


def test_person_enrolled_while_a_forget_is_carried_out_is_not_held_against_the_node(coordinator, device):
    """The receipt names somebody whom the coordinator hears of just before it, on the same stream."""
    forgotten, newcomer = new_tag(), new_tag()
    device.node.enroll(device.fake.consent(forgotten), [sample(0)])
    coordinator.converse(device.node)
    made, _ = coordinator.forget("r1", forgotten)
    for _ in range(2):
        deliver(coordinator, device.node)
        coordinator.step()
    device.node.enroll(device.fake.consent(newcomer), [sample(1)])
    deliver(coordinator, device.node)
    coordinator.step()
    assert campaign(coordinator, made.campaign_id) == ("converged", "verified", "")
    assert newcomer in tags_of(device)


def test_person_enrolled_before_a_lost_receipt_comes_again_is_not_held_against_the_node(coordinator, device):
    forgotten, newcomer = new_tag(), new_tag()
    device.node.enroll(device.fake.consent(forgotten), [sample(0)])
    coordinator.converse(device.node)
    made, _ = coordinator.forget("r1", forgotten)
    for _ in range(2):
        deliver(coordinator, device.node)
        coordinator.step()
    device.node.enroll(device.fake.consent(newcomer), [sample(1)])
    for message in coordinator.outbox("node-1"):
        device.node.receive(message)
    # Neither the contribution nor the receipt has arrived when the stream breaks.
    coordinator.disconnect("node-1")
    coordinator.converse(device.node)
    assert campaign(coordinator, made.campaign_id) == ("converged", "verified", "")
