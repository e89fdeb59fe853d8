"""Contributions: stored once, refused with a reason, on tickets only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto.sealing import seal_symmetric
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.nodes.report_checks import Effect, ReportError
from fleet.coordinator.testing import FEATURES, REGISTRY_KEY
from tests.device import Device
from tests.unit.coordinator.small_fleet import (
    ANN,
    newest,
)


def contribute(coordinator, node, given, sequence=1, **changes):
    effect = coordinator.take(node.node_id, node.forged_contribution(given, sequence, **changes))
    (reply,) = effect.replies
    return reply.contribution_ack.refusal, effect.changed


def adapter(tag="e" * 32, count=2, features=FEATURES, code_sum=None):
    return types.SubjectAdapter(subject_tag=tag, count=count, code_sum=code_sum or range(features))


def test_contribution_is_stored_once_and_acknowledged_each_time(coordinator, nodes):
    assert contribute(coordinator, nodes[0], adapter()) == ("", True)
    assert contribute(coordinator, nodes[0], adapter()) == ("", False)


def test_newer_contribution_of_a_node_replaces_its_older_one(coordinator, nodes):
    contribute(coordinator, nodes[0], adapter(count=2), sequence=1)
    contribute(coordinator, nodes[0], adapter(count=5), sequence=2)
    refusal, changed = contribute(coordinator, nodes[0], adapter(count=2), sequence=1)
    assert "older" in refusal
    assert not changed
    coordinator.step()
    (found,) = [subject for subject in newest(coordinator).subjects if subject.subject_tag == "e" * 32]
    assert found.count == 5


def test_contribution_about_somebody_forgotten_is_refused_and_makes_no_key_also_after_a_restart(
    open_coordinator, nodes
):
    open_coordinator().forget("r1", ANN)
    for sequence in (2, 3):
        coordinator = open_coordinator()
        refusal, changed = contribute(coordinator, nodes[0], adapter(ANN), sequence=sequence)
        assert refusal == f"tag {ANN} was forgotten at generation 1"
        assert not changed
        assert f"subject-{ANN}" not in coordinator.coordinator.env.secrets.ids()
    assert contribute(coordinator, nodes[0], adapter("e" * 32)) == ("", True)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        pytest.param(adapter(features=FEATURES + 1), "33 features, this fleet's task has 32", id="features"),
        pytest.param(adapter(features=0), "0 features", id="empty"),
        pytest.param(adapter(count=0), "0 samples, expected 1 to", id="of no sample"),
        pytest.param(adapter(count=2**32 - 1), "4294967295 samples, expected 1 to", id="of too many samples"),
        pytest.param(
            adapter(count=1, code_sum=[2**40] * FEATURES), "the task's range ends at 65535", id="out of range"
        ),
        pytest.param(adapter("Ann"), "32 lower-case hexadecimal digits", id="a name for a tag"),
    ],
)
def test_malformed_contribution_is_refused_and_leaves_no_key(coordinator, nodes, given, error):
    before = coordinator.coordinator.env.secrets.ids()
    refusal, changed = contribute(coordinator, nodes[0], given)
    assert error in refusal
    assert not changed
    assert coordinator.coordinator.env.secrets.ids() == before


def test_contribution_whose_seal_does_not_open_is_refused(coordinator, nodes):
    broken = types.Sealed(purpose="reram-fleet/other", ciphertext=b"broken")
    refusal, _ = contribute(coordinator, nodes[0], adapter(), adapter=broken)
    assert "sealed for" in refusal


def test_contribution_for_another_node_closes_the_stream(coordinator, nodes):
    with pytest.raises(ReportError, match="sent a contribution of node-2"):
        contribute(coordinator, nodes[0], adapter(), node_id="node-2")


def test_first_contribution_does_not_decide_about_the_features(coordinator):
    node = Device("node-1")
    coordinator.enroll(node)
    coordinator.connect(node)
    refusal, _ = contribute(coordinator, node, adapter("f" * 32, features=FEATURES + 1))
    assert "this fleet's task has 32" in refusal
    assert contribute(coordinator, node, adapter("e" * 32)) == ("", True)


def test_refused_contribution_is_put_aside_for_operators_to_see(coordinator, nodes):
    for _ in range(3):
        contribute(coordinator, nodes[0], adapter(count=0))
    with coordinator.transaction() as unit:
        (row,) = unit.tx.nodes.quarantined("node-1")
    assert (row.kind, row.count) == ("contribution", 3)
    assert "0 samples" in row.reason


def test_node_that_is_held_contributes_nothing_and_may_again_once_it_is_released(coordinator, nodes):
    with coordinator.transaction() as unit:
        unit.tx.nodes.hold("node-1", "a false receipt")
    sent = nodes[0].forged_contribution(adapter())
    # No answer: a refusal would be the end of it.
    assert coordinator.take("node-1", sent) == Effect()
    with coordinator.transaction() as unit:
        assert "held" in unit.tx.nodes.quarantined("node-1")[0].reason
        unit.tx.nodes.release("node-1")
    assert coordinator.take("node-1", sent).changed


def test_node_contributes_no_more_people_than_its_share(coordinator, nodes):
    settings = coordinator.coordinator.env.settings
    coordinator.coordinator.env.settings = replace(settings, tags_per_node=3)
    assert contribute(coordinator, nodes[0], adapter("e" * 32)) == ("", True)
    refusal, _ = contribute(coordinator, nodes[0], adapter("f" * 32))
    assert "its share" in refusal
    assert contribute(coordinator, nodes[0], adapter("e" * 32, count=5), sequence=2) == ("", True)


def test_fleet_takes_no_more_people_than_a_revision_has_room_for(coordinator, nodes, monkeypatch):
    monkeypatch.setattr("fleet.coordinator.revisions.contributions.REVISION_BYTES", 1000)
    refusal, _ = contribute(coordinator, nodes[0], adapter("e" * 32))
    assert "the fleet is full" in refusal


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"node_ids": ["node-2"]}, "is for node-2, not for node-1"),
        ({"fleet_id": "another"}, "is for fleet 'another'"),
        ({"expires_at_unix_ms": 1_700_000_000_000}, "has expired"),
        ({"subject_tag": "f" * 32}, "for another person"),
        ({"registry_key": Ed25519PrivateKey.generate()}, "is not the registry's"),
    ],
    ids=["another node", "another fleet", "expired", "another person", "another registry"],
)
def test_contribution_needs_the_callers_ticket(coordinator, nodes, changes, error):
    about = {
        "registry_key": REGISTRY_KEY,
        "fleet_id": coordinator.coordinator.env.fleet_id,
        "subject_tag": "e" * 32,
        "node_ids": ["node-1"],
        "expires_at_unix_ms": 2**62,
    }
    assert contribute(coordinator, nodes[0], adapter(), ticket=issue_ticket(**about)) == ("", True)
    refusal, changed = contribute(
        coordinator, nodes[0], adapter(), sequence=2, ticket=issue_ticket(**{**about, **changes})
    )
    assert error in refusal
    assert not changed


def test_contribution_without_a_ticket_is_refused(coordinator, nodes):
    refusal, _ = contribute(coordinator, nodes[0], adapter(), ticket=types.Envelope())
    assert "is not the registry's" in refusal


def test_stored_contribution_that_cannot_be_used_does_not_stop_the_others(coordinator, nodes):
    """As one of before ranges were checked, which kept everybody from the next revision."""
    contribute(coordinator, nodes[0], adapter("e" * 32))
    key_id = f"subject-{'e' * 32}"
    poison = adapter("e" * 32, count=2**32 - 1).SerializeToString()
    with coordinator.transaction() as unit:
        ciphertext = seal_symmetric(coordinator.coordinator.env.secrets.get(key_id), key_id, poison)
        unit.tx.subjects.contribute("e" * 32, "node-1", 9, 1, ciphertext)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    with coordinator.transaction() as unit:
        assert unit.tx.forgets.get(campaign.campaign_id).state == "converged"
        assert "stored, and cannot be used" in unit.tx.nodes.quarantined("node-1")[0].reason
