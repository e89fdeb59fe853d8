"""Messages that a connected node is sent, and when it is not."""

from __future__ import annotations

import pytest
from reram_fleet.crypto.digests import STATEMENT
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, RevisionResult

from fleet.coordinator.nodes import outbox
from fleet.coordinator.testing import FEATURES
from tests.device import Device
from tests.unit.coordinator.small_fleet import (
    ANN,
    BOB,
    CEM,
    captured,
    code_sum,
    deliver,
    execution,
    kinds,
    newest,
    serve,
    states,
)


def order_of(messages):
    (found,) = [message.erase for message in messages if message.WhichOneof("message") == "erase"]
    return found


def test_node_that_lacks_nothing_is_sent_nothing(coordinator, nodes):
    assert coordinator.outbox("node-1") == []


def test_node_behind_gets_log_then_revision_then_erase_order(coordinator, nodes):
    node, other = nodes
    coordinator.disconnect(other.node_id)
    coordinator.forget("r1", ANN)
    (log,) = coordinator.outbox("node-1")
    commands = [types.ForgetCommand.FromString(e.payload) for e in log.forget_log.entries]
    assert [command.generation for command in commands] == [1]
    assert ANN in commands[0].subject_tags
    deliver(coordinator, node, [log])
    coordinator.step()
    (offer,) = coordinator.outbox("node-1")
    assert offer.WhichOneof("message") == "revision"
    deliver(coordinator, node, [offer])
    coordinator.step()
    order = order_of(coordinator.outbox("node-1"))
    assert (order.generation, order.revision) == (1, node.revision)
    assert len(order.probes) == 2


def test_nothing_is_sent_twice_on_one_stream(coordinator, nodes):
    coordinator.forget("r1", ANN)
    assert kinds(coordinator.outbox("node-1")) == ["forget_log"]
    assert coordinator.outbox("node-1") == []


def test_new_entries_of_the_log_are_sent_on_all_streams_before_anything_else_is_looked_up(coordinator, nodes):
    coordinator.forget("r1", ANN)
    sessions = list(coordinator.sessions.values())
    with coordinator.transaction() as unit:
        assert [kinds(due.messages) for due in unit.outbox.log_due(sessions)] == [["forget_log"], ["forget_log"]]
        assert unit.outbox.log_due(sessions) == []
    assert "forget_log" not in kinds(coordinator.outbox("node-1"))


def test_nobody_is_sent_the_log_while_a_restore_waits_for_nodes(coordinator, nodes):
    coordinator.forget("r1", ANN)
    coordinator.coordinator.env.awaited = {"node-2"}
    with coordinator.transaction() as unit:
        assert unit.outbox.log_due(list(coordinator.sessions.values())) == []


def test_node_that_has_suppressed_is_answered_with_a_lease_of_that_generation(coordinator, nodes):
    node = nodes[0]
    coordinator.forget("r1", ANN)
    (log,) = coordinator.outbox(node.node_id)
    (suppressed,) = node.receive(log)
    (reply,) = coordinator.take(node.node_id, suppressed).replies
    assert types.Lease.FromString(reply.lease.payload).generation == 1


def test_new_stream_gets_again_what_the_old_one_may_have_lost(coordinator, nodes):
    coordinator.forget("r1", ANN)
    coordinator.outbox("node-1")
    coordinator.connect(nodes[0])
    assert kinds(coordinator.outbox("node-1")) == ["forget_log"]


def test_order_that_was_lost_with_its_stream_comes_again_with_the_same_challenge(coordinator, nodes):
    node, _ = nodes
    coordinator.forget("r1", ANN)
    serve(coordinator, *nodes)
    coordinator.step()
    (offer,) = coordinator.outbox("node-1")
    deliver(coordinator, node, [offer])
    coordinator.step()
    lost = order_of(coordinator.outbox("node-1"))
    coordinator.connect(node)
    assert order_of(coordinator.outbox("node-1")) == lost


def test_revision_older_than_the_log_is_never_offered(coordinator, nodes):
    late = Device("node-3")
    coordinator.enroll(late)
    coordinator.forget("r1", ANN)
    coordinator.connect(late)
    log = coordinator.outbox("node-3")
    assert kinds(log) == ["forget_log", "public_codes_request"]
    deliver(coordinator, late, log)
    serve(coordinator, *nodes)
    assert coordinator.outbox("node-3") == []
    coordinator.step()
    assert kinds(coordinator.outbox("node-3")) == ["revision"]


def test_long_log_is_sent_in_ranges_without_a_gap(coordinator, nodes, monkeypatch):
    monkeypatch.setattr(outbox, "RANGE_LIMIT", 2)
    for number in range(5):
        coordinator.forget(f"r{number}", f"{number:032x}", allow_unknown=True)
    messages = coordinator.outbox("node-1")
    assert [len(message.forget_log.entries) for message in messages] == [2, 2, 1]
    for message in messages:
        nodes[0].receive(message)
    assert nodes[0].generation == 5


def test_held_node_gets_the_log_and_neither_revision_nor_order(coordinator, nodes):
    coordinator.forget("r1", ANN)
    with coordinator.transaction() as unit:
        unit.tx.nodes.hold("node-1", "an operator wants to look at it")
    log = coordinator.outbox("node-1")
    assert kinds(log) == ["forget_log"]
    deliver(coordinator, nodes[0], log)
    serve(coordinator, nodes[1])
    coordinator.step()
    assert coordinator.outbox("node-1") == []
    assert kinds(coordinator.outbox("node-2")) == ["revision"]


def test_held_node_gets_no_lease(coordinator, nodes):
    heartbeat, *_ = nodes[0].heartbeat()
    assert kinds(coordinator.take("node-1", heartbeat).replies) == ["lease"]
    with coordinator.transaction() as unit:
        unit.tx.nodes.hold("node-1", "an operator wants to look at it")
    assert coordinator.take("node-1", heartbeat).replies == ()


def test_lease_is_for_the_newest_generation_also_while_the_node_is_behind(coordinator, nodes):
    node, _ = nodes
    assert node.serving
    coordinator.forget("r1", ANN)
    heartbeat, *_ = node.heartbeat()
    (reply,) = coordinator.take("node-1", heartbeat).replies
    node.receive(reply)
    assert types.Lease.FromString(reply.lease.payload).request_nonce == heartbeat.heartbeat.lease_nonce
    assert node.lease.generation == 1
    assert not node.serving


def test_probes_are_the_spent_canary_and_a_living_one(coordinator, nodes):
    node, _ = nodes
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    (spent,) = set(campaign.tags) - {ANN}
    expected = execution(coordinator, campaign.campaign_id, node).expected_probes
    assert sorted(expected)[0] == ""
    (living,) = set(expected) - {""}
    assert living != spent
    assert living in {subject.subject_tag for subject in newest(coordinator).subjects}
    assert node.journal.tombstones().keys() == {ANN, spent}


def test_canaries_are_in_every_revision_and_told_apart_by_nothing_on_the_wire(coordinator, nodes):
    with coordinator.transaction() as unit:
        canaries = unit.tx.subjects.live_canaries()
    assert len(canaries) == 2
    tags = [subject.subject_tag for subject in newest(coordinator).subjects]
    assert set(canaries) < set(tags)
    assert {len(subject.code_sum) for subject in newest(coordinator).subjects} == {FEATURES}


def test_orders_of_several_campaigns_come_in_the_order_of_the_log(coordinator, nodes):
    node, other = nodes
    coordinator.disconnect(other.node_id)
    first, _ = coordinator.forget("r1", ANN)
    second, _ = coordinator.forget("r2", BOB)
    serve(coordinator, node)
    coordinator.step()
    serve(coordinator, node)
    coordinator.step()
    orders = [message.erase.campaign_id for message in coordinator.outbox("node-1")]
    assert orders == [first.campaign_id, second.campaign_id]


def test_somebody_new_is_in_everybodys_next_revision(coordinator, nodes):
    nodes[1].capture("e" * 32, captured(9))
    coordinator.converse(*nodes)
    assert "e" * 32 in nodes[0].active()


def test_person_captured_on_two_nodes_is_the_sum_of_both(coordinator, nodes):
    for seed, node in zip((20, 21), nodes, strict=True):
        node.capture("e" * 32, captured(seed))
    coordinator.converse(*nodes)
    (found,) = [s for s in newest(coordinator).subjects if s.subject_tag == "e" * 32]
    assert found.count == 6
    pairs = zip(code_sum(20), code_sum(21), strict=True)
    assert list(found.code_sum) == [left + right for left, right in pairs]


def test_forgets_before_anybody_was_enrolled_are_receipted_without_a_revision(coordinator):
    node = Device("node-1")
    coordinator.enroll(node)
    campaign, _ = coordinator.forget("r1", CEM, allow_unknown=True)
    coordinator.converse(node)
    assert states(coordinator, campaign.campaign_id) == {"node-1": "not_affected"}
    receipt = types.Receipt.FromString(node.receipts[0].payload)
    assert receipt.revision_digest == b""
    assert receipt.statement == STATEMENT


@pytest.mark.parametrize("first", [0, 1])
def test_canary_node_is_ordered_before_the_rest_whoever_installs_first(coordinator, nodes, first):
    campaign, _ = coordinator.forget("r1", ANN)
    serve(coordinator, *nodes)
    coordinator.step()
    serve(coordinator, nodes[first], nodes[1 - first])
    coordinator.step()
    assert states(coordinator, campaign.campaign_id) == {"node-1": "applying", "node-2": "suppressed"}
    assert coordinator.outbox("node-2") == []
    serve(coordinator, nodes[0])
    coordinator.step()
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "applying"}
    assert kinds(coordinator.outbox("node-2")) == ["erase"]


def test_node_that_does_not_install_the_revision_does_not_keep_the_others_waiting(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    serve(coordinator, *nodes)
    coordinator.step()
    # node-1, first in line, refuses.
    coordinator.outbox("node-1")
    coordinator.take("node-1", ConnectRequest(revision_result=RevisionResult(revision=2, refusal="full")))
    coordinator.converse(nodes[1])
    assert states(coordinator, campaign.campaign_id) == {"node-1": "suppressed", "node-2": "verified"}
