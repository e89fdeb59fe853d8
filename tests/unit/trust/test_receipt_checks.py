from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto.signing import payload_hash, sign
from reram_fleet.v1.types_pb2 import RECEIPT_OUTCOME_NOT_AFFECTED, AdapterDigest, Envelope, Lease, ProbeResult

from fleet.domain.execution import HeldAtCommit
from fleet.trust.receipts import check_receipt

KEPT, LOCAL, FORGOTTEN, CANARY = ("aa" * 16, "bb" * 16, "cc" * 16, "dd" * 16)


def entry(tag, digest):
    return AdapterDigest(subject_tag=tag, digest=digest * 32)


HONEST = [entry(KEPT, b"k"), entry(CANARY, b"d")]


def test_an_honest_receipt_is_accepted(forget):
    verdict = check_receipt(forget.signed(), forget.node_public_key, forget.expectation)
    assert verdict.accepted, verdict.reason
    assert verdict.reason == ""
    assert not verdict.not_affected
    assert verdict.receipt_hash == payload_hash(forget.signed())


def test_a_person_enrolled_here_whom_the_revision_lacks_may_be_active(forget):
    envelope = forget.signed(active_adapters=[*HONEST, entry(LOCAL, b"b")])
    assert check_receipt(envelope, forget.node_public_key, forget.expectation).accepted


def test_a_node_that_held_nothing_says_so(forget):
    envelope = forget.signed(outcome=RECEIPT_OUTCOME_NOT_AFFECTED, subject_adapters_erased=0)
    verdict = check_receipt(envelope, forget.node_public_key, forget.expectation)
    assert verdict.accepted
    assert verdict.not_affected


LIES = [
    ("fleet", {"fleet_id": "f2"}),
    ("node", {"node_id": "n2"}),
    ("campaign", {"campaign_id": "other"}),
    ("generation", {"generation": 3}),
    ("command hash", {"command_hash": b"x" * 32}),
    ("counter", {"counter": 2}),
    ("counter", {"counter": 0}),
    ("previous receipt", {"previous_receipt_hash": b"x" * 32}),
    ("missing subject adapters", {"active_adapters": HONEST[:1]}),
    ("unknown subject adapters", {"active_adapters": [*HONEST, entry("ee" * 16, b"e")]}),
    ("differing subject adapters", {"active_adapters": [entry(KEPT, b"x"), HONEST[1]]}),
    ("differing subject adapters", {"active_adapters": [*HONEST, entry(LOCAL, b"x")]}),
    ("subject adapters listed once each", {"active_adapters": [*HONEST, HONEST[0]]}),
    ("shared LoRA digest", {"lora_digest": b"x" * 32, "active_adapters": HONEST}),
    ("closed-form head digest", {"head_digest": b"x" * 32, "active_adapters": HONEST}),
    ("closed-form head digest", {"head_digest": b"", "active_adapters": HONEST}),
    ("revision digest", {"revision_digest": b"x" * 32}),
    ("digest of all adapters", {"adapters_digest_after": b"x" * 32}),
    ("outcome", {"outcome": 0}),
    ("outcome", {"outcome": 77}),
    ("erased by a node that held nothing", {"outcome": RECEIPT_OUTCOME_NOT_AFFECTED}),
    ("erased by a node that held something", {"subject_adapters_erased": 0}),
    ("subject adapters erased", {"subject_adapters_erased": 2}),
    ("LoRA rows erased", {"lora_rows_erased": 2}),
    ("captured samples erased", {"code_samples_erased": 5000}),
    ("ReRAM writes", {"reram_writes": 1}),
    ("statement", {"statement": "trust me"}),
    ("challenge nonce", {"challenge_nonce": b"old"}),
    ("probe answers", {"probe_results": [ProbeResult(subject_tag=FORGOTTEN), ProbeResult(subject_tag=CANARY)]}),
    ("probe answers", {"probe_results": [ProbeResult(), ProbeResult()]}),
    ("probe answers", {"probe_results": []}),
]


@pytest.mark.parametrize(("line", "changes"), LIES)
def test_each_lie_fails_its_own_line_and_no_other(forget, line, changes):
    verdict = check_receipt(forget.signed(**changes), forget.node_public_key, forget.expectation)
    assert [failed.name for failed in verdict.failures] == [line]
    assert not verdict.accepted
    assert f"{line}: expected" in verdict.reason


#: Three samples of the person contributed, an adapter of them in the revision, and a row in its LoRA.
HELD = HeldAtCommit(subject_adapters=1, lora_rows=1, samples=3, keys=1)
TRUE = {"subject_adapters_erased": 1, "lora_rows_erased": 1, "code_samples_erased": 3, "keys_destroyed": 1}


def test_a_node_that_erased_what_it_was_known_to_hold_is_accepted(forget):
    verdict = check_receipt(forget.signed(**TRUE), forget.node_public_key, replace(forget.expectation, held=HELD))
    assert verdict.accepted, verdict.reason


def test_a_node_that_erased_more_than_it_was_known_to_hold_is_accepted(forget):
    envelope = forget.signed(**{**TRUE, "code_samples_erased": 30, "keys_destroyed": 3})
    assert check_receipt(envelope, forget.node_public_key, replace(forget.expectation, held=HELD)).accepted


@pytest.mark.parametrize(
    ("line", "lie"),
    [
        ("subject adapters erased", {"subject_adapters_erased": 0}),
        ("LoRA rows erased", {"lora_rows_erased": 0}),
        ("captured samples erased", {"code_samples_erased": 2}),
        ("keys destroyed", {"keys_destroyed": 0}),
    ],
)
def test_a_node_that_says_less_than_it_was_known_to_hold_is_not(forget, line, lie):
    verdict = check_receipt(
        forget.signed(**{**TRUE, **lie}), forget.node_public_key, replace(forget.expectation, held=HELD)
    )
    assert [failed.name for failed in verdict.failures] == [line]


def test_a_node_that_held_something_cannot_say_that_it_was_not_affected(forget):
    nothing = dict.fromkeys(TRUE, 0)
    verdict = check_receipt(
        forget.signed(outcome=RECEIPT_OUTCOME_NOT_AFFECTED, **nothing),
        forget.node_public_key,
        replace(forget.expectation, held=HELD),
    )
    assert not verdict.accepted


def test_a_forgotten_adapter_that_is_active_is_named(forget):
    envelope = forget.signed(active_adapters=[*HONEST, entry(FORGOTTEN, b"f")])
    verdict = check_receipt(envelope, forget.node_public_key, forget.expectation)
    failed = {line.name: line.got for line in verdict.failures}
    assert failed["forgotten subject adapters"] == FORGOTTEN


def test_every_failed_line_is_listed(forget):
    envelope = forget.signed(generation=9, reram_writes=3, challenge_nonce=b"")
    verdict = check_receipt(envelope, forget.node_public_key, forget.expectation)
    assert {line.name for line in verdict.failures} == {"generation", "ReRAM writes", "challenge nonce"}


@pytest.mark.parametrize("forgery", ["other key", "changed bytes", "other type", "empty"])
def test_a_receipt_that_the_node_did_not_sign_has_one_line(forget, forgery):
    envelope = {
        "other key": sign(Ed25519PrivateKey.generate(), forget.receipt()),
        "changed bytes": Envelope(
            payload_type=forget.signed().payload_type,
            payload=forget.receipt(generation=5).SerializeToString(),
            key_id=forget.signed().key_id,
            signature=forget.signed().signature,
        ),
        "other type": sign(forget.node_key, Lease()),
        "empty": Envelope(),
    }[forgery]
    verdict = check_receipt(envelope, forget.node_public_key, forget.expectation)
    assert [line.name for line in verdict.failures] == ["signature"]
    assert verdict.receipt is None
    assert not verdict.accepted
