import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.signing import sign

from fleet.domain.execution import ExecutionState
from fleet.errors import CertificateError
from fleet.trust.audit import verify_certificate
from fleet.trust.certificate import (
    LIMITS,
    AdapterVerdict,
    Certificate,
    NodeEvidence,
    build_certificate,
    read_certificate,
)
from fleet.trust.checks import CheckLine, failures
from fleet.trust.leaves import LeafKind, leaf_data
from fleet.trust.merkle import leaf_hash, prove_inclusion, root_hash
from fleet.trust.receipts import check_receipt

FORGOTTEN = "cc" * 16


def evidence(forget, receipt, leaves, index):
    return NodeEvidence(
        "n1",
        ExecutionState.VERIFIED,
        "",
        forget.node_public_key,
        receipt,
        prove_inclusion(leaves, index),
        check_receipt(receipt, forget.node_public_key, forget.expectation).lines,
    )


def content(forget, receipt=None):
    receipt = receipt or forget.signed()
    data = [b"before", leaf_data(LeafKind.FORGET_COMMAND, forget.command), b"between"]
    data += [leaf_data(LeafKind.RECEIPT, receipt), b"after"]
    leaves = [leaf_hash(entry) for entry in data]
    return Certificate(
        fleet_id="f1",
        campaign_id=forget.campaign_id,
        generation=4,
        issued_at_ms=1_000,
        subject_tags=(FORGOTTEN,),
        command=forget.command,
        command_inclusion=prove_inclusion(leaves, 1),
        tree_size=len(leaves),
        root_hash=root_hash(leaves),
        nodes=(evidence(forget, receipt, leaves, 3),),
        verdicts=(AdapterVerdict("subject-adapter", "EXACT", "nothing else depends on it"),),
    )


def with_node(forget, **changes):
    whole = content(forget)
    return replace(whole, nodes=(replace(whole.nodes[0], **changes),))


def failed(forget, whole):
    text = build_certificate(whole, forget.coordinator_key)
    return [line.name for line in failures(verify_certificate(text, forget.public_key))]


def test_a_certificate_holds_offline(forget):
    lines = verify_certificate(build_certificate(content(forget), forget.coordinator_key), forget.public_key)
    assert [str(line) for line in failures(lines)] == []
    assert {"certificate", "command in the log", "node n1: receipt in the log"} <= {
        line.name for line in lines
    }


def test_what_was_certified_can_be_read_back(forget):
    text = build_certificate(content(forget), forget.coordinator_key)
    _, read = read_certificate(text, forget.public_key)
    assert read == content(forget)
    assert read.limits == LIMITS


def test_another_coordinators_key_fails_it(forget):
    text = build_certificate(content(forget), Ed25519PrivateKey.generate())
    lines = verify_certificate(text, forget.public_key)
    assert [line.got for line in lines] == ["no signature by this key"]


def test_a_changed_payload_fails_it(forget):
    envelope = json.loads(build_certificate(content(forget), forget.coordinator_key))
    payload = base64.b64decode(envelope["payload"]).replace(b'"EXACT"', b'"exact"')
    envelope["payload"] = base64.b64encode(payload).decode()
    lines = verify_certificate(json.dumps(envelope), forget.public_key)
    assert [line.got for line in lines] == ["a signature that does not match"]


def test_another_payload_type_fails_it(forget):
    envelope = json.loads(build_certificate(content(forget), forget.coordinator_key))
    envelope["payloadType"] = "text/plain"
    assert [line.holds for line in verify_certificate(json.dumps(envelope), forget.public_key)] == [False]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"payload": "!"}', '{"payload": "e30=", "signatures": []}']
)
def test_what_is_no_certificate_is_an_error(forget, text):
    with pytest.raises(CertificateError, match="not a certificate"):
        verify_certificate(text, forget.public_key)


# From here on the coordinator itself signs something untrue, and the evidence tells.


def test_a_node_that_has_not_finished_fails_its_line(forget):
    assert failed(forget, with_node(forget, state=ExecutionState.APPLIED)) == ["node n1: state"]


def test_a_retired_node_needs_no_receipt(forget):
    whole = with_node(forget, state=ExecutionState.RETIRED, receipt=None, inclusion=None, checks=())
    assert failed(forget, whole) == []


def test_verified_without_a_receipt_fails(forget):
    assert failed(forget, with_node(forget, receipt=None)) == ["node n1: receipt"]


def test_a_receipt_by_another_key_fails(forget):
    forged = sign(Ed25519PrivateKey.generate(), forget.receipt())
    assert failed(forget, with_node(forget, receipt=forged)) == ["node n1: receipt"]


def test_a_receipt_that_is_not_in_the_log_fails(forget):
    whole = with_node(forget, receipt=forget.signed(erase_seconds=1.0))
    assert failed(forget, whole) == ["node n1: receipt in the log"]
    assert failed(forget, with_node(forget, inclusion=None)) == ["node n1: receipt in the log"]


def test_a_proof_against_another_tree_fails(forget):
    whole = replace(content(forget), tree_size=6)
    assert failed(forget, whole) == ["command in the log", "node n1: receipt in the log"]


def test_a_receipt_in_which_the_person_is_still_active_fails(forget):
    active = [*forget.receipt().active_adapters]
    active.append(type(active[0])(subject_tag=FORGOTTEN, digest=b"f" * 32))
    whole = content(forget, forget.signed(active_adapters=active))
    assert "node n1: forgotten tags still active" in failed(forget, whole)


@pytest.mark.parametrize("digest", ["head_digest", "lora_digest", "adapters_digest_after"])
def test_a_receipt_whose_digests_do_not_add_up_fails(forget, digest):
    whole = content(forget, forget.signed(**{digest: b"x" * 32}))
    assert "node n1: digest of adapters, LoRA and closed-form head" in failed(forget, whole)


def test_checks_that_failed_or_were_never_made_fail(forget):
    bad = CheckLine("ReRAM writes", False, "0", "1")
    assert failed(forget, with_node(forget, checks=(bad,))) == ["node n1: coordinator's checks"]
    assert failed(forget, with_node(forget, checks=())) == ["node n1: coordinator's checks"]


def test_not_affected_needs_a_receipt_that_says_so(forget):
    assert failed(forget, with_node(forget, state=ExecutionState.NOT_AFFECTED)) == ["node n1: outcome"]


def test_a_certificate_about_other_tags_than_the_command_fails(forget):
    whole = replace(content(forget), subject_tags=("ee" * 16,))
    assert failed(forget, whole) == ["command: subject tags"]


def test_a_command_by_another_key_fails(forget):
    forged = replace(content(forget), command=forget.signed())
    assert "command" in failed(forget, forged)
