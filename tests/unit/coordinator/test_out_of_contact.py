"""A node that hears nothing of its coordinator: it cannot know what was forgotten meanwhile."""

from __future__ import annotations

from reram_fleet.v1 import types_pb2 as types

from tests.unit.coordinator.small_fleet import ANN, captured


def names(node):
    return [answer.best_tag for answer in node.identify(captured(0, samples=1)).answers]


def test_node_out_of_contact_for_longer_than_its_lease_detaches_its_adapters(coordinator, nodes):
    node, _ = nodes
    assert names(node) == [ANN]
    node.clock.advance(coordinator.coordinator.env.settings.lease_s - 1)
    assert names(node) == [ANN]
    # The stream stands, and nothing but the missing leases tells that something is wrong.
    node.clock.advance(1)
    answer = node.identify(captured(0))
    assert answer.backbone_only
    assert answer.quarantine_reason == types.QUARANTINE_REASON_LEASE_EXPIRED
    assert not answer.answers
    coordinator.converse(*nodes)
    assert names(node) == [ANN]


def test_node_that_was_killed_before_a_forget_answers_by_its_backbone_until_it_has_caught_up(coordinator, nodes):
    node, other = nodes
    coordinator.disconnect("node-1")
    coordinator.forget("r1", ANN)
    coordinator.converse(other)
    node.restore(node.backup())
    said = coordinator.connect(node)
    assert ANN in node.active()
    assert node.identify(captured(0)).backbone_only
    # The lease comes before the log: it is of a generation that the node has not taken.
    for message in said:
        for reply in coordinator.take("node-1", message).replies:
            node.receive(reply)
    assert node.identify(captured(0)).quarantine_reason == types.QUARANTINE_REASON_BEHIND_GENERATION
    coordinator.converse(node, other)
    answer = node.identify(captured(0, samples=1))
    assert (answer.backbone_only, answer.generation) == (False, 1)
    assert ANN not in {a.best_tag for a in answer.answers}
