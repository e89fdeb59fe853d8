"""Nodes out of contact for longer than the fleet waits: forgets converge without them."""

from __future__ import annotations

import pytest
from reram_fleet.v1 import types_pb2 as types

from fleet.config import ConfigError, ServeSettings
from fleet.coordinator.nodes.decisions import RETURN_GRACE_S
from fleet.domain.node import MAX_RETURNS
from fleet.errors import ConflictError
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, campaign_state, execution, row_of, states

GRACE_MS = round(1000 * RETURN_GRACE_S)


@pytest.fixture
def wait(coordinator, clock):
    """Let time pass that is longer than the fleet waits for a node, with the others in contact."""

    def wait(*present, times=1.0):
        clock.now_ms += round(1000 * coordinator.coordinator.env.settings.lost_after_s * times) + 1
        coordinator.converse(*present)

    return wait


def lease_ms(coordinator):
    return round(1000 * coordinator.coordinator.env.settings.lease_s)


def losses(coordinator, node):
    with coordinator.transaction() as unit:
        found = [event for _, event in unit.decisions.about(node.node_id)]
    return [event for event in found if event.kind == types.AUDIT_EVENT_KIND_NODE_LOST]


@pytest.fixture
def lost(coordinator, nodes, wait):
    """Return a forget that converged without node-2, and both nodes."""
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", CEM)
    wait(nodes[0])
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "lost"}
    return campaign, nodes


def test_forget_converges_except_for_the_lost_node_and_says_which(coordinator, lost):
    campaign, nodes = lost
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    with coordinator.transaction() as unit:
        view = unit.views.forget(unit.tx.forgets.get(campaign.campaign_id))
    assert list(view.excepted_node_ids) == ["node-2"]
    assert not view.may_serve
    (event,) = losses(coordinator, nodes[1])
    assert event.generation >= campaign.generation


def test_node_that_is_away_for_no_longer_than_the_fleet_waits_is_waited_for(coordinator, nodes, clock):
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", CEM)
    clock.now_ms += round(1000 * coordinator.coordinator.env.settings.lost_after_s)
    coordinator.converse(nodes[0])
    assert states(coordinator, campaign.campaign_id)["node-2"] == "pending"
    assert losses(coordinator, nodes[1]) == []


def test_lost_node_gives_the_reconciler_nothing_more_to_do(coordinator, lost, clock):
    _, nodes = lost
    clock.now_ms += 10_000_000
    assert not coordinator.step()
    assert len(losses(coordinator, nodes[1])) == 1


def test_later_forget_does_not_wait_for_a_node_that_is_lost_already(coordinator, lost):
    _, nodes = lost
    later, _ = coordinator.forget("r2", BOB)
    coordinator.converse(nodes[0])
    assert states(coordinator, later.campaign_id) == {"node-1": "verified", "node-2": "lost"}
    assert campaign_state(coordinator, later.campaign_id) == "converged"
    assert losses(coordinator, nodes[1])[-1].generation == later.generation


def test_connected_node_that_says_nothing_is_not_lost(coordinator, nodes, clock):
    campaign, _ = coordinator.forget("r1", CEM)
    clock.now_ms += 10 * round(1000 * coordinator.coordinator.env.settings.lost_after_s)
    coordinator.step()
    assert states(coordinator, campaign.campaign_id)["node-2"] == "pending"


def test_held_node_that_is_lost_waits_for_an_operator(coordinator, nodes, wait):
    nodes[0].amend = lambda receipt: receipt.ClearField("active_adapters")
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    coordinator.disconnect("node-1")
    wait(nodes[1])
    assert states(coordinator, campaign.campaign_id)["node-1"] == "held"


def test_coordinator_that_was_away_itself_gives_its_nodes_time_to_come_back(open_coordinator, nodes, clock):
    campaign, _ = open_coordinator().forget("r1", CEM)
    clock.now_ms += 10 * round(1000 * open_coordinator().coordinator.env.settings.lost_after_s)
    restarted = open_coordinator()
    clock.now_ms += GRACE_MS - 1
    restarted.step()
    assert set(states(restarted, campaign.campaign_id).values()) == {"pending"}
    restarted.converse(nodes[0])
    clock.now_ms += 1
    restarted.converse(nodes[0])
    assert states(restarted, campaign.campaign_id) == {"node-1": "verified", "node-2": "lost"}


def test_lost_node_that_comes_back_reopens_the_forget_takes_the_log_first_and_erases(coordinator, lost):
    campaign, nodes = lost
    said = coordinator.connect(nodes[1])
    assert execution(coordinator, campaign.campaign_id, nodes[1]).state == "pending"
    assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
    for message in said:
        for reply in coordinator.take("node-2", message).replies:
            nodes[1].receive(reply)
    # It has a lease by now, of a generation that it has not taken.
    assert nodes[1].lease is not None
    assert not nodes[1].serving
    coordinator.converse(*nodes)
    assert set(states(coordinator, campaign.campaign_id).values()) == {"verified"}
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert nodes[1].serving
    assert CEM not in nodes[1].active()


def test_lost_node_that_had_suppressed_goes_on_from_there(coordinator, nodes, wait):
    campaign, _ = coordinator.forget("r1", CEM)
    for message in coordinator.outbox("node-2"):
        for answer in nodes[1].receive(message):
            coordinator.take("node-2", answer)
    coordinator.disconnect("node-2")
    wait(nodes[0])
    assert states(coordinator, campaign.campaign_id)["node-2"] == "lost"
    coordinator.connect(nodes[1])
    assert states(coordinator, campaign.campaign_id)["node-2"] == "suppressed"


def test_lost_node_that_comes_back_from_a_backup_gets_another_challenge(coordinator, nodes, wait):
    backup = nodes[1].backup()
    campaign, _ = coordinator.forget("r1", CEM)
    coordinator.converse(*nodes)
    late, _ = coordinator.forget("r2", BOB)
    coordinator.disconnect("node-2")
    wait(nodes[0])
    nodes[1].restore(backup)
    coordinator.connect(nodes[1])
    for each in (campaign, late):
        row = execution(coordinator, each.campaign_id, nodes[1])
        assert (row.state, row.challenge_nonce) == ("pending", None)
    coordinator.converse(*nodes)
    for each in (campaign, late):
        assert campaign_state(coordinator, each.campaign_id) == "converged"


def test_second_absence_is_waited_for_one_lease_long_however_often_the_node_shows_up(coordinator, lost, clock):
    campaign, nodes = lost
    coordinator.connect(nodes[1])
    coordinator.disconnect("node-2")
    began_ms = clock.now_ms
    while clock.now_ms <= began_ms + lease_ms(coordinator):
        assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
        # A twin asks for a lease and goes again: contact renews nothing.
        coordinator.connect(nodes[1])
        coordinator.disconnect("node-2")
        clock.now_ms += lease_ms(coordinator) // 4 + 1
        coordinator.step()
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"


def test_node_that_comes_and_goes_cannot_keep_a_forget_from_converging_for_ever(coordinator, lost, clock):
    campaign, nodes = lost
    for _ in range(MAX_RETURNS):
        coordinator.connect(nodes[1])
        assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
        coordinator.disconnect("node-2")
        clock.now_ms += lease_ms(coordinator) + 1
        coordinator.step()
        assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id)["node-2"] == "lost"
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    # It has the log all the same, and serves nobody who was forgotten.
    assert row_of(coordinator, nodes[1]).generation == campaign.generation
    assert CEM not in nodes[1].active()
    assert len(losses(coordinator, nodes[1])) == MAX_RETURNS + 1


def test_operator_lets_a_node_in_that_came_and_went_too_often(coordinator, lost, clock):
    campaign, nodes = lost
    for _ in range(MAX_RETURNS):
        coordinator.connect(nodes[1])
        coordinator.disconnect("node-2")
        clock.now_ms += lease_ms(coordinator) + 1
        coordinator.step()

    def retry():
        with coordinator.transaction() as unit:
            unit.decisions.retry("node-2", campaign.campaign_id, "it is back")

    with pytest.raises(ConflictError, match="is lost on node-2"):
        retry()
    coordinator.converse(*nodes)
    retry()
    assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
    coordinator.converse(*nodes)
    assert set(states(coordinator, campaign.campaign_id).values()) == {"verified"}


@pytest.mark.parametrize("lost_after_s", [30.0, 1.0, float("inf"), float("nan")])
def test_forgets_must_wait_longer_than_a_lease_and_not_for_ever(tmp_path, lost_after_s):
    with pytest.raises(ConfigError, match="longer than its lease") as refused:
        ServeSettings(state=tmp_path, lease_s=30.0, lost_after_s=lost_after_s)
    assert "--lost-after-seconds" in refused.value.hint
