"""A coordinator that went back to a backup, and nodes that know more than it does."""

from __future__ import annotations

import pytest
from reram_fleet.crypto.signing import SignatureError
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse, ForgetLogRange, RestoreNotice

from edge_node.errors import LogRejectedError, ProtocolError
from fleet.coordinator.backup import back_up
from fleet.coordinator.nodes.recovery import ForkError
from fleet.coordinator.nodes.report_checks import ReportError
from fleet.coordinator.restore import restore
from fleet.coordinator.testing import REGISTRY_KEY, SteppedCoordinator
from fleet.errors import ConflictError
from tests.device import Device
from tests.unit.coordinator.restored import awaited, certified, forget, log_of, settle
from tests.unit.coordinator.small_fleet import (
    ANN,
    BOB,
    CEM,
    campaign_state,
    captured,
    kinds,
    newest,
    row_of,
    states,
)
from tests.unit.store.kinds import kept_in_either

EVE = "ee" * 16


def drop_receipts(coordinator, node):
    """Pass messages until a node has signed receipts, and keep those from the coordinator; returns them."""
    receipts = []
    while not receipts:
        coordinator.step()
        said = [answer for message in coordinator.outbox(node.node_id) for answer in node.receive(message)]
        receipts = [message for message in said if message.HasField("receipt")]
        for message in said:
            if message not in receipts:
                coordinator.take(node.node_id, message)
    return receipts


@kept_in_either
def test_forgets_that_were_lost_come_back_from_a_node_as_they_were_signed(coordinator, nodes, go_back):
    for tag in (ANN, CEM):
        forget(coordinator, nodes, tag)
    lost, log = coordinator.forget("forget " + CEM, CEM)[0], log_of(coordinator)
    restored = go_back()
    assert log_of(restored) == []

    restored.converse(nodes[0])
    assert log_of(restored) == log
    assert awaited(restored) == ["node-2"]
    restored.converse(*nodes)

    assert awaited(restored) == []
    again, created = restored.forget("asked once more", CEM)
    assert (again.campaign_id, again.generation, again.created_at_ms, created) == (
        *(lost.campaign_id, lost.generation, lost.created_at_ms),
        False,
    )
    assert states(restored, lost.campaign_id) == {"node-1": "verified", "node-2": "verified"}
    assert certified(restored, lost)
    assert forget(restored, nodes, BOB).generation == 3
    assert all(node.serving and node.generation == 3 for node in nodes)


def test_a_receipt_of_a_forget_that_was_lost_keeps_no_node_from_bringing_the_forget_back(coordinator, nodes, go_back):
    coordinator.converse(*nodes)
    coordinator.disconnect("node-2")
    campaign, _ = coordinator.forget(f"forget {ANN}", ANN)
    unheard = drop_receipts(coordinator, nodes[0])
    restored = go_back()
    settle(restored, *nodes)

    assert unheard
    assert states(restored, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}


def test_nothing_is_signed_and_nobody_serves_before_all_nodes_are_heard(coordinator, nodes, go_back, clock):
    forget(coordinator, nodes, ANN)
    nodes[0].clock.advance(3600)
    restored = go_back()
    restored.converse(nodes[0])

    with pytest.raises(ConflictError, match=r"waits for nodes that have not reconnected since: node-2$") as refused:
        restored.forget("r2", BOB)
    assert "accept-restore" in refused.value.hint
    assert not nodes[0].serving
    clock.now_ms += 10 * round(1000 * restored.coordinator.env.settings.lost_after_s)
    restored.converse(nodes[0])
    with restored.transaction() as unit:
        (lost,) = unit.tx.forgets.list()
        assert unit.tx.revisions.latest().built_at_generation == 0
    assert states(restored, lost.campaign_id)["node-2"] == "pending"

    settle(restored, *nodes)
    assert nodes[0].serving
    assert campaign_state(restored, lost.campaign_id) == "converged"


@kept_in_either
def test_a_node_that_never_heard_of_the_forget_hears_of_it_before_it_serves(coordinator, nodes, go_back):
    first, second = nodes
    coordinator.disconnect(second.node_id)
    forget(coordinator, [first], CEM)
    second.clock.advance(3600)
    restored = go_back()

    restored.converse(second)
    assert not second.serving
    restored.converse(first, second)
    assert second.serving
    assert CEM not in second.active()


@pytest.mark.parametrize("years", [0, -10])
def test_no_revision_number_is_used_twice_whatever_the_clock_says(coordinator, nodes, go_back, clock, years):
    nodes[0].capture(EVE, captured(9))
    clock.now_ms += years * 365 * 86_400_000
    coordinator.converse(*nodes)
    before = nodes[0].revision
    for _ in range(2):
        restored = go_back()
        restored.converse(*nodes)
        assert nodes[0].revision > before
        before = nodes[0].revision
        assert row_of(restored, nodes[1]).revision == nodes[1].revision == before


@kept_in_either
def test_whom_a_node_has_enrolled_since_it_contributes_again(coordinator, nodes, go_back):
    nodes[0].capture(EVE, captured(9))
    coordinator.converse(*nodes)
    restored = go_back()
    # A later backup, in which they are, may yet be restored.
    assert f"subject-{EVE}" in restored.coordinator.env.secrets.ids()

    settle(restored, *nodes)
    assert EVE in {subject.subject_tag for subject in newest(restored).subjects}
    assert EVE in nodes[1].active()


def test_a_ticket_that_expired_meanwhile_brings_them_back_all_the_same(coordinator, nodes, go_back, clock):
    first, _ = nodes
    expires = first.clock.unix_ms() + 1
    first.ticket = lambda tag: issue_ticket(
        REGISTRY_KEY, fleet_id=first.fleet_id, subject_tag=tag, node_ids=["node-1"], expires_at_unix_ms=expires
    )
    first.capture(EVE, captured(9))
    coordinator.converse(*nodes)
    clock.now_ms = expires
    restored = go_back()
    settle(restored, *nodes)
    assert EVE in {subject.subject_tag for subject in newest(restored).subjects}


def test_certificates_wait_for_nodes_whose_receipts_may_be_out_of_date(coordinator, nodes, folder, tmp_path, clock):
    campaign = forget(coordinator, nodes, ANN)
    back_up(folder, tmp_path / "later.tar.gz")
    coordinator.close()
    restore(folder, tmp_path / "later.tar.gz", now_ms=clock)
    restored = SteppedCoordinator(folder.root, now_ms=clock)
    restored.converse(nodes[0])
    with restored.transaction() as unit, pytest.raises(ConflictError, match="node-2 has not reconnected"):
        unit.certificates.issue(campaign.campaign_id)
    receipts = [node.receipts for node in nodes]
    restored.converse(*nodes)
    assert certified(restored, campaign)
    # Nothing was lost, so nothing is done once more.
    assert [node.receipts for node in nodes] == receipts
    restored.close()


def test_leases_of_the_lost_coordinator_are_assumed_to_last_from_the_restore_on(coordinator, nodes, go_back, clock):
    restored = go_back()
    lease_ms = round(1000 * restored.coordinator.env.settings.lease_s)
    assert {row_of(restored, node).lease_until_ms for node in nodes} == {clock.now_ms + lease_ms}


@kept_in_either
def test_rows_that_were_put_back_by_hand_are_noticed_by_what_a_node_knows(coordinator, nodes, go_back):
    campaign = forget(coordinator, nodes, ANN)
    restored = go_back()
    with restored.transaction() as unit:
        for node in nodes:
            unit.tx.nodes.heard(node.node_id)
        unit.tx.fleet.end_restore()
    first, second = nodes
    for node in nodes:
        restored.connect(node)
    assert awaited(restored) == []
    (notice,) = restored.outbox("node-1")
    (entries,) = first.receive(notice)
    restored.take("node-1", entries)

    assert awaited(restored) == ["node-1", "node-2"]
    # Both say hello anew.
    assert [restored.outbox(node.node_id) for node in nodes] == [[], []]
    assert restored.sessions == {}
    settle(restored, first, second)
    assert states(restored, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}


def test_nodes_that_were_enrolled_after_the_backup_are_enrolled_anew_and_bring_back_what_they_know(
    coordinator, nodes, go_back
):
    third = Device("node-3")
    coordinator.enroll(third)
    third.capture(EVE, captured(9))
    coordinator.converse(*nodes, third)
    campaign = forget(coordinator, [*nodes, third], ANN)
    restored = go_back()
    with restored.transaction() as unit:
        unit.decisions.enroll(third.identity)

    settle(restored, *nodes, third)
    assert EVE in {subject.subject_tag for subject in newest(restored).subjects}
    assert set(states(restored, campaign.campaign_id)) == {"node-1", "node-2", "node-3"}
    assert certified(restored, campaign)


def test_without_a_node_that_it_was_committed_for_a_forget_has_no_certificate(coordinator, nodes, go_back):
    third = Device("node-3")
    coordinator.enroll(third)
    coordinator.converse(*nodes, third)
    campaign = forget(coordinator, [*nodes, third], ANN)
    restored = go_back()
    restored.converse(*nodes)
    assert campaign_state(restored, campaign.campaign_id) == "converged"
    with restored.transaction() as unit, pytest.raises(ConflictError, match="committed for 3 nodes"):
        unit.certificates.issue(campaign.campaign_id)


def test_who_claims_to_know_more_gets_nothing_before_it_shows_that(coordinator, nodes):
    def later(hello):
        hello.generation, hello.log_head = 7, b"\1" * 32

    liar, _ = nodes
    liar.forge("hello", later)
    (heartbeat,) = [message for message in coordinator.connect(liar) if message.HasField("heartbeat")]
    heartbeat.heartbeat.generation = 7
    assert coordinator.take("node-1", heartbeat).replies == ()
    coordinator.forget("r1", ANN)
    assert kinds(coordinator.outbox("node-1")) == ["restore_notice"]
    assert coordinator.outbox("node-1") == []
    with pytest.raises(ReportError, match="reports generation 7, the log has 1"):
        coordinator.take("node-1", ConnectRequest(forget_log=ForgetLogRange()))
    assert awaited(coordinator) == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"generation": 2}, ForkError, id="another number"),
        pytest.param({"previous_hash": b"\1" * 32}, ForkError, id="another history"),
        pytest.param({"fleet_id": "other"}, ReportError, id="another fleet"),
        pytest.param({}, SignatureError, id="another key"),
    ],
)
def test_entries_that_are_not_the_next_that_the_coordinator_signed_are_refused(
    coordinator, nodes, go_back, changes, error
):
    forget(coordinator, nodes, ANN)
    first, _ = nodes
    restored = go_back()
    restored.connect(first)
    command = types.ForgetCommand.FromString(types.Envelope.FromString(first.journal.forget(1).envelope).payload)
    for name, value in changes.items():
        setattr(command, name, value)
    sign = restored.coordinator.env.keys.sign if changes else first.signed

    with pytest.raises(error):
        restored.take("node-1", ConnectRequest(forget_log=ForgetLogRange(entries=[sign(command)])))
    assert log_of(restored) == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        pytest.param({"generation": 1}, LogRejectedError, "two different entries for generation 1", id="other log"),
        pytest.param({"node_id": "node-2"}, ProtocolError, "is for node 'node-2'", id="of another node"),
        pytest.param({}, ProtocolError, "does not verify", id="of another signer"),
    ],
)
def test_a_node_tells_nothing_to_a_coordinator_that_is_not_its_own(coordinator, nodes, go_back, changes, error, words):
    forget(coordinator, nodes, ANN)
    first, _ = nodes
    restored = go_back()
    restored.connect(first)
    (message,) = restored.outbox("node-1")
    notice = RestoreNotice.FromString(message.restore_notice.payload)
    for name, value in changes.items():
        setattr(notice, name, value)
    sign = restored.coordinator.env.keys.sign if changes else first.signed

    with pytest.raises(error, match=words):
        first.receive(ConnectResponse(restore_notice=sign(notice)))
    assert first.generation == 1
