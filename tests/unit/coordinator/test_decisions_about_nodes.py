"""Release, retire and retry: what an operator decides about a node, and what follows for its forgets."""

from __future__ import annotations

import pytest
from reram_fleet.crypto.signing import open_envelope
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.nodes.report_checks import ReportError
from fleet.errors import ConflictError, InvalidInputError, NotFoundError
from fleet.trust.leaves import LeafKind, leaf_data
from fleet.trust.merkle import leaf_hash
from tests.device import Device
from tests.unit.coordinator.small_fleet import (
    ANN,
    CEM,
    PEOPLE,
    campaign_state,
    execution,
    job,
    newest,
    row_of,
    serve,
    states,
    teach,
)

ENROLLED, HELD, RELEASED, RETIRED, RETRIED = (
    types.AUDIT_EVENT_KIND_NODE_ENROLLED,
    types.AUDIT_EVENT_KIND_NODE_HELD,
    types.AUDIT_EVENT_KIND_NODE_RELEASED,
    types.AUDIT_EVENT_KIND_NODE_RETIRED,
    types.AUDIT_EVENT_KIND_NODE_RETRIED,
)


def release(coordinator, node, reason="looked at it"):
    with coordinator.transaction() as unit:
        return unit.decisions.release(node.node_id, reason)


def retire(coordinator, node, reason="lost in the field", *, discard=False):
    with coordinator.transaction() as unit:
        before = unit.decisions.open_campaigns()
        unit.decisions.retire(node.node_id, reason, discard=discard)
    with coordinator.transaction() as unit:
        return unit.decisions.move_on(before)


def retry(coordinator, node, campaign, reason="once more"):
    with coordinator.transaction() as unit:
        return unit.decisions.retry(node.node_id, campaign.campaign_id, reason)


def events(coordinator, node):
    """Return the kinds of the audit events about a node; each is signed, and a leaf of the log."""
    key = coordinator.coordinator.env.keys.command_public_key
    with coordinator.transaction() as unit:
        found = unit.decisions.about(node.node_id)
        for envelope, _ in found:
            assert open_envelope(envelope, types.AuditEvent, key).node_id == node.node_id
            unit.tx.tree.inclusion_proofs([leaf_hash(leaf_data(LeafKind.AUDIT_EVENT, envelope))])
    return [event.kind for _, event in found]


@pytest.fixture
def held(coordinator, nodes):
    """Return a forget that the canary node, node-1, is held for, and both nodes."""
    lies = {"amend": True}
    nodes[0].amend = lambda receipt: receipt.ClearField("active_adapters") if lies["amend"] else None
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "held", "node-2": "verified"}
    lies["amend"] = False
    return campaign, nodes


# Release


def test_released_node_is_ordered_anew_and_the_forget_converges(coordinator, held):
    campaign, nodes = held
    before = execution(coordinator, campaign.campaign_id, nodes[0]).challenge_nonce
    release(coordinator, nodes[0])
    assert execution(coordinator, campaign.campaign_id, nodes[0]).state == "suppressed"
    coordinator.converse(*nodes)
    assert set(states(coordinator, campaign.campaign_id).values()) == {"verified"}
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert execution(coordinator, campaign.campaign_id, nodes[0]).challenge_nonce != before
    assert nodes[0].serving
    assert events(coordinator, nodes[0]) == [ENROLLED, HELD, RELEASED]


def test_released_node_that_lies_again_is_held_again(coordinator, held):
    campaign, nodes = held
    nodes[0].amend = lambda receipt: receipt.ClearField("active_adapters")
    release(coordinator, nodes[0])
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "held"
    assert row_of(coordinator, nodes[0]).held_reason
    assert events(coordinator, nodes[0]) == [ENROLLED, HELD, RELEASED, HELD]


def test_node_that_was_restored_while_it_was_held_takes_the_log_before_its_order(coordinator, held):
    campaign, nodes = held
    with coordinator.transaction() as unit:
        unit.tx.nodes.touch("node-1", generation=0)
    release(coordinator, nodes[0])
    assert execution(coordinator, campaign.campaign_id, nodes[0]).state == "pending"


def test_hold_is_told_once_however_often_the_reconciler_looks(coordinator, held):
    _, nodes = held
    coordinator.step()
    assert not coordinator.step()
    assert events(coordinator, nodes[0]) == [ENROLLED, HELD]


def test_node_that_is_not_held_cannot_be_released(coordinator, nodes):
    with pytest.raises(ConflictError, match="node-1 is not held"):
        release(coordinator, nodes[0])
    assert events(coordinator, nodes[0]) == [ENROLLED]


# Retire


def test_forget_converges_without_a_held_node_that_is_retired(coordinator, held):
    campaign, nodes = held
    assert retire(coordinator, nodes[0]) == (campaign.campaign_id,)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "retired", "node-2": "verified"}
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    with coordinator.transaction() as unit:
        view = unit.views.forget(unit.tx.forgets.get(campaign.campaign_id))
    assert list(view.excepted_node_ids) == ["node-1"]
    assert events(coordinator, nodes[0]) == [ENROLLED, HELD, RETIRED]


def test_forget_that_waited_for_the_retired_node_alone_converges_at_once(coordinator, nodes):
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(nodes[0])
    assert retire(coordinator, nodes[1]) == (campaign.campaign_id,)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"


def test_what_a_retired_node_has_verified_stays_verified(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    retire(coordinator, nodes[1])
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}


def test_stream_of_a_retired_node_ends_with_the_reason(coordinator, nodes):
    retire(coordinator, nodes[0], "stolen from the van")
    with pytest.raises(ReportError, match="node-1 was retired: stolen from the van"):
        coordinator.outbox("node-1")


def test_retired_node_gets_no_lease_for_a_heartbeat_that_was_on_its_way(coordinator, nodes):
    retire(coordinator, nodes[0])
    assert coordinator.take("node-1", wire.ConnectRequest(heartbeat=wire.Heartbeat())).replies == ()


def test_retired_node_can_neither_connect_nor_be_enrolled_again(coordinator, nodes):
    retire(coordinator, nodes[0])
    coordinator.disconnect("node-1")
    with pytest.raises(ReportError, match="was retired"):
        coordinator.connect(nodes[0])
    with pytest.raises(ConflictError, match="was retired"):
        coordinator.enroll(nodes[0])


def test_later_forgets_do_not_concern_a_retired_node(coordinator, nodes):
    retire(coordinator, nodes[1])
    campaign, _ = coordinator.forget("r1", ANN)
    assert states(coordinator, campaign.campaign_id).keys() == {"node-1"}


def test_retired_node_may_serve_a_forget_that_it_has_not_taken_until_its_lease_ends(coordinator, nodes, clock):
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget("r1", ANN)
    retire(coordinator, nodes[1])
    until_ms = row_of(coordinator, nodes[1]).lease_until_ms

    def may_serve():
        with coordinator.transaction() as unit:
            view = unit.views.forget(unit.tx.forgets.get(campaign.campaign_id))
        return {node.node_id: node.until_unix_ms for node in view.may_serve}

    assert may_serve()["node-2"] == until_ms > clock.now_ms
    clock.now_ms = until_ms
    assert "node-2" not in may_serve()


def test_head_is_solved_without_the_public_codes_of_a_chip_that_serves_no_more(coordinator, nodes):
    with coordinator.transaction() as unit:
        for node in nodes:
            unit.tx.heads.save_public_codes(node.node_id, b"codes")
    retire(coordinator, nodes[0])
    with coordinator.transaction() as unit:
        assert [node_id for node_id, _ in unit.tx.heads.public_digests()] == ["node-2"]


def test_retiring_again_changes_nothing(coordinator, nodes):
    retire(coordinator, nodes[0])
    row = row_of(coordinator, nodes[0])
    assert retire(coordinator, nodes[0], "another reason") == ()
    assert row_of(coordinator, nodes[0]) == row
    assert events(coordinator, nodes[0]) == [ENROLLED, RETIRED]


def test_what_a_retired_node_contributed_stays_unless_it_is_discarded(coordinator, nodes):
    retire(coordinator, nodes[0])
    coordinator.converse(nodes[1])
    tags = {subject.subject_tag for subject in newest(coordinator).subjects}
    assert set(PEOPLE) <= tags
    # Also later, once somebody knows that it was stolen.
    retire(coordinator, nodes[0], "it was stolen", discard=True)
    coordinator.converse(nodes[1])
    left = {subject.subject_tag for subject in newest(coordinator).subjects}
    assert tags - left == set(PEOPLE[:2])
    assert nodes[1].active().keys() == left
    assert events(coordinator, nodes[0]) == [ENROLLED, RETIRED, RETIRED]


def test_people_whom_only_the_discarded_node_knew_leave_the_lora(open_coordinator, nodes):
    coordinator = open_coordinator(learning=True)
    coordinator.converse(*nodes)
    teach(coordinator, nodes)
    retire(coordinator, nodes[0], discard=True)
    coordinator.converse(nodes[1])
    assert {row.subject_tag for row in newest(coordinator).shared_lora.rows} == set(PEOPLE[2:])


def test_contributions_that_a_cohort_was_trained_with_are_not_discarded(coordinator, nodes):
    with coordinator.transaction() as unit:
        unit.tx.cohorts.create(1)
        unit.tx.cohorts.enter(0, [ANN], 0)
    with pytest.raises(ConflictError, match="node-1 alone knows 1 members of cohorts"):
        retire(coordinator, nodes[0], discard=True)
    assert row_of(coordinator, nodes[0]).retired_at_ms is None
    with coordinator.transaction() as unit:
        unit.jobs.drop_lora()
    retire(coordinator, nodes[0], discard=True)
    assert row_of(coordinator, nodes[0]).retired_at_ms is not None


def test_newcomer_gets_a_revision_without_the_person_although_no_node_was_left_to_forget_them(coordinator, nodes):
    for node in nodes:
        coordinator.disconnect(node.node_id)
    campaign, _ = coordinator.forget("r1", ANN)
    assert retire(coordinator, nodes[0]) == ()
    assert retire(coordinator, nodes[1]) == (campaign.campaign_id,)
    newcomer = Device("node-3")
    coordinator.enroll(newcomer)
    coordinator.converse(newcomer)
    assert newcomer.serving
    assert set(PEOPLE) - {ANN} <= newcomer.active().keys()
    assert ANN not in newcomer.active()


def test_lora_that_nobody_is_left_to_repair_is_dropped_and_the_verdict_says_so(open_coordinator, nodes):
    coordinator = open_coordinator(learning=True)
    coordinator.converse(*nodes)
    teach(coordinator, nodes)
    campaign, _ = coordinator.forget("r1", ANN)
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()
    with coordinator.transaction() as unit:
        repair_id = unit.tx.forgets.get(campaign.campaign_id).repair_job_id
    assert repair_id
    retire(coordinator, nodes[0])
    assert campaign_state(coordinator, campaign.campaign_id) == "erasing"
    assert retire(coordinator, nodes[1]) == (campaign.campaign_id,)
    assert not newest(coordinator).shared_lora.rows
    assert job(coordinator, repair_id).error == "no node is left"
    with coordinator.transaction() as unit:
        verdicts = unit.views.forget(unit.tx.forgets.get(campaign.campaign_id)).verdicts
    assert "shared LoRA was dropped" in {v.adapter_kind: v.basis for v in verdicts}["shared-lora"]


# Retry


def test_order_that_is_not_answered_is_replaced_by_another(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()
    first = execution(coordinator, campaign.campaign_id, nodes[0])
    assert first.state == "applying"
    retry(coordinator, nodes[0], campaign)
    assert execution(coordinator, campaign.campaign_id, nodes[0]).state == "suppressed"
    coordinator.step()
    second = execution(coordinator, campaign.campaign_id, nodes[0])
    assert (second.state, second.challenge_nonce != first.challenge_nonce) == ("applying", True)
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert events(coordinator, nodes[0]) == [ENROLLED, RETRIED]


@pytest.mark.parametrize("state", ["pending", "verified"])
def test_execution_that_waits_for_no_order_cannot_be_retried(coordinator, nodes, state):
    campaign, _ = coordinator.forget("r1", CEM)
    if state == "verified":
        coordinator.converse(*nodes)
    with pytest.raises(ConflictError, match=f"is {state} on node-2"):
        retry(coordinator, nodes[1], campaign)
    assert events(coordinator, nodes[1]) == [ENROLLED]


def test_order_to_a_held_node_asks_for_its_release(coordinator, held):
    campaign, nodes = held
    with pytest.raises(ConflictError, match="held nodes get no orders") as refused:
        retry(coordinator, nodes[0], campaign)
    assert "fleet node release node-1" in refused.value.hint
    assert states(coordinator, campaign.campaign_id)["node-1"] == "held"


# Bad input


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x1b[2J", "x" * 401])
def test_decision_without_a_readable_reason_is_refused_before_anything_changes(coordinator, held, reason):
    campaign, (node, _) = held
    with pytest.raises(InvalidInputError, match="needs a reason"):
        release(coordinator, node, reason)
    with pytest.raises(InvalidInputError, match="needs a reason"):
        retire(coordinator, node, reason, discard=True)
    with pytest.raises(InvalidInputError, match="needs a reason"):
        retry(coordinator, node, campaign, reason)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "held"
    assert events(coordinator, node) == [ENROLLED, HELD]


def test_decision_about_a_node_that_there_is_not_is_refused(coordinator):
    with coordinator.transaction() as unit:
        for call in (
            lambda: unit.decisions.release("node-9", "why"),
            lambda: unit.decisions.retire("node-9", "why", discard=True),
            lambda: unit.decisions.retry("node-9", "c", "why"),
        ):
            with pytest.raises(NotFoundError, match="node-9"):
                call()


def test_retired_node_is_neither_released_nor_retried(coordinator, held):
    campaign, nodes = held
    retire(coordinator, nodes[0])
    with pytest.raises(ConflictError, match="was retired"):
        release(coordinator, nodes[0])
    with pytest.raises(ConflictError, match="was retired"):
        retry(coordinator, nodes[0], campaign)


def test_retry_of_a_forget_that_there_is_not_is_refused(coordinator, nodes):
    with coordinator.transaction() as unit, pytest.raises(NotFoundError, match="no forget"):
        unit.decisions.retry("node-1", "nothing", "why")
