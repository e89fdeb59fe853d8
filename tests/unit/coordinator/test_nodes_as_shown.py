"""Nodes as operators and Prometheus are shown them."""

from __future__ import annotations

import pytest

from fleet.coordinator.metrics import registry
from fleet.coordinator.metrics.calls import CallMeter
from fleet.coordinator.testing import SteppedCoordinator
from tests.device import Device
from tests.unit.coordinator.small_fleet import ANN, PEOPLE, captured, deliver, serve


def nodes_in(coordinator: SteppedCoordinator, state: str) -> float | None:
    return registry(coordinator.coordinator, CallMeter()).get_sample_value("fleet_nodes", {"state": state})


def people_shown(coordinator: SteppedCoordinator, node: Device) -> int:
    """Let a node report how many adapters are active on it, and look at what operators see of it."""
    for message in node.heartbeat():
        if message.HasField("telemetry"):
            coordinator.take(node.node_id, message)
    with coordinator.transaction() as unit:
        return unit.views.node(unit.tx.nodes.get(node.node_id), frozenset()).subject_adapters


def test_a_node_out_of_contact_is_lost_and_not_counted_as_serving(coordinator, nodes):
    for node in nodes:
        # With the first heartbeat it gets a lease, with the second it says so.
        deliver(
            coordinator,
            node,
            [r for heartbeat in node.heartbeat() for r in coordinator.take(node.node_id, heartbeat).replies],
        )
        for heartbeat in node.heartbeat():
            coordinator.take(node.node_id, heartbeat)
    assert (nodes_in(coordinator, "serving"), nodes_in(coordinator, "lost")) == (2, 0)
    coordinator.disconnect("node-2")
    assert (nodes_in(coordinator, "serving"), nodes_in(coordinator, "lost")) == (1, 1)


def test_a_node_that_was_never_heard_of_is_not_lost(coordinator):
    coordinator.enroll(Device("node-1"))
    assert (nodes_in(coordinator, "unspecified"), nodes_in(coordinator, "lost")) == (1, 0)


def test_planted_canaries_are_not_people(coordinator, nodes):
    assert len(nodes[0].active()) == len(PEOPLE) + 2
    assert people_shown(coordinator, nodes[0]) == len(PEOPLE)


@pytest.mark.parametrize("suppressed", [True, False], ids=["suppressed", "behind the log"])
def test_people_are_counted_rightly_while_a_forget_is_under_way(coordinator, nodes, suppressed):
    with coordinator.transaction() as unit:
        unit.campaigns.create("r-1", [ANN], allow_unknown=False)
    if suppressed:
        log = [m for m in coordinator.outbox("node-1") if m.WhichOneof("message") == "forget_log"]
        deliver(coordinator, nodes[0], log)
    assert people_shown(coordinator, nodes[0]) == len(PEOPLE) - suppressed


def test_people_of_a_node_before_its_first_revision_are_those_whom_it_enrolled(coordinator):
    node = Device("node-1")
    coordinator.enroll(node)
    node.capture(ANN, captured(1))
    assert people_shown(coordinator, node) == 1


def test_people_are_right_again_after_the_next_revision(coordinator, nodes):
    with coordinator.transaction() as unit:
        unit.campaigns.create("r-1", [ANN], allow_unknown=False)
    serve(coordinator, *nodes)
    coordinator.converse(*nodes)
    assert people_shown(coordinator, nodes[0]) == len(PEOPLE) - 1
