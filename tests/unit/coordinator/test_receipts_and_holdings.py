"""Receipts against what a node was known to hold, and the verdicts on it."""

from __future__ import annotations

from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from tests.device import Device
from tests.unit.coordinator.orders import EVE, order, verdicts
from tests.unit.coordinator.small_fleet import (
    ANN,
    BOB,
    campaign_state,
    captured,
    deliver,
    execution,
    kinds,
    row_of,
    states,
    teach,
)


def test_person_enrolled_just_now_may_be_active_beside_the_revision(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    nodes[0].capture("e" * 32, captured(5))
    messages = coordinator.outbox("node-1")
    answers = [answer for message in messages for answer in nodes[0].receive(message)]
    assert kinds(answers) == ["contribution", "receipt"]
    for answer in answers:
        coordinator.take("node-1", answer)
    assert execution(coordinator, campaign.campaign_id, nodes[0]).state == "verified"


def test_person_enrolled_before_a_lost_receipt_comes_again_is_not_held_against_the_node(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    nodes[0].capture(EVE, captured(5))
    for message in coordinator.outbox("node-1"):
        nodes[0].receive(message)
    # Neither the contribution nor the receipt has arrived when the stream breaks.
    coordinator.disconnect("node-1")
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert states(coordinator, campaign.campaign_id)["node-1"] == "verified"
    assert EVE in nodes[1].active()


def refused_beside_its_receipt(coordinator, nodes):
    """Let node-1 sign a receipt that names somebody whose contribution is refused at the same moment.

    Returns the campaign, and what node-1 has not heard yet.
    """
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    nodes[0].forge("contribution", lambda contribution: contribution.ClearField("ticket"))
    nodes[0].capture(EVE, captured(5))
    return campaign.campaign_id, deliver(coordinator, nodes[0], coordinator.outbox("node-1"))


def test_receipt_that_crossed_the_refusal_of_a_contribution_is_asked_for_again(coordinator, nodes):
    campaign_id, replies = refused_beside_its_receipt(coordinator, nodes)
    assert states(coordinator, campaign_id)["node-1"] == "suppressed"
    assert EVE in nodes[0].active()
    for reply in replies:
        nodes[0].receive(reply)
    assert EVE not in nodes[0].active()
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign_id) == "converged"


def test_node_that_names_an_unknown_person_again_is_held(coordinator, nodes):
    campaign_id, _ = refused_beside_its_receipt(coordinator, nodes)
    coordinator.converse(*nodes)
    assert states(coordinator, campaign_id) == {"node-1": "held", "node-2": "verified"}
    assert "unknown subject adapters" in row_of(coordinator, nodes[0]).held_reason


def test_node_that_held_nothing_of_the_person_is_not_affected(coordinator, nodes):
    newcomer = Device("node-3")
    coordinator.enroll(newcomer)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes, newcomer)
    found = states(coordinator, campaign.campaign_id)
    assert found == {"node-1": "verified", "node-2": "verified", "node-3": "not_affected"}
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"


def test_node_that_had_contributed_the_person_and_denies_it_is_held(coordinator, nodes):
    def deny(receipt):
        receipt.outcome = types.RECEIPT_OUTCOME_NOT_AFFECTED
        receipt.subject_adapters_erased = receipt.code_samples_erased = receipt.keys_destroyed = 0

    nodes[0].amend = deny
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    row = execution(coordinator, campaign.campaign_id, nodes[0])
    assert row.state == "held"
    assert "captured samples erased: expected 3 to" in row.detail


def test_key_that_a_later_forget_of_the_same_person_has_destroyed_is_not_missed(coordinator, nodes):
    first, _ = coordinator.forget("r1", ANN)
    coordinator.forget("r2", ANN, BOB)

    def later(node):
        return [m for m in coordinator.outbox(node.node_id) if m.erase.campaign_id != first.campaign_id]

    # The earlier order is lost on its way, the later one is not.
    for _ in range(4):
        for node in nodes:
            deliver(coordinator, node, later(node))
        coordinator.step()
    for node in nodes:
        coordinator.disconnect(node.node_id)
    coordinator.converse(*nodes)
    assert states(coordinator, first.campaign_id) == {"node-1": "verified", "node-2": "verified"}


def test_node_that_had_just_installed_a_revision_without_the_persons_row_is_not_held(open_coordinator, nodes):
    coordinator = open_coordinator(learning=True)
    coordinator.converse(*nodes)
    teach(coordinator, nodes)
    with coordinator.transaction() as unit:
        unit.revisions.build(None)
    (offer,) = coordinator.outbox("node-1")
    # Its answer is on the way when the forget is committed.
    (answer,) = nodes[0].receive(offer)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.take("node-1", answer)
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}


def test_node_that_went_back_to_an_older_revision_is_not_held_against_what_it_had(coordinator, nodes):
    before = nodes[1].backup()
    nodes[1].capture(EVE, captured(9))
    coordinator.converse(*nodes)
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", EVE)
    nodes[1].restore(before)
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"


def test_forget_of_somebody_whom_nobody_held_says_so(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", EVE, allow_unknown=True)
    coordinator.converse(*nodes)
    assert verdicts(coordinator, campaign.campaign_id) == {"subject-adapter": wire.VERDICT_CLASS_NOTHING_HELD}


def test_forget_of_somebody_who_was_captured_and_not_contributed_yet_is_exact(coordinator, nodes):
    coordinator.disconnect("node-1")
    nodes[0].capture(EVE, captured(9))
    campaign, _ = coordinator.forget("r1", EVE, allow_unknown=True)
    coordinator.converse(*nodes)
    assert verdicts(coordinator, campaign.campaign_id)["subject-adapter"] == wire.VERDICT_CLASS_EXACT
