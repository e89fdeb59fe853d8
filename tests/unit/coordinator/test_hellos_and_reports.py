"""The first message of a stream, and reports that come late or make no sense."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto import signing
from reram_fleet.crypto.digests import ZERO_HASH
from reram_fleet.crypto.sealing import seal_symmetric
from reram_fleet.crypto.signing import SignatureError
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest

from fleet.coordinator.report_checks import Effect, ReportError
from fleet.coordinator.testing import FEATURES, REGISTRY_KEY, SimulatedNode
from fleet.errors import NotFoundError
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, code_sum, kinds, newest, row_of, serve, states

NONCE = bytes(range(32))


def hello(node, key=None, **changes):
    message = wire.Hello(
        fleet_id=node.fleet_id,
        node_id=node.node_id,
        challenge_nonce=NONCE,
        generation=node.journal.generation,
        log_head=node.journal.log_head,
        revision=node.journal.revision,
        revision_digest=node.journal.revision_digest,
        receipt_counter=len(node.journal.receipts),
        last_receipt_hash=ZERO_HASH,
        session_public_key=node.session_key.public_key().public_bytes_raw(),
    )
    message.MergeFrom(wire.Hello(**changes))
    return ConnectRequest(hello=signing.sign(key or node.signing_key, message))


def test_signed_answer_to_the_challenge_opens_a_session(coordinator, nodes):
    assert coordinator.welcome(hello(nodes[0]), NONCE).node_id == "node-1"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"challenge_nonce": b"old" * 8}, "answers another challenge", id="old challenge"),
        pytest.param({"fleet_id": "other"}, "belongs to fleet other", id="other fleet"),
        pytest.param({"generation": 7}, "reports generation 7, the log has 0", id="beyond the log"),
        pytest.param({"log_head": b"\1" * 32}, "another entry of generation 0", id="other log"),
    ],
)
def test_hello_that_contradicts_the_coordinator_is_refused(coordinator, nodes, changes, error):
    with pytest.raises(ReportError, match=error):
        coordinator.welcome(hello(nodes[0], **changes), NONCE)


def test_hello_signed_by_another_key_is_refused(coordinator, nodes):
    with pytest.raises(SignatureError):
        coordinator.welcome(hello(nodes[0], Ed25519PrivateKey.generate()), NONCE)
    with pytest.raises(SignatureError):
        coordinator.welcome(hello(nodes[0], nodes[1].signing_key), NONCE)


def test_hello_of_a_node_that_was_never_enrolled_is_refused(coordinator, nodes):
    stranger = SimulatedNode("node-9")
    with pytest.raises(NotFoundError, match="node-9"):
        coordinator.welcome(hello(stranger), NONCE)


def test_hello_of_a_retired_node_is_refused(coordinator, nodes):
    with coordinator.transaction() as tx:
        tx.nodes.retire("node-1", "lost")
    with pytest.raises(ReportError, match="retired"):
        coordinator.welcome(hello(nodes[0]), NONCE)


def reason_for_putting_aside(coordinator, message):
    """Let node-1 say something that is not acted upon; returns what operators see of it."""
    effect = coordinator.take("node-1", message)
    assert effect == Effect()
    with coordinator.transaction() as tx:
        (row,) = tx.nodes.quarantined("node-1")
    assert row.kind == message.WhichOneof("message")
    return row.reason


#: What nothing can be sealed to: no key, one cut off, two points of low order.
NO_KEYS = [
    pytest.param(b"", id="none"),
    pytest.param(b"\x09" + bytes(30), id="cut off"),
    pytest.param(bytes(32), id="zero"),
    pytest.param(b"\x01" + bytes(31), id="one"),
]


@pytest.mark.parametrize("session_key", NO_KEYS)
def test_hello_with_a_session_key_that_nothing_can_be_sealed_to_is_refused(coordinator, nodes, session_key):
    given = wire.Hello.FromString(hello(nodes[0]).hello.payload)
    given.session_public_key = session_key
    envelope = signing.sign(nodes[0].signing_key, given)
    before = coordinator.coordinator.sessions.key_of("node-1")
    with pytest.raises(ReportError, match=r"session key of node node-1 .* X25519"):
        coordinator.welcome(ConnectRequest(hello=envelope), NONCE)
    assert coordinator.coordinator.sessions.key_of("node-1") == before


@pytest.mark.parametrize("session_key", NO_KEYS)
def test_renewed_session_key_that_nothing_can_be_sealed_to_is_put_aside(coordinator, nodes, session_key):
    node, _ = nodes
    coordinator.forget("r1", ANN)
    (log,) = coordinator.outbox("node-1")
    report = node.receive(log)[0].suppressed
    before = coordinator.coordinator.sessions.key_of("node-1")
    session = wire.SessionKey.FromString(report.session_key.payload)
    session.public_key = session_key
    report.session_key.CopyFrom(signing.sign(node.signing_key, session))
    assert "session key of node node-1" in reason_for_putting_aside(coordinator, ConnectRequest(suppressed=report))
    assert coordinator.coordinator.sessions.key_of("node-1") == before
    assert row_of(coordinator, node).generation == 0


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(ConnectRequest(), id="empty"),
        pytest.param(ConnectRequest(heartbeat=wire.Heartbeat()), id="heartbeat"),
        pytest.param(ConnectRequest(hello=types.Envelope(payload=b"\xff")), id="not a hello"),
    ],
)
def test_stream_that_does_not_begin_with_a_hello_is_refused(coordinator, nodes, first):
    with pytest.raises(ReportError, match="opened by a signed hello"):
        coordinator.welcome(first, NONCE)


@pytest.mark.parametrize("message", [ConnectRequest(), ConnectRequest(hello=types.Envelope())])
def test_message_that_is_no_report_closes_the_stream(coordinator, nodes, message):
    with pytest.raises(ReportError, match="where a report was expected"):
        coordinator.take("node-1", message)


def test_suppressed_beyond_the_log_or_of_another_log_closes_the_stream(coordinator, nodes):
    coordinator.forget("r1", ANN)
    for report in (
        wire.Suppressed(generation=2, log_head=bytes(32)),
        wire.Suppressed(generation=1, log_head=bytes(32)),
    ):
        with pytest.raises(ReportError):
            coordinator.take("node-1", ConnectRequest(suppressed=report))
    assert row_of(coordinator, nodes[0]).generation == 0


def test_late_suppressed_does_not_send_the_node_back(coordinator, nodes):
    node, _ = nodes
    coordinator.forget("r1", ANN)
    serve(coordinator, node)
    late = wire.Suppressed(generation=1, log_head=node.journal.log_head)
    coordinator.forget("r2", BOB)
    serve(coordinator, node)
    coordinator.take("node-1", ConnectRequest(suppressed=late))
    assert row_of(coordinator, node).generation == 2
    coordinator.take("node-1", ConnectRequest(suppressed=wire.Suppressed(generation=0, log_head=ZERO_HASH)))
    assert row_of(coordinator, node).generation == 2


def test_late_revision_result_does_not_send_the_node_back(coordinator, nodes):
    coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    revision = row_of(coordinator, nodes[0]).revision
    late = wire.RevisionResult(revision=revision - 1, digest=b"old", active=True)
    coordinator.take("node-1", ConnectRequest(revision_result=late))
    assert row_of(coordinator, nodes[0]).revision == revision
    assert coordinator.outbox("node-1") == []


def test_refused_revision_is_not_noted_as_active(coordinator, nodes):
    before = row_of(coordinator, nodes[0])
    refused = wire.RevisionResult(revision=before.revision + 1, digest=b"new", refusal="no room")
    effect = coordinator.take("node-1", ConnectRequest(revision_result=refused))
    assert not effect.changed
    assert row_of(coordinator, nodes[0]).revision == before.revision


def test_telemetry_replaces_what_was_reported_and_skips_phases_of_newer_nodes(coordinator, nodes):
    for joules in (1.0, 2.5):
        telemetry = wire.Telemetry(
            costs=[
                types.PhaseCost(phase=types.ENERGY_PHASE_INFER, energy_j=joules, bytes=7),
                types.PhaseCost(phase=types.ENERGY_PHASE_UNSPECIFIED, energy_j=100.0),
                types.PhaseCost(phase=99, energy_j=100.0),  # type: ignore[arg-type]
            ],
            energy_model=types.EnergyModel(name="180nm-1t1r", version="1"),
            inferences=4,
            subject_adapters=3,
        )
        coordinator.take("node-1", ConnectRequest(telemetry=telemetry))
    with coordinator.transaction() as tx:
        (cost,) = tx.nodes.costs("node-1")
    assert (cost.phase, cost.energy_j, cost.bytes) == ("infer", 2.5, 7)
    row = row_of(coordinator, nodes[0])
    assert (row.inferences, row.subject_adapters, row.energy_model_name) == (4, 3, "180nm-1t1r")


def telemetry(joules=1.0, **changes):
    report = wire.Telemetry(
        costs=[types.PhaseCost(phase=types.ENERGY_PHASE_INFER, energy_j=joules, seconds=1.0, bytes=7)],
        inferences=4,
        stale_inferences_refused=2,
    )
    report.MergeFrom(wire.Telemetry(**changes))
    return ConnectRequest(telemetry=report)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        pytest.param(telemetry(1e300), "energy_j must lie in", id="huge"),
        pytest.param(telemetry(-1.0), "energy_j must lie in", id="negative"),
        pytest.param(telemetry(float("nan")), "energy_j is nan", id="not a number"),
        pytest.param(telemetry(float("inf")), "energy_j is inf", id="infinite"),
        pytest.param(
            telemetry(costs=[types.PhaseCost(phase=types.ENERGY_PHASE_RADIO, bytes=2**63)]),
            "bytes is 9223372036854775808",
            id="more than a database counts",
        ),
        pytest.param(telemetry(inferences=2**60), "inferences must lie in", id="inferences"),
        pytest.param(telemetry(costs=[types.PhaseCost(phase=types.ENERGY_PHASE_INFER)]), "listed twice", id="twice"),
        pytest.param(telemetry(energy_model=types.EnergyModel(name="x" * 65)), "64 characters", id="name"),
    ],
)
def test_telemetry_out_of_range_is_put_aside_and_stores_nothing(coordinator, nodes, report, reason):
    before = row_of(coordinator, nodes[0])
    assert reason in reason_for_putting_aside(coordinator, report)
    with coordinator.transaction() as tx:
        assert tx.nodes.costs("node-1") == []
    assert row_of(coordinator, nodes[0]) == before


@pytest.mark.parametrize(
    ("less", "reason"),
    [
        (telemetry(0.5), "energy_j is cumulative"),
        (ConnectRequest(telemetry=wire.Telemetry(inferences=4, stale_inferences_refused=2)), "cumulative"),
        (ConnectRequest(telemetry=wire.Telemetry(costs=telemetry().telemetry.costs)), "inferences is cumul"),
    ],
)
def test_telemetry_that_goes_back_within_a_stream_is_put_aside(coordinator, nodes, less, reason):
    coordinator.take("node-1", telemetry())
    assert reason in reason_for_putting_aside(coordinator, less)
    with coordinator.transaction() as tx:
        assert [cost.energy_j for cost in tx.nodes.costs("node-1")] == [1.0]


def test_telemetry_of_a_node_that_was_killed_goes_on_from_what_it_had_saved(coordinator, nodes):
    coordinator.take("node-1", telemetry(2.0))
    coordinator.disconnect("node-1")
    coordinator.connect(nodes[0])
    coordinator.take("node-1", telemetry(1.0))
    with coordinator.transaction() as tx:
        assert [cost.energy_j for cost in tx.nodes.costs("node-1")] == [1.0]


@pytest.mark.parametrize(
    "overhead",
    [
        types.DeploymentOverhead(energy_j=1e300),
        types.DeploymentOverhead(reprogramming_ratio=-1.0),
        types.DeploymentOverhead(reprogramming_cell_writes=2**60),
    ],
)
def test_deployment_overhead_out_of_range_is_put_aside(coordinator, nodes, overhead):
    before = row_of(coordinator, nodes[0])
    result = wire.RevisionResult(revision=before.revision, active=True, overhead=overhead)
    assert "deployment overhead" in reason_for_putting_aside(coordinator, ConnectRequest(revision_result=result))
    assert row_of(coordinator, nodes[0]) == before


@pytest.mark.parametrize(
    "beat", [wire.Heartbeat(generation=1), wire.Heartbeat(lease_nonce=bytes(65))], ids=["generation", "nonce"]
)
def test_heartbeat_out_of_range_is_put_aside_and_gets_no_lease(coordinator, nodes, beat):
    assert "Heartbeat." in reason_for_putting_aside(coordinator, ConnectRequest(heartbeat=beat))


def test_heartbeat_is_news_only_when_the_state_changes(coordinator, nodes):
    beat = wire.Heartbeat(serve_state=types.SERVE_STATE_SERVING, lease_nonce=b"1")
    coordinator.take("node-1", ConnectRequest(heartbeat=beat))
    assert not coordinator.take("node-1", ConnectRequest(heartbeat=beat)).changed
    beat.serve_state = types.SERVE_STATE_QUARANTINED
    beat.quarantine_reason = types.QUARANTINE_REASON_LEASE_EXPIRED
    assert coordinator.take("node-1", ConnectRequest(heartbeat=beat)).changed


# Contributions


def contribute(coordinator, node, given, sequence=1, **changes):
    message = node.contribution(given, sequence)
    if changes:
        inner = wire.Contribution.FromString(message.contribution.payload)
        for name in changes:
            inner.ClearField(name)
        inner.MergeFrom(wire.Contribution(**changes))
        message = ConnectRequest(contribution=signing.sign(node.signing_key, inner))
    effect = coordinator.take(node.node_id, message)
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


def test_contribution_about_somebody_forgotten_is_refused_and_makes_no_key(coordinator, nodes):
    coordinator.forget("r1", ANN)
    refusal, changed = contribute(coordinator, nodes[0], adapter(ANN), sequence=2)
    assert "was forgotten at generation 1" in refusal
    assert not changed
    assert f"subject-{ANN}" not in coordinator.coordinator.secrets.ids()


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
    before = coordinator.coordinator.secrets.ids()
    refusal, changed = contribute(coordinator, nodes[0], given)
    assert error in refusal
    assert not changed
    assert coordinator.coordinator.secrets.ids() == before


def test_contribution_whose_seal_does_not_open_is_refused(coordinator, nodes):
    broken = types.Sealed(purpose="reram-fleet/other", ciphertext=b"broken")
    refusal, _ = contribute(coordinator, nodes[0], adapter(), adapter=broken)
    assert "sealed for" in refusal


def test_contribution_for_another_node_closes_the_stream(coordinator, nodes):
    with pytest.raises(ReportError, match="sent a contribution of node-2"):
        contribute(coordinator, nodes[0], adapter(), node_id="node-2")


def test_first_contribution_does_not_decide_about_the_features(coordinator):
    node = SimulatedNode("node-1")
    coordinator.enroll(node)
    coordinator.connect(node)
    refusal, _ = contribute(coordinator, node, adapter("f" * 32, features=FEATURES + 1))
    assert "this fleet's task has 32" in refusal
    assert contribute(coordinator, node, adapter("e" * 32)) == ("", True)


def test_refused_contribution_is_put_aside_for_operators_to_see(coordinator, nodes):
    for _ in range(3):
        contribute(coordinator, nodes[0], adapter(count=0))
    with coordinator.transaction() as tx:
        (row,) = tx.nodes.quarantined("node-1")
    assert (row.kind, row.count) == ("contribution", 3)
    assert "0 samples" in row.reason


def test_node_that_is_held_contributes_nothing_and_may_again_once_it_is_released(coordinator, nodes):
    with coordinator.transaction() as tx:
        tx.nodes.hold("node-1", "a false receipt")
    sent = nodes[0].contribution(adapter())
    # No answer: a refusal would be the end of it.
    assert coordinator.take("node-1", sent) == Effect()
    with coordinator.transaction() as tx:
        assert "held" in tx.nodes.quarantined("node-1")[0].reason
        tx.nodes.release("node-1")
    assert coordinator.take("node-1", sent).changed


def test_node_contributes_no_more_people_than_its_share(coordinator, nodes):
    settings = coordinator.coordinator.settings
    coordinator.coordinator.settings = replace(settings, tags_per_node=3)
    assert contribute(coordinator, nodes[0], adapter("e" * 32)) == ("", True)
    refusal, _ = contribute(coordinator, nodes[0], adapter("f" * 32))
    assert "its share" in refusal
    assert contribute(coordinator, nodes[0], adapter("e" * 32, count=5), sequence=2) == ("", True)


def test_fleet_takes_no_more_people_than_a_revision_has_room_for(coordinator, nodes, monkeypatch):
    monkeypatch.setattr("fleet.coordinator.contributions.REVISION_BYTES", 1000)
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
        "fleet_id": coordinator.coordinator.fleet_id,
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
    with coordinator.transaction() as tx:
        ciphertext = seal_symmetric(coordinator.coordinator.secrets.get(key_id), key_id, poison)
        tx.subjects.contribute("e" * 32, "node-1", 9, 1, ciphertext)
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    with coordinator.transaction() as tx:
        assert tx.forgets.get(campaign.campaign_id).state == "converged"
        assert "stored, and cannot be used" in tx.nodes.quarantined("node-1")[0].reason


def test_report_with_a_number_that_cannot_be_stored_is_put_aside_and_the_stream_goes_on(coordinator, nodes):
    huge = wire.ConnectRequest(telemetry=wire.Telemetry(inferences=2**64 - 1))
    assert coordinator.take("node-1", huge) == Effect()
    assert coordinator.take("node-1", nodes[0].heartbeat()[0]).replies
    with coordinator.transaction() as tx:
        assert tx.nodes.quarantined("node-1")[0].kind == "telemetry"


# Restored from a backup


def forget_all(coordinator, nodes, *tags):
    campaigns = []
    for tag in tags:
        campaigns.append(coordinator.forget(f"forget {tag}", tag)[0].campaign_id)
        coordinator.converse(*nodes)
    return campaigns


def test_node_restored_to_before_a_forget_goes_through_it_again(coordinator, nodes):
    node, _ = nodes
    backup = node.backup()
    first, second = forget_all(coordinator, nodes, ANN, BOB)
    node.restore(backup)
    assert {ANN, BOB} < set(node.active())
    coordinator.connect(node)
    for campaign_id in (first, second):
        assert states(coordinator, campaign_id) == {"node-1": "pending", "node-2": "verified"}
    coordinator.converse(*nodes)
    for campaign_id in (first, second):
        assert states(coordinator, campaign_id) == {"node-1": "verified", "node-2": "verified"}
    assert not {ANN, BOB} & set(node.active())
    assert row_of(coordinator, node).held_reason == ""


def test_node_restored_to_between_two_forgets_is_asked_for_both_again(coordinator, nodes):
    node, _ = nodes
    (first,) = forget_all(coordinator, nodes, ANN)
    backup = node.backup()
    (second,) = forget_all(coordinator, nodes, BOB)
    node.restore(backup)
    coordinator.connect(node)
    assert states(coordinator, first)["node-1"] == "suppressed"
    assert states(coordinator, second)["node-1"] == "pending"
    coordinator.converse(*nodes)
    assert states(coordinator, first)["node-1"] == "verified"
    assert states(coordinator, second)["node-1"] == "verified"
    assert [row.counter for row in node.journal.receipts] == [1, 2, 3]
    assert row_of(coordinator, node).receipt_counter == 3


def test_node_restored_to_a_state_that_it_had_gone_back_from_is_not_believed_by_number(coordinator, nodes):
    """It comes with as many receipts as the coordinator has of it, but with others."""
    node, _ = nodes
    early = node.backup()
    forget_all(coordinator, nodes, ANN)
    other_history = node.backup()
    coordinator.disconnect("node-1")
    node.restore(early)
    node.capture(CEM, code_sum(2))
    (again,) = forget_all(coordinator, nodes, ANN)
    assert len(node.journal.receipts) == len(other_history.receipts) == 1
    node.restore(other_history)
    coordinator.connect(node)
    assert states(coordinator, again)["node-1"] == "suppressed"
    coordinator.converse(*nodes)
    assert states(coordinator, again)["node-1"] == "verified"
    assert row_of(coordinator, node).held_reason == ""


def test_receipts_that_nobody_heard_of_show_a_restore_when_they_do_not_follow(coordinator, nodes):
    """The hello alone cannot tell: such receipts might have been lost on their way."""
    node, _ = nodes
    early = node.backup()
    (first,) = forget_all(coordinator, nodes, ANN)
    coordinator.forget("r1", BOB)
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()
    for message in coordinator.outbox("node-1"):
        node.receive(message)
    unheard = node.backup()
    assert len(unheard.receipts) == 2
    coordinator.disconnect("node-1")
    node.restore(early)
    coordinator.connect(node)
    serve(coordinator, node)
    coordinator.step()
    # Of the two receipts that it signs now, one arrives.
    answers = [answer for message in coordinator.outbox("node-1") for answer in node.receive(message)]
    assert kinds(answers) == ["receipt", "receipt"]
    coordinator.take("node-1", answers[0])
    assert states(coordinator, first)["node-1"] == "verified"
    coordinator.disconnect("node-1")
    node.restore(unheard)
    for message in coordinator.connect(node):
        coordinator.take("node-1", message)
    assert states(coordinator, first)["node-1"] == "suppressed"
    coordinator.converse(*nodes)
    assert states(coordinator, first)["node-1"] == "verified"
    assert row_of(coordinator, node).held_reason == ""
    assert [row.counter for row in node.journal.receipts] == [1, 2, 3, 4]


def test_receipts_that_were_lost_on_their_way_are_no_restore(coordinator, nodes):
    node, _ = nodes
    (first,) = forget_all(coordinator, nodes, ANN)
    campaign, _ = coordinator.forget("r1", BOB)
    for _ in range(2):
        serve(coordinator, *nodes)
        coordinator.step()
    # The node answers its order, and nobody hears of it.
    assert [kinds(node.receive(message)) for message in coordinator.outbox("node-1")] == [["receipt"]]
    coordinator.disconnect("node-1")
    before = states(coordinator, first)
    coordinator.converse(*nodes)
    assert states(coordinator, first) == before == {"node-1": "verified", "node-2": "verified"}
    assert states(coordinator, campaign.campaign_id) == {"node-1": "verified", "node-2": "verified"}
    assert len(node.journal.receipts) == 2


def test_node_restored_to_between_log_and_receipt_erases_again(coordinator, nodes):
    """Its generation is right, but what the order destroyed is back on its disk."""
    node, _ = nodes
    campaign, _ = coordinator.forget("r1", ANN)
    serve(coordinator, *nodes)
    backup = node.backup()
    coordinator.converse(*nodes)
    node.restore(backup)
    assert ANN in node.journal.enrolled
    coordinator.connect(node)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "suppressed"
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "verified"
    assert ANN not in node.journal.enrolled


def test_restored_node_must_go_on_from_the_receipt_that_its_hello_names(coordinator, nodes):
    node, other = nodes
    forget_all(coordinator, nodes, ANN)
    backup = node.backup()
    (campaign_id,) = forget_all(coordinator, nodes, BOB)
    node.restore(backup)
    foreign = signing.payload_hash(other.journal.receipts[0].envelope)
    node.amend = lambda receipt: setattr(receipt, "previous_receipt_hash", foreign)
    coordinator.disconnect("node-1")
    coordinator.converse(*nodes)
    assert states(coordinator, campaign_id)["node-1"] != "verified"
    assert "previous receipt" in row_of(coordinator, node).held_reason


def test_held_node_is_not_released_by_a_backup(coordinator, nodes):
    node, _ = nodes
    backup = node.backup()
    campaign, _ = coordinator.forget("r1", ANN)
    node.amend = lambda receipt: setattr(receipt, "statement", "trust me")
    coordinator.converse(*nodes)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "held"
    node.restore(backup)
    coordinator.connect(node)
    assert states(coordinator, campaign.campaign_id)["node-1"] == "held"
    assert kinds(coordinator.outbox("node-1")) == ["forget_log"]


def test_repeated_hello_changes_nothing_about_the_executions(coordinator, nodes):
    (campaign_id,) = forget_all(coordinator, nodes, ANN)
    before = states(coordinator, campaign_id)
    for node in nodes:
        coordinator.connect(node)
        nonce = os.urandom(32)
        coordinator.welcome(node.receive(wire.ConnectResponse(challenge=wire.Challenge(nonce=nonce)))[0], nonce)
    assert states(coordinator, campaign_id) == before == {"node-1": "verified", "node-2": "verified"}


def test_node_that_goes_back_all_the_time_is_let_in_later(coordinator, nodes, clock):
    """Each time costs a write for every forget that there ever was, on the thread that leases wait for."""
    (campaign_id,) = forget_all(coordinator, nodes, ANN)
    backup = nodes[0].backup()
    backup.receipts.clear()

    def go_back():
        coordinator.disconnect("node-1")
        nodes[0].restore(backup)
        coordinator.converse(*nodes)

    for _ in range(30):
        go_back()
    with pytest.raises(ReportError, match="30 times within the last hour"):
        go_back()
    assert states(coordinator, campaign_id)["node-1"] == "verified"
    clock.now_ms += 3_600_001
    go_back()
    assert states(coordinator, campaign_id)["node-1"] == "verified"
