"""Nodes that were restored from a backup, and what they are asked for again."""

from __future__ import annotations

import os

import pytest
from reram_fleet.crypto import signing
from reram_fleet.v1 import node_pb2 as wire

from fleet.coordinator.nodes.report_checks import ReportError
from tests.unit.coordinator.small_fleet import (
    ANN,
    BOB,
    CEM,
    captured,
    kinds,
    row_of,
    serve,
    states,
)


def forget_all(coordinator, nodes, *tags):
    campaigns = []
    for tag in tags:
        campaigns.append(coordinator.forget(f"forget {tag}", tag)[0].campaign_id)
        coordinator.converse(*nodes)
    return campaigns


def test_node_restored_to_before_a_forget_goes_through_it_again(coordinator, nodes):
    node, _ = nodes
    backup = node.backup()
    first, second = forget_all(coordinator, nodes, ANN, BOB)
    node.restore(backup)
    assert {ANN, BOB} < set(node.active())
    coordinator.connect(node)
    for campaign_id in (first, second):
        assert states(coordinator, campaign_id) == {"node-1": "pending", "node-2": "verified"}
    coordinator.converse(*nodes)
    for campaign_id in (first, second):
        assert states(coordinator, campaign_id) == {"node-1": "verified", "node-2": "verified"}
    assert not {ANN, BOB} & set(node.active())
    assert row_of(coordinator, node).held_reason == ""


def test_node_restored_to_between_two_forgets_is_asked_for_both_again(coordinator, nodes):
    node, _ = nodes
    (first,) = forget_all(coordinator, nodes, ANN)
    backup = node.backup()
    (second,) = forget_all(coordinator, nodes, BOB)
    node.restore(backup)
    coordinator.connect(node)
    assert states(coordinator, first)["node-1"] == "suppressed"
    assert states(coordinator, second)["node-1"] == "pending"
    coordinator.converse(*nodes)
    assert states(coordinator, first)["node-1"] == "verified"
    assert states(coordinator, second)["node-1"] == "verified"
    assert [row.counter for row in node.journal.receipts()] == [1, 2, 3]
    assert row_of(coordinator, node).receipt_counter == 3


def test_node_restored_to_a_state_that_it_had_gone_back_from_is_not_believed_by_number(coordinator, nodes):
    """It comes with as many receipts as the coordinator has of it, but with others."""
    node, _ = nodes
    early = node.backup()
    forget_all(coordinator, nodes, ANN)
    other_history, other_receipts = node.backup(), node.receipts
    coordinator.disconnect("node-1")
    node.restore(early)
    node.capture(CEM, captured(2))
    (again,) = forget_all(coordinator, nodes, ANN)
    assert len(node.receipts) == len(other_receipts) == 1
    assert node.receipts != other_receipts
    node.restore(other_history)
    coordinator.connect(node)
    assert states(coordinator, again)["node-1"] == "suppressed"
    coordinator.converse(*nodes)
    assert states(coordinator, again)["node-1"] == "verified"
    assert row_of(coordinator, node).held_reason == ""


def test_receipts_that_nobody_heard_of_show_a_restore_when_they_do_not_follow(coordinator, nodes):
    """The hello alone cannot tell: such receipts might have been lost on their way."""
    node, _ = nodes
    early = node.backup()
    (first,) = forget_all(coordinator, nodes, ANN)
    coordinator.forget("r1", BOB)
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()
    for message in coordinator.outbox("node-1"):
        node.receive(message)
    unheard = node.backup()
    assert len(node.receipts) == 2
    coordinator.disconnect("node-1")
    node.restore(early)
    coordinator.connect(node)
    serve(coordinator, node)
    coordinator.step()
    # Of the two receipts that it signs now, one arrives.
    answers = [answer for message in coordinator.outbox("node-1") for answer in node.receive(message)]
    assert kinds(answers) == ["receipt", "receipt"]
    coordinator.take("node-1", answers[0])
    assert states(coordinator, first)["node-1"] == "verified"
    coordinator.disconnect("node-1")
    node.restore(unheard)
    for message in coordinator.connect(node):
        coordinator.take("node-1", message)
    assert states(coordinator, first)["node-1"] == "suppressed"
    coordinator.converse(*nodes)
    assert states(coordinator, first)["node-1"] == "verified"
    assert row_of(coordinator, node).held_reason == ""
    assert [row.counter for row in node.journal.receipts()] == [1, 2, 3, 4]


def test_receipts_that_were_lost_on_their_way_are_no_restore(coordinator, nodes):
    node, _ = nodes
    (first,) = forget_all(coordinator, nodes, ANN)
    campaign, _ = coordinator.forget("r1", BOB)
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()
    # The node answers its order, and nobody hears of it.
    assert [kinds(node.receive(message)) for message in coordinator.outbox("node-1")] == [["receipt"]]
    coordinator.disconnect("node-1")
    before = states(coordinator, first)
    coordinator.converse(*nodes)
    assert states(coordinator, first) == before == {"node-1": "verified", "node-2": "verified"}
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}
    assert len(node.receipts) == 2


def test_node_restored_to_between_log_and_receipt_erases_again(coordinator, nodes):
    """Its generation is right, but what the order destroyed is back on its disk."""
    node, _ = nodes
    campaign, _ = coordinator.forget("r1", ANN)
    serve(coordinator, *nodes)
    backup = node.backup()
    coordinator.converse(*nodes)
    node.restore(backup)
    assert ANN in node.enrolled
    coordinator.connect(node)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "suppressed"
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "verified"
    assert ANN not in node.enrolled


def test_restored_node_must_go_on_from_the_receipt_that_its_hello_names(coordinator, nodes):
    node, other = nodes
    forget_all(coordinator, nodes, ANN)
    backup = node.backup()
    (campaign_id,) = forget_all(coordinator, nodes, BOB)
    node.restore(backup)
    foreign = signing.payload_hash(other.receipts[0])
    node.amend = lambda receipt: setattr(receipt, "previous_receipt_hash", foreign)
    coordinator.disconnect("node-1")
    coordinator.converse(*nodes)
    assert states(coordinator, campaign_id)["node-1"] != "verified"
    assert "previous receipt" in row_of(coordinator, node).held_reason


def test_held_node_is_not_released_by_a_backup(coordinator, nodes):
    node, _ = nodes
    backup = node.backup()
    campaign, _ = coordinator.forget("r1", ANN)
    node.amend = lambda receipt: setattr(receipt, "statement", "trust me")
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "held"
    node.restore(backup)
    coordinator.connect(node)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "held"
    assert kinds(coordinator.outbox("node-1")) == ["forget_log"]


def test_repeated_hello_changes_nothing_about_the_executions(coordinator, nodes):
    (campaign_id,) = forget_all(coordinator, nodes, ANN)
    before = states(coordinator, campaign_id)
    for node in nodes:
        coordinator.connect(node)
        nonce = os.urandom(32)
        coordinator.welcome(node.receive(wire.ConnectResponse(challenge=wire.Challenge(nonce=nonce)))[0], nonce)
    assert states(coordinator, campaign_id) == before == {"node-1": "verified", "node-2": "verified"}


def test_node_that_goes_back_all_the_time_is_let_in_later(coordinator, nodes, clock):
    """Each time costs a write for every forget that there ever was, on the thread that leases wait for."""
    campaign, _ = coordinator.forget("r1", ANN)
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()
    # Before its order comes.
    campaign_id, backup = campaign.campaign_id, nodes[0].backup()
    coordinator.converse(*nodes)

    def go_back():
        coordinator.disconnect("node-1")
        nodes[0].restore(backup)
        coordinator.converse(*nodes)

    for _ in range(30):
        go_back()
    with pytest.raises(ReportError, match="30 times within the last hour"):
        go_back()
    assert states(coordinator, campaign_id)["node-1"] == "verified"
    clock.now_ms += 3_600_001
    go_back()
    assert states(coordinator, campaign_id)["node-1"] == "verified"
