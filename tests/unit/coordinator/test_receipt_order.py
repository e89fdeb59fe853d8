"""Receipts that come again, late, unasked, or of an order that was replaced."""

from __future__ import annotations

import pytest
from reram_fleet.crypto import digests, signing
from reram_fleet.crypto.digests import STATEMENT
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest

from fleet.coordinator.nodes.report_checks import ReportError
from fleet.trust.leaves import LeafKind, leaf_data
from fleet.trust.merkle import leaf_hash
from tests.unit.coordinator.orders import ack_of, changed, order, receipt_of, tree_size
from tests.unit.coordinator.small_fleet import (
    ANN,
    BOB,
    execution,
    row_of,
    serve,
    states,
)


def test_repeated_receipt_is_acknowledged_again_and_changes_nothing(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    receipt = receipt_of(coordinator, nodes[0])
    first = coordinator.take("node-1", receipt)
    assert ack_of(first).accepted
    before = (execution(coordinator, campaign.campaign_id, nodes[0]), row_of(coordinator, nodes[0]))
    again = coordinator.take("node-1", receipt)
    assert again.replies == first.replies
    assert not again.changed
    assert before == (execution(coordinator, campaign.campaign_id, nodes[0]), row_of(coordinator, nodes[0]))


def test_receipt_that_nobody_asked_for_verifies_nothing(coordinator, nodes):
    """Without an order there was no challenge, and no probe of what the engine does."""
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", ANN)
    serve(coordinator, nodes[0])
    coordinator.step()
    serve(coordinator, nodes[0])
    active = digests.subject_digests(nodes[0].active().values())
    unasked = types.Receipt(
        fleet_id=coordinator.coordinator.env.fleet_id,
        node_id="node-1",
        campaign_id=campaign.campaign_id,
        generation=1,
        command_hash=nodes[0].journal.forget_hash(1),
        outcome=types.RECEIPT_OUTCOME_ERASED,
        counter=1,
        previous_receipt_hash=digests.ZERO_HASH,
        adapters_digest_after=digests.adapters_digest(active, b""),
        active_adapters=active,
        revision_digest=nodes[0].journal.active_revision().digest,
        statement=STATEMENT,
    )
    envelope = signing.sign(nodes[0].signing_key, unasked)
    before = tree_size(coordinator)
    effect = coordinator.take("node-1", ConnectRequest(receipt=envelope))
    assert not ack_of(effect).accepted
    assert not effect.changed
    assert tree_size(coordinator) == before
    assert execution(coordinator, campaign.campaign_id, nodes[0]).state == "suppressed"


def test_receipt_overtaken_by_a_newer_revision_is_asked_for_again(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    late = receipt_of(coordinator, nodes[0])
    coordinator.forget("r2", BOB)
    effect = coordinator.take("node-1", late)
    assert not ack_of(effect).accepted
    row = execution(coordinator, campaign.campaign_id, nodes[0])
    assert row.state == "suppressed"
    assert row_of(coordinator, nodes[0]).held_reason == ""
    for reply in effect.replies:
        nodes[0].receive(reply)
    coordinator.converse(*nodes)
    assert execution(coordinator, campaign.campaign_id, nodes[0]).state == "verified"
    assert [row.state for row in nodes[0].journal.receipts()] == ["refused", "accepted", "accepted"]


def test_lost_acknowledgement_of_an_overtaken_receipt_costs_nothing_but_time(coordinator, nodes):
    """It comes again with every stream, also once the receipt that replaced it was accepted."""
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    unheard = receipt_of(coordinator, nodes[0])
    (late,) = nodes[0].receipts
    coordinator.forget("r2", BOB)
    coordinator.take("node-1", unheard)
    coordinator.converse(*nodes)
    repeats = [answer for answer in coordinator.connect(nodes[0]) if answer.WhichOneof("message") == "receipt"]
    assert [repeat.receipt for repeat in repeats] == [late]
    assert not ack_of(coordinator.take("node-1", repeats[0])).accepted
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}


def test_overtaken_receipt_that_comes_again_does_not_withdraw_the_order_that_replaced_it(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    late = receipt_of(coordinator, nodes[0])
    coordinator.forget("r2", BOB)
    coordinator.take("node-1", late)
    order(coordinator, *nodes)
    assert execution(coordinator, campaign.campaign_id, nodes[0]).state == "applying"
    nonce = execution(coordinator, campaign.campaign_id, nodes[0]).challenge_nonce
    assert not ack_of(coordinator.take("node-1", late)).accepted
    row = execution(coordinator, campaign.campaign_id, nodes[0])
    assert (row.state, row.challenge_nonce) == ("applying", nonce)


def test_receipt_of_a_withdrawn_order_counts_in_the_chain_of_the_next(coordinator, nodes):
    """It was signed before the order was replaced, and arrives after: the next one names it."""
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    in_flight = receipt_of(coordinator, nodes[0])
    coordinator.forget("r2", BOB)
    order(coordinator, *nodes)
    # The new order is out when the answer to the old one arrives.
    assert execution(coordinator, campaign.campaign_id, nodes[0]).state == "applying"
    assert not ack_of(coordinator.take("node-1", in_flight)).accepted
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}


def test_two_answers_to_one_challenge_close_the_stream(coordinator, nodes):
    coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    first = receipt_of(coordinator, nodes[0])
    coordinator.take("node-1", first)
    second = types.Receipt.FromString(first.receipt.payload)
    second.counter += 1
    envelope = signing.sign(nodes[0].signing_key, second)
    with pytest.raises(ReportError, match="another receipt"):
        coordinator.take("node-1", ConnectRequest(receipt=envelope))


def test_answered_order_takes_no_other_receipt_not_even_after_it_was_withdrawn(coordinator, nodes):
    """Else every change of a receipt were another leaf."""
    coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    late = receipt_of(coordinator, nodes[0])
    coordinator.forget("r2", BOB)
    coordinator.take("node-1", late)
    before = tree_size(coordinator)
    for number in range(1, 4):
        with pytest.raises(ReportError, match="another receipt"):
            coordinator.take("node-1", changed(nodes[0], late.receipt, finished_at_unix_ms=number))
    order(coordinator, *nodes)
    for number in range(1, 4):
        effect = coordinator.take("node-1", changed(nodes[0], late.receipt, finished_at_unix_ms=number))
        assert not ack_of(effect).accepted
    assert tree_size(coordinator) == before


def test_node_goes_on_from_a_receipt_whose_order_is_not_remembered(coordinator, nodes):
    """It was withdrawn too often ago to be known; the node has signed in good faith."""
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    forgotten = receipt_of(coordinator, nodes[0])
    nonce = nodes[0].journal.receipts()[0].challenge_nonce
    coordinator.forget("r2", BOB)
    order(coordinator, *nodes)
    with coordinator.transaction() as unit:
        unit.tx.forgets.close_challenge(campaign.campaign_id, "node-1", nonce)
    before = tree_size(coordinator)
    ack = ack_of(coordinator.take("node-1", forgotten))
    assert (ack.accepted, ack.reason) == (False, "it answers no order that is open")
    assert tree_size(coordinator) == before
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}


def test_every_receipt_is_a_leaf_of_the_log_once(coordinator, nodes):
    coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    late = receipt_of(coordinator, nodes[0])
    coordinator.forget("r2", BOB)
    coordinator.take("node-1", late)
    coordinator.converse(*nodes)
    receipts = [envelope for node in nodes for envelope in node.receipts]
    assert len(receipts) == 5
    with coordinator.transaction() as unit:
        enrolments, commands = 2, 2
        assert unit.tx.tree.size() == enrolments + commands + len(receipts)
        for envelope in receipts:
            assert unit.tx.tree.find(leaf_hash(leaf_data(LeafKind.RECEIPT, envelope))) is not None
