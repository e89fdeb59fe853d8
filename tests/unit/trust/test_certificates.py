import base64
import json
from dataclasses import replace

import pytest
from reram_fleet.crypto.signing import sign
from reram_fleet.v1.types_pb2 import (
    AUDIT_EVENT_KIND_NODE_ENROLLED,
    AUDIT_EVENT_KIND_NODE_HELD,
    AUDIT_EVENT_KIND_NODE_LOST,
    AUDIT_EVENT_KIND_NODE_RETIRED,
    RECEIPT_OUTCOME_NOT_AFFECTED,
    ForgetCommand,
)

from fleet.domain.execution import ExecutionState
from fleet.errors import CertificateError
from fleet.trust import certificate
from fleet.trust.audit import receipts_there, verify_certificate
from fleet.trust.certificate import LIMITS, AdapterVerdict, build_certificate, read_certificate, read_file, read_proof
from fleet.trust.checks import CheckLine, failures
from fleet.trust.evidence import certified_tree
from fleet.trust.keys import PrivateKeys
from fleet.trust.merkle import InclusionProof
from tests.unit.trust.certified import EXACT, content, event, given_up, with_nodes
from tests.unit.trust.conftest import CANARY, FORGOTTEN


def with_node(forget, **changes):
    whole = content(forget)
    return with_nodes(whole, replace(whole.nodes[0], **changes))


def failed(forget, whole, proofs=()):
    text = build_certificate(whole, forget.coordinator)
    return [line.name for line in failures(verify_certificate(text, forget.public_key, proofs))]


def test_a_certificate_holds_offline(forget):
    lines = verify_certificate(build_certificate(content(forget), forget.coordinator), forget.public_key)
    assert [str(line) for line in failures(lines)] == []
    assert {"certificate", "command in the log", "node n1: receipt in the log"} <= {line.name for line in lines}


def test_what_was_certified_can_be_read_back(forget):
    text = build_certificate(content(forget), forget.coordinator)
    _, read = read_certificate(text, forget.public_key)
    assert read == content(forget)
    assert read.limits == LIMITS


def test_another_coordinators_key_fails_it(forget):
    text = build_certificate(content(forget), PrivateKeys.drawn())
    lines = verify_certificate(text, forget.public_key)
    assert [line.got for line in lines] == ["no signature by this key"]


def test_a_changed_payload_fails_it(forget):
    envelope = json.loads(build_certificate(content(forget), forget.coordinator))
    payload = base64.b64decode(envelope["payload"]).replace(b'"EXACT"', b'"exact"')
    envelope["payload"] = base64.b64encode(payload).decode()
    lines = verify_certificate(json.dumps(envelope), forget.public_key)
    assert [line.got for line in lines] == ["a signature that does not match"]


def test_another_payload_type_fails_it(forget):
    envelope = json.loads(build_certificate(content(forget), forget.coordinator))
    envelope["payloadType"] = "text/plain"
    assert [line.holds for line in verify_certificate(json.dumps(envelope), forget.public_key)] == [False]


@pytest.mark.parametrize(
    "written", [b"\xff\xfe\x00\x01", b"x" * 65], ids=["binary", "larger than a certificate may be"]
)
def test_a_file_that_cannot_be_one_is_an_error(tmp_path, monkeypatch, written):
    monkeypatch.setattr(certificate, "MAX_BYTES", 64)
    (tmp_path / "certificate.json").write_bytes(written)
    with pytest.raises(CertificateError, match="is no certificate"):
        read_file(tmp_path / "certificate.json")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "", "[]", "{}", '{"payload": "!"}', '{"payload": "e30=", "signatures": []}']
)
def test_what_is_no_certificate_is_an_error(forget, text):
    with pytest.raises(CertificateError, match="not a certificate"):
        verify_certificate(text, forget.public_key)


# From here on the coordinator itself signs something untrue, and the evidence tells.


def test_a_node_that_has_not_finished_fails_its_line(forget):
    assert "node n1: state" in failed(forget, with_node(forget, state=ExecutionState.APPLIED))


GIVEN_UP = [(ExecutionState.RETIRED, AUDIT_EVENT_KIND_NODE_RETIRED), (ExecutionState.LOST, AUDIT_EVENT_KIND_NODE_LOST)]


@pytest.mark.parametrize(("state", "kind"), GIVEN_UP)
def test_a_node_that_was_given_up_needs_no_receipt_but_a_logged_decision(forget, state, kind):
    whole = given_up(content(forget, events=[event(forget, kind)]), state)
    assert failed(forget, whole) == []
    assert [(node.node_id, node.reason) for node in whole.summary.excepted] == [("n1", "fell off a lorry")]


@pytest.mark.parametrize(("state", "kind"), GIVEN_UP)
def test_a_node_that_is_said_to_be_given_up_without_a_decision_fails(forget, state, kind):
    name = f"node n1: {state}"
    assert failed(forget, given_up(content(forget), state)) == [name]
    decisions = {
        name: [event(forget, AUDIT_EVENT_KIND_NODE_HELD)],
        f"{name}: node": [event(forget, kind, "n2")],
        f"{name}: fleet": [event(forget, kind, fleet_id="f2")],
        f"{name}: forget": [event(forget, kind, generation=3)],
    }
    for line, events in decisions.items():
        assert failed(forget, given_up(content(forget, events=events), state)) == [line]
    of_another_forget = [event(forget, kind, campaign_id="01aryz6s410000000000000001")]
    whole = given_up(content(forget, events=of_another_forget), state)
    assert failed(forget, whole) == [f"{name}: forget"]


def test_a_decision_that_is_not_the_coordinators_or_not_in_the_log_fails(forget):
    state, kind = GIVEN_UP[0]
    whole = given_up(content(forget, events=[event(forget, kind)]), state)
    (logged,) = whole.nodes[0].events
    for line, envelope in {
        "node n1: retired": sign(forget.node_key, event(forget, kind)),
        "node n1: retired in the log": event(forget, kind, reason="other words"),
    }.items():
        node = replace(whole.nodes[0], events=(replace(logged, envelope=envelope),))
        assert failed(forget, with_nodes(whole, node)) == [line]


def test_a_node_that_is_left_out_or_stands_in_it_twice_fails(forget):
    whole = content(forget)
    number, root = "command: number of nodes", "command: root over the nodes"
    assert failed(forget, with_nodes(whole)) == [number, root, "nodes", "verdict: something was held"]
    assert failed(forget, with_nodes(whole, *whole.nodes * 2)) == [number, "nodes named twice"]


def test_another_node_in_the_place_of_one_fails(forget):
    assert "command: root over the nodes" in failed(forget, with_node(forget, node_id="n2"))


def test_who_came_after_the_commit_is_not_among_the_commands_nodes(forget):
    joined = [event(forget, AUDIT_EVENT_KIND_NODE_ENROLLED, "n2")]
    whole = content(forget, events=joined)
    (committed,) = whole.nodes
    newcomer = replace(given_up(whole, ExecutionState.RETIRED).nodes[0], node_id="n2", joined=True)
    whole = with_nodes(whole, replace(committed, events=()), newcomer)
    # It has come; that it went is not in the log.
    assert failed(forget, whole) == ["node n2: retired"]


def test_a_node_may_not_be_said_to_have_come_later(forget):
    whole = with_node(forget, joined=True)
    assert {"command: root over the nodes", "node n1: enrolled"} <= set(failed(forget, whole))


def test_a_command_of_before_they_named_their_nodes_says_so(forget):
    command = ForgetCommand.FromString(forget.command.payload)
    command.ClearField("nodes")
    command.ClearField("nodes_root")
    whole = content(forget, command=forget.coordinator.sign(command))
    lines = verify_certificate(build_certificate(whole, forget.coordinator), forget.public_key)
    (line,) = [line for line in failures(lines) if line.name == "command: nodes"]
    assert "of before" in line.got


def test_nothing_held_fails_where_a_receipt_erased_somebody(forget):
    nothing = (AdapterVerdict("subject-adapter", "NOTHING HELD", ""),)
    said = "verdict: nodes that erased more than the planted probe"
    assert failed(forget, replace(content(forget), verdicts=nothing)) == [said]
    samples = content(forget, forget.signed(subject_adapters_erased=0, code_samples_erased=3))
    assert failed(forget, replace(samples, verdicts=nothing)) == [said]


def held_nobody(forget):
    """Return the certificate of a forget whose one node held nothing."""
    receipt = forget.signed(outcome=RECEIPT_OUTCOME_NOT_AFFECTED, subject_adapters_erased=0)
    whole = content(forget, receipt)
    return with_nodes(whole, replace(whole.nodes[0], state=ExecutionState.NOT_AFFECTED))


def test_exact_fails_where_no_receipt_erased_anybody(forget):
    assert failed(forget, held_nobody(forget)) == ["verdict: something was held"]
    nothing = (AdapterVerdict("subject-adapter", "NOTHING HELD", ""),)
    assert failed(forget, replace(held_nobody(forget), verdicts=nothing)) == []


@pytest.mark.parametrize(
    ("verdicts", "line"),
    [
        ((), "verdict subject-adapter"),
        ((replace(EXACT, verdict="PERFECT"),), "verdict subject-adapter"),
        ((EXACT, AdapterVerdict("cohort-lora", "APPROXIMATE", "")), "verdict cohort-lora"),
        ((EXACT, AdapterVerdict("shared-lora", "NOTHING HELD", "")), "verdict shared-lora"),
        ((EXACT, AdapterVerdict("telepathy", "EXACT", "")), "verdict telepathy"),
        ((EXACT, EXACT), "verdicts: one for each kind of adapter"),
    ],
)
def test_verdicts_that_no_forget_ends_with_fail(forget, verdicts, line):
    assert failed(forget, replace(content(forget), verdicts=verdicts)) == [line]


def test_who_is_forgotten_cannot_all_be_planted(forget):
    whole = replace(content(forget), planted_tags=(FORGOTTEN,))
    assert "planted probe" in failed(forget, whole)
    assert "planted probe" in failed(forget, replace(content(forget), planted_tags=(CANARY,)))


def test_verified_without_a_receipt_fails(forget):
    assert "node n1: receipt" in failed(forget, with_node(forget, receipt=None))


def test_a_receipt_by_another_key_fails(forget):
    forged = PrivateKeys.drawn().sign(forget.receipt())
    assert failed(forget, with_node(forget, receipt=forged)) == ["node n1: receipt"]


def test_a_receipt_that_is_not_in_the_log_fails(forget):
    whole = with_node(forget, receipt=forget.signed(erase_seconds=1.0))
    assert failed(forget, whole) == ["node n1: receipt in the log"]
    assert failed(forget, with_node(forget, inclusion=None)) == ["node n1: receipt in the log"]


def test_a_proof_against_another_tree_fails(forget):
    whole = replace(content(forget), tree_size=7)
    assert failed(forget, whole) == ["command in the log", "node n1: receipt in the log"]


def test_a_receipt_in_which_the_person_is_still_active_fails(forget):
    active = [*forget.receipt().active_adapters]
    active.append(type(active[0])(subject_tag=FORGOTTEN, digest=b"f" * 32))
    whole = content(forget, forget.signed(active_adapters=active))
    assert "node n1: forgotten tags still active" in failed(forget, whole)


@pytest.mark.parametrize("digest", ["head_digest", "lora_digest", "adapters_digest_after"])
def test_a_receipt_whose_digests_do_not_add_up_fails(forget, digest):
    whole = content(forget, forget.signed(**{digest: b"x" * 32}))
    assert "node n1: digest of adapters, LoRA, closed-form head and erasers" in failed(forget, whole)


def test_checks_that_failed_or_were_never_made_fail(forget):
    bad = CheckLine("ReRAM writes", False, "0", "1")
    assert failed(forget, with_node(forget, checks=(bad,))) == ["node n1: coordinator's checks"]
    assert failed(forget, with_node(forget, checks=())) == ["node n1: coordinator's checks"]


def test_not_affected_needs_a_receipt_that_says_so(forget):
    assert "node n1: outcome" in failed(forget, with_node(forget, state=ExecutionState.NOT_AFFECTED))


def test_a_certificate_about_other_tags_than_the_command_fails(forget):
    whole = replace(content(forget), subject_tags=("ee" * 16,))
    assert failed(forget, whole) == ["command: subject tags"]


def test_a_command_by_another_key_fails(forget):
    whole = content(forget)
    forged = replace(whole, command=replace(whole.command, envelope=forget.signed()))
    assert "command" in failed(forget, forged)


# Receipts stand beside what is signed, or are shown one by one.


def without_receipts(whole):
    """Return a certificate alone, and the proof of its one node."""
    tree = certified_tree(node.certified for node in whole.nodes)
    return replace(whole, nodes=()), replace(whole.nodes[0], in_certificate=tree.prove_inclusion(0))


def test_a_certificate_without_receipts_holds_on_the_signers_word_and_says_so(forget):
    alone, proof = without_receipts(content(forget))
    assert failed(forget, alone) == []
    assert (receipts_there(alone), receipts_there(alone, [proof])) == ((0, 1), (1, 1))


def test_a_node_is_checked_by_its_proof(forget):
    alone, proof = without_receipts(content(forget))
    text = build_certificate(alone, forget.coordinator)
    names = {line.name for line in verify_certificate(text, forget.public_key, [proof]) if line.holds}
    assert {"node n1: in the certificate", "node n1: receipt in the log", "command: root over the nodes"} <= names
    assert not {"node n1: receipt in the log"} & {line.name for line in verify_certificate(text, forget.public_key)}


@pytest.mark.parametrize(
    "changes",
    [
        {"state": ExecutionState.NOT_AFFECTED},
        {"joined": True},
        {"checks": ()},
        {"node_id": "n2"},
        {"receipt_public_key": bytes(32)},
        {"in_certificate": None},
        {"in_certificate": InclusionProof(0, 2, (bytes(32),))},
    ],
)
def test_a_proof_of_something_else_than_what_was_signed_fails(forget, changes):
    alone, proof = without_receipts(content(forget))
    changed = replace(proof, **changes)
    assert f"node {changed.node_id}: in the certificate" in failed(forget, alone, [changed])


def test_receipts_beside_a_certificate_are_those_that_it_binds(forget):
    whole = content(forget)
    other = replace(whole.nodes[0], receipt=forget.signed(erase_seconds=1.0))
    assert "nodes: root over their receipts" in failed(forget, replace(whole, nodes=(other,)))
    assert "nodes: how many are in which state" in failed(forget, replace(whole, nodes=whole.nodes * 2))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"erasing": 0}, "nodes: how many erased more than the planted probe"),
        ({"counts": {ExecutionState.VERIFIED: 1, ExecutionState.PENDING: 1}}, "nodes: neither done nor given up"),
        ({"counts": {ExecutionState.VERIFIED: 1, ExecutionState.LOST: 1}}, "nodes without which it has converged"),
    ],
)
def test_a_summary_that_is_not_what_the_nodes_say_fails(forget, changes, line):
    whole = content(forget)
    assert line in failed(forget, replace(whole, summary=replace(whole.summary, **changes)))


def test_an_exception_that_is_named_twice_fails(forget):
    whole = given_up(content(forget, events=[event(forget, AUDIT_EVENT_KIND_NODE_LOST)]), ExecutionState.LOST)
    twice = replace(whole.summary, exceptions=whole.summary.exceptions * 2)
    assert "exceptions named twice" in failed(forget, replace(whole, summary=twice))


def test_a_certificate_of_before_whose_receipts_were_signed_with_it_still_holds(forget):
    whole = content(forget)
    envelope = json.loads(build_certificate(whole, forget.coordinator))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["nodes"] = envelope.pop("nodes")
    payload, kind = json.dumps(statement).encode(), "application/vnd.reram-fleet.certificate.v1+json"
    envelope |= {"payloadType": kind, "payload": base64.b64encode(payload).decode()}
    envelope["signatures"][0]["sig"] = base64.b64encode(forget.coordinator.sign_payload(kind, payload)).decode()
    lines = verify_certificate(json.dumps(envelope), forget.public_key)
    assert [str(line) for line in failures(lines)] == []
    _, read = read_certificate(json.dumps(envelope), forget.public_key)
    assert receipts_there(read) == (1, 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nodes": [{}]}', '{"nodes": 3}'])
def test_what_is_no_proof_is_an_error(text):
    with pytest.raises(CertificateError, match="not a proof"):
        read_proof(text)
