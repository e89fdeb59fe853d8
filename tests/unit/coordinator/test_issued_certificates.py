"""Certificates as the coordinator issues them, under the eyes of an auditor."""

from __future__ import annotations

import pytest
from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.domain.execution import ExecutionState
from fleet.errors import ConflictError, InvalidInputError, NotFoundError
from fleet.trust.audit import receipts_there, verify_certificate
from fleet.trust.certificate import proof_text, read_certificate, read_proof
from fleet.trust.checks import failures
from tests.device import Device
from tests.unit.coordinator.small_fleet import ANN, CEM, campaign_state, run_job, serve, teach


def certified(coordinator, campaign_id):
    """Return what the certificate says, and its lines that fail."""
    text = coordinator.certificate(campaign_id)
    key = coordinator.coordinator.env.keys.command_public_key
    _, content = read_certificate(text, key)
    return content, [str(line) for line in failures(verify_certificate(text, key))]


def record(coordinator, kind, node_id, reason):
    with coordinator.transaction() as unit:
        unit.decisions.record(kind, node_id, reason)


def give_up(coordinator, campaign_id, node_id):
    """Let the forget go on without a node that is away; what was decided is not logged yet."""
    with coordinator.transaction() as unit:
        unit.tx.forgets.set_execution(campaign_id, node_id, ExecutionState.LOST, "away for long")
    coordinator.step()


def test_the_certificate_of_a_forget_holds_and_tells_the_canary_apart(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    content, failed = certified(coordinator, campaign.campaign_id)
    assert failed == []
    assert {node.node_id for node in content.nodes} == {"node-1", "node-2"}
    assert {verdict.verdict for verdict in content.verdicts} == {"EXACT"}
    (planted,) = content.planted_tags
    assert set(content.subject_tags) == {ANN, planted}


def test_a_forget_of_somebody_whom_nobody_held_is_certified_as_that(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", "f" * 32, allow_unknown=True)
    coordinator.converse(*nodes)
    content, failed = certified(coordinator, campaign.campaign_id)
    assert failed == []
    assert [verdict.verdict for verdict in content.verdicts] == ["NOTHING HELD"]


def test_a_fleet_without_nodes_gets_no_certificate(coordinator):
    campaign, _ = coordinator.forget("r1", ANN, allow_unknown=True)
    coordinator.step()
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    with pytest.raises(ConflictError, match="without nodes"):
        certified(coordinator, campaign.campaign_id)


def test_a_lost_node_is_listed_with_the_reason_that_was_logged(coordinator, nodes):
    there, away = nodes
    coordinator.disconnect(away.node_id)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(there)
    give_up(coordinator, campaign.campaign_id, away.node_id)
    record(coordinator, types.AUDIT_EVENT_KIND_NODE_LOST, away.node_id, "out of contact for 9 days")
    content, failed = certified(coordinator, campaign.campaign_id)
    assert failed == []
    listed = [(node.node_id, node.state.value, node.reason) for node in content.summary.excepted]
    assert listed == [("node-2", "lost", "out of contact for 9 days")]


def test_a_lost_node_that_nobody_logged_fails_the_audit(coordinator, nodes):
    there, away = nodes
    # Of an earlier forget: it says nothing about this one.
    record(coordinator, types.AUDIT_EVENT_KIND_NODE_LOST, away.node_id, "out of contact")
    coordinator.disconnect(away.node_id)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(there)
    give_up(coordinator, campaign.campaign_id, away.node_id)
    assert certified(coordinator, campaign.campaign_id)[1] == [
        "node node-2: lost: expected a signed event in the log, got none"
    ]


def test_a_node_that_joined_while_the_forget_was_open_is_told_apart(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", CEM)
    serve(coordinator, *nodes)
    late = Device("node-0")
    coordinator.enroll(late)
    record(coordinator, types.AUDIT_EVENT_KIND_NODE_ENROLLED, late.node_id, "registered")
    coordinator.converse(*nodes, late)
    content, failed = certified(coordinator, campaign.campaign_id)
    assert failed == []
    assert [node.node_id for node in content.nodes if node.joined] == ["node-0"]


def proof_of(coordinator, content, node_id):
    """Return a node's proof beside a certificate, as the coordinator has it now."""
    with coordinator.transaction() as unit:
        request = wire.ListEvidenceRequest(
            campaign_id=content.campaign_id, tree_size=content.tree_size, node_id=node_id
        )
        return read_proof(proof_text(unit.certificates.evidence(request).nodes))


def test_a_node_can_be_proved_later_though_the_log_has_grown(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    with coordinator.transaction() as unit:
        text = unit.certificates.issue(campaign.campaign_id)
    coordinator.forget("r2", CEM)
    coordinator.converse(*nodes)
    key = coordinator.coordinator.env.keys.command_public_key
    _, content = read_certificate(text, key)
    assert receipts_there(content) == (0, 2)
    proofs = [proof for node_id in ("node-1", "node-2") for proof in proof_of(coordinator, content, node_id)]
    assert [str(line) for line in failures(verify_certificate(text, key, proofs))] == []
    assert receipts_there(content, proofs) == (2, 2)


def test_a_node_that_forgot_anew_is_not_proved_by_its_new_receipt(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    content, _ = certified(coordinator, campaign.campaign_id)
    with coordinator.transaction() as unit:
        execution = unit.tx.forgets.execution(campaign.campaign_id, "node-1")
        unit.tx.forgets.set_execution(campaign.campaign_id, "node-1", ExecutionState.PENDING, "restored")
        unit.tx.forgets.set_execution(campaign.campaign_id, "node-1", ExecutionState.SUPPRESSED)
        unit.tx.forgets.reopen(campaign.campaign_id)
    coordinator.converse(*nodes)
    with coordinator.transaction() as unit:
        assert unit.tx.forgets.execution(campaign.campaign_id, "node-1").receipt != execution.receipt
    with pytest.raises(NotFoundError, match="among the first"):
        proof_of(coordinator, content, "node-1")


def test_evidence_comes_page_by_page(coordinator, nodes, monkeypatch):
    monkeypatch.setattr("fleet.coordinator.campaigns.certificates._AT_ONCE", 1)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    content, failed = certified(coordinator, campaign.campaign_id)
    assert ([node.node_id for node in content.nodes], failed) == (["node-1", "node-2"], [])


def test_evidence_of_a_log_that_is_not_there_yet_is_refused(coordinator, nodes):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    with coordinator.transaction() as unit, pytest.raises(InvalidInputError, match="not 1000"):
        unit.certificates.evidence(wire.ListEvidenceRequest(campaign_id=campaign.campaign_id, tree_size=1000))


def test_a_certificate_tells_when_its_forget_converged(coordinator, nodes, clock):
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    converged_at_ms = clock.now_ms
    clock.now_ms += 5_000
    content, _ = certified(coordinator, campaign.campaign_id)
    assert (content.converged_at_ms, content.issued_at_ms) == (converged_at_ms, clock.now_ms)


@pytest.fixture
def learning_coordinator(open_coordinator, nodes):
    """Return the settled fleet's coordinator with a learning plane, and its nodes connected to it."""
    coordinator = open_coordinator(learning=True)
    coordinator.converse(*nodes)
    return coordinator


def test_a_repaired_lora_is_certified_as_approximate(learning_coordinator, nodes):
    coordinator = learning_coordinator
    teach(coordinator, nodes)
    campaign, _ = coordinator.forget("r1", ANN)
    serve(coordinator, *nodes)
    coordinator.step()
    with coordinator.transaction() as unit:
        repair = unit.tx.forgets.get(campaign.campaign_id).repair_job_id
    run_job(coordinator, repair)
    coordinator.converse(*nodes)
    content, failed = certified(coordinator, campaign.campaign_id)
    assert failed == []
    verdicts = {verdict.adapter_kind: verdict.verdict for verdict in content.verdicts}
    assert verdicts == {"subject-adapter": "EXACT", "closed-form-head": "EXACT", "shared-lora": "APPROXIMATE"}
