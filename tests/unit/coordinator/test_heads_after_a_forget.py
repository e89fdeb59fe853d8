"""Closed-form head after a forget: that of a fleet that never knew the person."""

from __future__ import annotations

from reram_fleet.crypto.digests import head_digest
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.testing import SteppedCoordinator
from tests.unit.coordinator.head_fleet import expected_head, make_node, metric, send_statistics
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, DEB, captured, newest, serve


def test_head_after_a_forget_is_that_of_a_fleet_that_never_knew_the_person(coordinator, tmp_path, pair):
    coordinator.forget("r1", BOB)
    coordinator.converse(*pair)
    after = newest(coordinator).head

    other = SteppedCoordinator(tmp_path / "never")
    try:
        first = make_node(other, "node-1", {ANN: 1}, public=1)
        second = make_node(other, "node-2", {CEM: 4}, public=2)
        other.converse(first, second)
        assert after == newest(other).head
    finally:
        other.close()
    assert list(after.subject_tags) == [ANN, CEM]


def test_forget_is_exact_while_the_nodes_that_met_the_person_are_away(coordinator, pair):
    third = make_node(coordinator, "node-3", {}, public=None)
    coordinator.converse(third)
    for node in pair:
        coordinator.disconnect(node.node_id)
    coordinator.forget("r1", BOB)
    coordinator.converse(third)
    assert newest(coordinator).head == expected_head({ANN: [1], CEM: [4]}, [1, 2])


def test_head_is_gone_as_a_whole_from_the_commit_until_the_next_one_is_built(coordinator, pair):
    coordinator.forget("r1", BOB)
    assert not newest(coordinator).HasField("head")
    assert metric(coordinator, "fleet_head_people") == 0
    serve(coordinator, *pair)
    coordinator.step()
    assert list(newest(coordinator).head.subject_tags) == [ANN, CEM]


def test_head_is_solved_anew_also_if_the_forgotten_was_not_in_it(coordinator, pair):
    """The commit takes the head out of the newest revision, though nothing that it follows from changes."""
    send_statistics(pair[0], None)
    pair[0].capture(DEB, captured(5))
    coordinator.converse(*pair)
    campaign, _ = coordinator.forget("r1", DEB)
    coordinator.converse(*pair)
    assert list(newest(coordinator).head.subject_tags) == [ANN, BOB, CEM]
    assert verdicts(coordinator, campaign) == {"subject-adapter": 1}


def test_everybody_forgotten_leaves_no_head(coordinator, pair):
    campaign, _ = coordinator.forget("r1", ANN, BOB, CEM)
    coordinator.converse(*pair)
    assert not newest(coordinator).HasField("head")
    assert verdicts(coordinator, campaign) == {"subject-adapter": 1, "closed-form-head": 1}


def verdicts(coordinator, campaign):
    with coordinator.transaction() as unit:
        found = unit.views.forget(unit.tx.forgets.get(campaign.campaign_id)).verdicts
    return {verdict.adapter_kind: verdict.verdict for verdict in found}


def test_forget_of_somebody_in_the_head_has_a_verdict_on_it_and_receipts_name_it(coordinator, pair):
    campaign, _ = coordinator.forget("r1", BOB)
    coordinator.converse(*pair)
    assert verdicts(coordinator, campaign) == {"subject-adapter": 1, "closed-form-head": 1}
    with coordinator.transaction() as unit:
        executions = unit.tx.forgets.executions(campaign.campaign_id)
    for execution in executions:
        assert execution.state == "verified"
        receipt = types.Receipt.FromString(types.Envelope.FromString(execution.receipt).payload)
        assert receipt.head_digest == head_digest(newest(coordinator).head)
        (line,) = [line for line in execution.checks if line.name == "closed-form head digest"]
        assert line.got == receipt.head_digest.hex()


def test_node_with_another_head_is_held(coordinator, pair):
    pair[0].amend = lambda receipt: setattr(receipt, "head_digest", b"x" * 32)
    campaign, _ = coordinator.forget("r1", BOB)
    coordinator.converse(*pair)
    with coordinator.transaction() as unit:
        execution = unit.tx.forgets.execution(campaign.campaign_id, "node-1")
    assert execution.state == "held"
    assert "closed-form head digest" in execution.detail


def test_statistics_go_with_the_person_and_stay_with_everybody_else(coordinator, pair):
    with coordinator.transaction() as unit:
        assert {tag for tag, _, _ in unit.tx.heads.sources()} == {ANN, BOB, CEM}
    coordinator.forget("r1", BOB)
    with coordinator.transaction() as unit:
        assert {tag for tag, _, _ in unit.tx.heads.sources()} == {ANN, CEM}
    assert f"subject-{BOB}" not in coordinator.coordinator.env.secrets.ids()
