"""Committing a forget, and how campaigns move on."""

from __future__ import annotations

import pytest
from reram_fleet.crypto.signing import sign
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.domain.campaign import CampaignState
from fleet.domain.execution import ExecutionState
from fleet.errors import ConflictError, InvalidInputError, NotFoundError
from tests.device import Device
from tests.unit.coordinator.small_fleet import (
    ANN,
    BOB,
    CEM,
    campaign_state,
    captured,
    deliver,
    execution,
    newest,
    row_of,
    serve,
    states,
)
from tests.unit.store.kinds import kept_in_either

pytestmark = kept_in_either


def generation(coordinator):
    with coordinator.transaction() as unit:
        return unit.tx.fleet.get().generation


def test_same_request_again_changes_nothing(coordinator, nodes):
    first, created = coordinator.forget("r1", ANN, BOB)
    assert created
    again, created = coordinator.forget("r1", BOB, ANN)
    assert not created
    assert again.campaign_id == first.campaign_id
    assert generation(coordinator) == 1


def test_same_request_id_with_another_body_is_a_conflict(coordinator, nodes):
    coordinator.forget("r1", ANN)
    with pytest.raises(ConflictError, match="different forget"):
        coordinator.forget("r1", BOB)
    assert generation(coordinator) == 1


def test_tag_that_was_forgotten_already_is_answered_with_its_campaign(coordinator, nodes):
    first, _ = coordinator.forget("r1", ANN)
    again, created = coordinator.forget("r2", ANN)
    assert (again.campaign_id, created) == (first.campaign_id, False)
    assert generation(coordinator) == 1


def test_forget_of_somebody_new_beside_somebody_forgotten_is_a_new_entry(coordinator, nodes):
    coordinator.forget("r1", ANN)
    campaign, created = coordinator.forget("r2", ANN, BOB)
    assert created
    assert {ANN, BOB} < set(campaign.tags)
    assert generation(coordinator) == 2


@pytest.mark.parametrize(("request_id", "tags"), [("", (ANN,)), ("r1", ()), ("r1", ("Ann",)), ("r1", (ANN.upper(),))])
def test_malformed_forget_is_refused_before_anything_changes(coordinator, nodes, request_id, tags):
    with pytest.raises(InvalidInputError):
        coordinator.forget(request_id, *tags)
    assert generation(coordinator) == 0


def test_unknown_tag_is_refused_unless_the_caller_insists(coordinator, nodes):
    with pytest.raises(NotFoundError, match="no node has ever reported 1 of the 2") as refused:
        coordinator.forget("r1", ANN, "f" * 32)
    assert "--allow-unknown" in refused.value.hint
    assert generation(coordinator) == 0
    campaign, _ = coordinator.forget("r1", ANN, "f" * 32, allow_unknown=True)
    assert "f" * 32 in campaign.tags


def test_every_forget_spends_one_canary_and_signs_it_into_the_log(coordinator, nodes):
    with coordinator.transaction() as unit:
        before = unit.tx.subjects.live_canaries()
    campaign, _ = coordinator.forget("r1", ANN)
    with coordinator.transaction() as unit:
        command = types.ForgetCommand.FromString(types.Envelope.FromString(unit.tx.log.get(1).envelope).payload)
        spent = set(before) - set(unit.tx.subjects.live_canaries())
    assert set(command.subject_tags) == {ANN, *spent} == set(campaign.tags)
    assert len(spent) == 1


def test_campaign_waits_in_suppressing_for_a_connected_node_and_not_for_one_that_is_away(coordinator, nodes):
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.step()
    assert campaign_state(coordinator, campaign.campaign_id) == "suppressing"
    serve(coordinator, nodes[0])
    coordinator.step()
    assert campaign_state(coordinator, campaign.campaign_id) == "erasing"


def test_forget_on_connected_nodes_ends_verified_and_rests_on_receipts(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    for node in nodes:
        row = execution(coordinator, campaign.campaign_id, node)
        assert row.state == "verified"
        assert types.Envelope.FromString(row.receipt) == node.receipts[-1]
        assert row.checks
        assert all(line.holds for line in row.checks)
        assert ANN not in node.active()


def test_node_that_was_away_takes_the_same_path_later_and_the_campaign_waits_for_it(coordinator, nodes):
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", CEM)
    coordinator.converse(nodes[0])
    assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "pending"}
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert CEM not in nodes[1].active()


def test_everything_resumes_in_a_restarted_coordinator(open_coordinator, nodes):
    campaign, _ = open_coordinator().forget("r1", ANN)
    open_coordinator().step()
    coordinator = open_coordinator()
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert generation(coordinator) == 1


@pytest.mark.parametrize("unheard", ["forget_log", "revision", "erase", "receipt_ack"])
def test_restart_in_the_middle_of_a_forget_costs_time_only(open_coordinator, nodes, unheard):
    """The coordinator ends once it has sent node-1 something that it did not act upon."""
    coordinator = open_coordinator()
    coordinator.converse(*nodes)
    campaign, _ = coordinator.forget("r1", ANN)
    # Acknowledgements are replies, which `deliver` hands to nobody: without `unheard` all the rest is said.
    for _ in range(3):
        for node in nodes:
            heard = [m for m in coordinator.outbox(node.node_id) if m.WhichOneof("message") != unheard]
            deliver(coordinator, node, heard)
        coordinator.step()
    assert len(nodes[0].receipts) == (unheard == "receipt_ack")
    coordinator = open_coordinator()
    again, created = coordinator.forget("r1", ANN)
    assert (again.campaign_id, created) == (campaign.campaign_id, False)
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}
    assert [row.counter for row in nodes[0].journal.receipts()] == [1]
    assert ANN not in nodes[0].enrolled
    assert generation(coordinator) == 1


def test_quiet_fleet_gives_the_reconciler_nothing_to_do(coordinator, nodes):
    assert not coordinator.step()
    coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    assert not coordinator.step()


def test_campaign_that_waits_for_an_absent_node_gives_the_reconciler_nothing_to_do(coordinator, nodes):
    coordinator.disconnect("node-2")
    coordinator.forget("r1", ANN)
    coordinator.converse(nodes[0])
    assert not coordinator.step()


def test_fleet_without_nodes_has_forgotten_at_once(coordinator):
    campaign, _ = coordinator.forget("r1", ANN, allow_unknown=True)
    coordinator.step()
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"


def test_second_forget_withdraws_orders_that_expect_the_canary_it_spends(coordinator, nodes):
    """The order of the first is out when the second names the canary that the first one's probe expects."""
    node, other = nodes
    coordinator.disconnect(other.node_id)
    first, _ = coordinator.forget("r1", ANN)
    serve(coordinator, node)
    coordinator.step()
    serve(coordinator, node)
    coordinator.step()
    assert execution(coordinator, first.campaign_id, node).state == "applying"
    second, _ = coordinator.forget("r2", BOB)
    assert execution(coordinator, first.campaign_id, node).state == "suppressed"
    coordinator.converse(node, other)
    for campaign in (first, second):
        assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}
    assert row_of(coordinator, node).held_reason == ""


def test_held_node_is_not_made_the_canary_node_for_which_all_others_wait(coordinator, nodes):
    with coordinator.transaction() as unit:
        unit.tx.nodes.hold("node-1", "an operator wants to look at it")
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "suppressed", "node-2": "verified"}
    assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
    with coordinator.transaction() as unit:
        unit.tx.nodes.release("node-1")
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"


def test_held_node_under_orders_does_not_keep_new_people_out_of_the_next_revision(coordinator, nodes):
    _, other = nodes
    coordinator.forget("r1", ANN)
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()
    with coordinator.transaction() as unit:
        unit.tx.nodes.hold("node-1", "an operator wants to look at it")
    other.capture("e" * 32, captured(9))
    coordinator.converse(other)
    assert "e" * 32 in {subject.subject_tag for subject in newest(coordinator).subjects}


def test_nobody_is_added_to_the_revision_over_which_a_node_is_about_to_sign(coordinator, nodes):
    coordinator.disconnect("node-2")
    coordinator.forget("r1", ANN)
    for _ in range(2):
        serve(coordinator, nodes[0])
        coordinator.step()
    revision = row_of(coordinator, nodes[0]).revision
    nodes[0].capture("e" * 32, captured(9))
    for message in nodes[0].heartbeat():
        coordinator.take("node-1", message)
    coordinator.step()
    with coordinator.transaction() as unit:
        assert unit.tx.revisions.latest().revision == revision


def test_newcomer_takes_part_in_forgets_that_are_open(coordinator, nodes):
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(nodes[0])
    late = Device("node-3")
    coordinator.enroll(late)
    assert states(coordinator, campaign.campaign_id)["node-3"] == "pending"
    coordinator.converse(*nodes, late)
    assert set(states(coordinator, campaign.campaign_id).values()) == {"verified", "not_affected"}


def test_newcomer_reopens_what_converged_between_forgets_that_are_open(coordinator, nodes):
    """Else its execution would stay open in a campaign that nobody looks after any more."""
    node, other = nodes
    first, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    second, _ = coordinator.forget("r2", BOB)
    coordinator.converse(*nodes)
    # The first one is open again, the second is not.
    with coordinator.transaction() as unit:
        unit.tx.forgets.set_execution(
            first.campaign_id, other.node_id, ExecutionState.PENDING, "restored from a backup"
        )
        unit.tx.forgets.set_state(first.campaign_id, CampaignState.ERASING)
    late = Device("node-3")
    coordinator.enroll(late)
    assert campaign_state(coordinator, second.campaign_id) == "erasing"
    coordinator.converse(node, late)
    assert campaign_state(coordinator, second.campaign_id) == "converged"
    assert states(coordinator, second.campaign_id)["node-3"] == "not_affected"


def test_newcomer_after_all_forgets_has_the_whole_log_and_no_execution(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    late = Device("node-3")
    coordinator.enroll(late)
    coordinator.converse(*nodes, late)
    assert "node-3" not in states(coordinator, campaign.campaign_id)
    assert late.generation == 1
    assert late.serving


def test_node_that_goes_back_before_each_answer_is_not_the_canary_for_ever(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    for turn in range(1, 6):
        for _ in range(4):
            coordinator.step()
            # Of node-1, no answer to an order comes.
            taken = [m for m in coordinator.outbox("node-1") if m.WhichOneof("message") != "erase"]
            deliver(coordinator, nodes[0], taken)
            serve(coordinator, nodes[1])
        coordinator.disconnect("node-1")
        challenge = wire.Challenge(nonce=b"nonce")
        hello, *_ = nodes[0].receive(wire.ConnectResponse(challenge=challenge))
        said = wire.Hello.FromString(hello.hello.payload)
        said.last_receipt_hash = bytes([turn]) * 32
        coordinator.welcome(wire.ConnectRequest(hello=sign(nodes[0].signing_key, said)), b"nonce")
    assert states(coordinator, campaign.campaign_id)["node-2"] == "verified"


def test_revision_that_a_forget_waits_for_is_not_replaced_before_nodes_had_time_to_install_it(
    coordinator, nodes, clock
):
    """Else a node that contributes without end would keep all nodes behind, and every forget open."""
    coordinator.forget("r1", ANN)
    serve(coordinator, *nodes)
    coordinator.step()

    def revision_after_contribution(number):
        tag = f"{number:032x}"
        nodes[1].capture(tag, captured(number))
        coordinator.take("node-2", nodes[1].contribution())
        coordinator.step()
        with coordinator.transaction() as unit:
            return unit.tx.revisions.latest().revision

    assert revision_after_contribution(1) == revision_after_contribution(2)
    clock.now_ms += 61_000
    assert revision_after_contribution(3) == revision_after_contribution(4)
    coordinator.converse(*nodes)
    assert {f"{number:032x}" for number in range(1, 5)} < {s.subject_tag for s in newest(coordinator).subjects}
