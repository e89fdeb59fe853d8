"""What becomes of receipts: honest, false, repeated, late, unasked."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto import digests, signing
from reram_fleet.crypto.signing import SignatureError
from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest

from fleet.coordinator import revisions
from fleet.coordinator.report_checks import ReportError
from fleet.coordinator.testing import SimulatedNode
from fleet.coordinator.views import verdicts_of
from fleet.trust.leaves import LeafKind, leaf_data
from fleet.trust.merkle import leaf_hash
from fleet.trust.receipts import STATEMENT
from tests.unit.coordinator.small_fleet import (
    ANN,
    BOB,
    campaign_state,
    code_sum,
    deliver,
    execution,
    kinds,
    row_of,
    serve,
    states,
    teach,
)

EVE = "e" * 32


def order(coordinator, *nodes):
    """Bring connected nodes to where node-1's erase order is due, without sending it."""
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()


def receipt_of(coordinator, node):
    """Send a node its erase order and return its receipt, which nobody else has seen yet."""
    answers = [answer for message in coordinator.outbox(node.node_id) for answer in node.receive(message)]
    (receipt,) = [answer for answer in answers if answer.WhichOneof("message") == "receipt"]
    return receipt


def ack_of(effect):
    (reply,) = effect.replies
    return reply.receipt_ack


def tree_size(coordinator):
    with coordinator.transaction() as tx:
        return tx.tree.size()


def changed(node, envelope, **changes):
    """Sign a receipt anew, with changes."""
    receipt = types.Receipt.FromString(envelope.payload)
    for name, value in changes.items():
        setattr(receipt, name, value)
    return ConnectRequest(receipt=signing.sign(node.signing_key, receipt))


def lie(receipt, how):
    first = receipt.active_adapters[0]
    if how == "still active":
        receipt.active_adapters.add(subject_tag=ANN, digest=first.digest)
    elif how == "one too few":
        del receipt.active_adapters[0]
    elif how == "another adapter":
        first.digest = bytes(32)
    elif how == "another revision":
        receipt.lora_digest = bytes(32)
    elif how == "probes":
        receipt.probe_results[0].subject_tag, receipt.probe_results[1].subject_tag = (
            receipt.probe_results[1].subject_tag,
            receipt.probe_results[0].subject_tag,
        )
    elif how == "no probes":
        del receipt.probe_results[:]
    elif how == "cells":
        receipt.reram_writes = 1
    elif how == "statement":
        receipt.statement = "trust me"
    elif how == "counter":
        receipt.counter += 1
    elif how == "joules":
        receipt.costs.add(phase=types.ENERGY_PHASE_ERASE, energy_j=1e300)
    elif how == "seconds":
        receipt.erase_seconds = float("nan")
    elif how == "chain":
        receipt.previous_receipt_hash = bytes([1]) * 32
    receipt.adapters_digest_after = digests.adapters_digest(receipt.active_adapters, receipt.lora_digest)


@pytest.mark.parametrize(
    "how",
    [
        "still active",
        "one too few",
        "another adapter",
        "another revision",
        "probes",
        "no probes",
        "cells",
        "statement",
        "counter",
        "joules",
        "seconds",
        "chain",
    ],
)
def test_node_whose_receipt_does_not_hold_is_held_and_the_others_go_on(coordinator, nodes, how):
    campaign, _ = coordinator.forget("r1", ANN)
    nodes[0].amend = lambda receipt: lie(receipt, how)
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "held", "node-2": "verified"}
    assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
    reason = execution(coordinator, campaign.campaign_id, nodes[0]).detail
    assert "expected" in reason
    assert reason in row_of(coordinator, nodes[0]).held_reason
    (beat, *_) = nodes[0].heartbeat()
    assert coordinator.take("node-1", beat).replies == ()


def test_receipt_signed_with_another_key_closes_the_stream(coordinator, nodes):
    coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    genuine = receipt_of(coordinator, nodes[0]).receipt
    receipt = types.Receipt.FromString(genuine.payload)
    forged = signing.sign(Ed25519PrivateKey.generate(), receipt)
    with pytest.raises(SignatureError):
        coordinator.take("node-1", ConnectRequest(receipt=forged))
    as_somebody_else = ConnectRequest(receipt=genuine)
    with pytest.raises(SignatureError):
        coordinator.take("node-2", as_somebody_else)


def test_receipt_of_a_campaign_that_never_was_closes_the_stream(coordinator, nodes):
    receipt = types.Receipt(campaign_id="0" * 26, generation=1, counter=1, statement=STATEMENT)
    envelope = signing.sign(nodes[0].signing_key, receipt)
    with pytest.raises(ReportError, match="no order of ours"):
        coordinator.take("node-1", ConnectRequest(receipt=envelope))


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
        fleet_id=coordinator.coordinator.fleet_id,
        node_id="node-1",
        campaign_id=campaign.campaign_id,
        generation=1,
        command_hash=signing.payload_hash(nodes[0].journal.commands[1]),
        outcome=types.RECEIPT_OUTCOME_ERASED,
        counter=1,
        previous_receipt_hash=digests.ZERO_HASH,
        adapters_digest_after=digests.adapters_digest(active, b""),
        active_adapters=active,
        revision_digest=nodes[0].journal.revision_digest,
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
    assert [row.accepted for row in nodes[0].journal.receipts] == [False, True, True]


def test_lost_acknowledgement_of_an_overtaken_receipt_costs_nothing_but_time(coordinator, nodes):
    """It comes again with every stream, also once the receipt that replaced it was accepted."""
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    unheard = receipt_of(coordinator, nodes[0])
    late = nodes[0].journal.receipts[0]
    coordinator.forget("r2", BOB)
    coordinator.take("node-1", unheard)
    late.accepted = None
    coordinator.converse(*nodes)
    repeats = [answer for answer in coordinator.connect(nodes[0]) if answer.WhichOneof("message") == "receipt"]
    assert [repeat.receipt for repeat in repeats] == [late.envelope]
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
    nonce = nodes[0].journal.receipts[0].challenge_nonce
    coordinator.forget("r2", BOB)
    order(coordinator, *nodes)
    with coordinator.transaction() as tx:
        tx.forgets.close_challenge(campaign.campaign_id, "node-1", nonce)
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
    receipts = [row.envelope for node in nodes for row in node.journal.receipts]
    assert len(receipts) == 5
    with coordinator.transaction() as tx:
        enrolments, commands = 2, 2
        assert tx.tree.size() == enrolments + commands + len(receipts)
        for envelope in receipts:
            assert tx.tree.find(leaf_hash(leaf_data(LeafKind.RECEIPT, envelope))) is not None


def test_person_enrolled_just_now_may_be_active_beside_the_revision(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    nodes[0].capture("e" * 32, code_sum(5))
    messages = coordinator.outbox("node-1")
    answers = [answer for message in messages for answer in nodes[0].receive(message)]
    assert kinds(answers) == ["contribution", "receipt"]
    for answer in answers:
        coordinator.take("node-1", answer)
    assert execution(coordinator, campaign.campaign_id, nodes[0]).state == "verified"


def refused_beside_its_receipt(coordinator, nodes):
    """Let node-1 sign a receipt that names somebody whose contribution is refused at the same moment."""
    campaign, _ = coordinator.forget("r1", ANN)
    order(coordinator, *nodes)
    nodes[0].ticket = lambda tag: types.Envelope()
    nodes[0].capture(EVE, code_sum(5))
    deliver(coordinator, nodes[0], coordinator.outbox("node-1"))
    return campaign.campaign_id


def test_receipt_that_crossed_the_refusal_of_a_contribution_is_asked_for_again(coordinator, nodes):
    campaign_id = refused_beside_its_receipt(coordinator, nodes)
    assert states(coordinator, campaign_id)["node-1"] == "suppressed"
    # As real nodes do when they hear of it.
    del nodes[0].journal.enrolled[EVE]
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign_id) == "converged"


def test_node_that_names_an_unknown_person_again_is_held(coordinator, nodes):
    campaign_id = refused_beside_its_receipt(coordinator, nodes)
    coordinator.converse(*nodes)
    assert states(coordinator, campaign_id) == {"node-1": "held", "node-2": "verified"}
    assert "unknown subject adapters" in row_of(coordinator, nodes[0]).held_reason


def test_node_that_held_nothing_of_the_person_is_not_affected(coordinator, nodes):
    newcomer = SimulatedNode("node-3")
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
    with coordinator.transaction() as tx:
        revisions.build(coordinator.coordinator, tx, None)
    (offer,) = coordinator.outbox("node-1")
    # Its answer is on the way when the forget is committed.
    (answer,) = nodes[0].receive(offer)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.take("node-1", answer)
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}


def test_node_that_went_back_to_an_older_revision_is_not_held_against_what_it_had(coordinator, nodes):
    before = nodes[1].backup()
    nodes[1].capture(EVE, code_sum(9))
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
    nodes[0].capture(EVE, code_sum(9))
    campaign, _ = coordinator.forget("r1", EVE, allow_unknown=True)
    coordinator.converse(*nodes)
    assert verdicts(coordinator, campaign.campaign_id)["subject-adapter"] == wire.VERDICT_CLASS_EXACT


def test_reason_why_a_node_is_held_is_short_whatever_its_receipt_says(coordinator, nodes):
    def flood(receipt):
        receipt.statement = "x" * 10_000
        for number in range(300):
            receipt.active_adapters.add(subject_tag=f"{number:032x}", digest=bytes(32))
            receipt.probe_results.add(subject_tag="y" * 50)

    nodes[0].amend = flood
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    row = execution(coordinator, campaign.campaign_id, nodes[0])
    assert row.state == "held"
    assert "and 292 more" in row.detail
    assert len(row.detail) < 3_000


def test_receipt_of_megabytes_is_put_aside(coordinator, nodes):
    nodes[0].amend = lambda receipt: setattr(receipt, "statement", "x" * 2**20)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    row = execution(coordinator, campaign.campaign_id, nodes[0])
    assert (row.state, row.receipt) == ("applying", None)
    with coordinator.transaction() as tx:
        assert "a receipt of 1049" in tx.nodes.quarantined("node-1")[0].reason


def verdicts(coordinator, campaign_id):
    with coordinator.transaction() as tx:
        return {v.adapter_kind: v.verdict for v in verdicts_of(tx, tx.forgets.get(campaign_id))}
