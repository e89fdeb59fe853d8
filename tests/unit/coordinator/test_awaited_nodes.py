"""A restored coordinator that waits for nodes, and goes on without them: what nobody has brought back."""

from __future__ import annotations

import pytest
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.nodes.recovery import ForkError
from fleet.errors import ConflictError
from tests.unit.coordinator.restored import accept, certified, forget, log_of, settle
from tests.unit.coordinator.small_fleet import ANN, BOB, campaign_state, row_of, states
from tests.unit.store.kinds import kept_in_either

EVE = "ee" * 16


@kept_in_either
def test_an_operator_goes_on_without_a_node(coordinator, nodes, go_back, clock):
    first, second = nodes
    restored = go_back()
    restored.converse(first)
    assert accept(restored) == ("node-2",)

    campaign, _ = restored.forget("r2", ANN)
    restored.converse(first)
    assert first.serving
    assert row_of(restored, second).awaited_since_ms == clock.now_ms
    with restored.transaction() as unit:
        kinds_of = [event.kind for _, event in unit.decisions.about("node-2")]
    assert types.AUDIT_EVENT_KIND_NODE_PASSED_OVER in kinds_of
    assert states(restored, campaign.campaign_id) == {"node-1": "verified", "node-2": "pending"}
    with pytest.raises(ConflictError, match="nothing waits"):
        accept(restored)
    restored.converse(first, second)
    assert campaign_state(restored, campaign.campaign_id) == "converged"
    assert row_of(restored, second).awaited_since_ms is None


@kept_in_either
def test_a_forget_that_no_node_brings_back_is_committed_anew_once_all_are_heard(coordinator, nodes, go_back):
    for node in nodes:
        coordinator.disconnect(node.node_id)
    lost = forget(coordinator, [], ANN)
    assert ANN in nodes[0].active()
    restored = go_back()
    restored.converse(nodes[0])
    assert log_of(restored) == []
    settle(restored, *nodes)

    again, created = restored.forget("asked once more", ANN)
    assert not created
    assert again.campaign_id != lost.campaign_id
    assert states(restored, again.campaign_id) == {"node-1": "verified", "node-2": "verified"}
    assert certified(restored, again)
    assert all(node.serving for node in nodes)


def test_a_forget_that_no_node_brings_back_is_committed_anew_when_an_operator_goes_on(coordinator, nodes, go_back):
    for node in nodes:
        coordinator.disconnect(node.node_id)
    forget(coordinator, [], ANN)
    restored = go_back()
    restored.converse(nodes[0])
    accept(restored)
    settle(restored, nodes[0])

    again, created = restored.forget("asked once more", ANN)
    assert not created
    assert states(restored, again.campaign_id) == {"node-1": "verified", "node-2": "pending"}


def test_a_node_that_was_passed_over_brings_back_what_the_log_has_room_for(coordinator, nodes, go_back):
    coordinator.disconnect("node-1")
    # Nobody has contributed this person: without the rows of today nothing tells of the forget.
    campaign, _ = coordinator.forget("forget " + EVE, EVE, allow_unknown=True)
    coordinator.converse(nodes[1])
    restored = go_back(rows=False)
    restored.converse(nodes[0])
    accept(restored)
    settle(restored, *nodes)
    assert set(states(restored, campaign.campaign_id).values()) <= {"verified", "not-affected"}


def test_a_node_that_was_passed_over_keeps_its_entry_and_is_told_the_way_out(coordinator, nodes, go_back):
    first, second = nodes
    coordinator.disconnect(first.node_id)
    forget(coordinator, [second], ANN)
    restored = go_back()
    restored.converse(first)
    accept(restored)
    forget(restored, [first], BOB)
    entry = second.journal.forget(1)

    with pytest.raises(ForkError, match="fleet node retire node-2"):
        restored.connect(second)
    assert second.journal.forget(1) == entry
    with restored.transaction() as unit:
        unit.decisions.retire("node-2", "two histories", discard=False)


def test_retiring_the_last_node_that_is_awaited_ends_the_waiting(coordinator, nodes, go_back):
    restored = go_back()
    restored.converse(nodes[0])
    with restored.transaction() as unit:
        unit.decisions.retire("node-2", "lost in the fire", discard=False)
    forget(restored, nodes[:1], ANN)
    assert nodes[0].serving
