"""Forgets on a node: suppressed at once and for good, then erased and signed for."""

from __future__ import annotations

import pytest
from reram_fleet.crypto import digests, sealing, signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import engine_pb2, node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectResponse

from edge_node.agent.node import Node
from edge_node.errors import JournalError, LogRejectedError, ProtocolError
from edge_node.testing import FakeCoordinator, log_range
from tests.unit.node.talk import (
    Restart,
    Samples,
    adapter,
    forgotten_everywhere,
    grant,
    identity,
    only,
    reason,
    receipt_of,
    serves,
)

# Suppress


def test_suppression_is_durable_and_removes_the_adapter(
    node: Node, coordinator: FakeCoordinator, samples: Samples, restart: Restart
) -> None:
    tag = new_tag()
    node.enroll(coordinator.consent(tag), samples(0))
    coordinator.forget(tag)
    (suppressed,) = only(node.receive(coordinator.log_after(0)), "suppressed")
    assert (suppressed.generation, suppressed.log_head) == (1, coordinator.log_head)
    assert not node.status().subject_tags
    restarted = restart().status()
    assert (restarted.generation, list(restarted.subject_tags)) == (1, [])


def test_whom_a_failing_journal_could_not_note_as_forgotten_does_not_come_back(
    node: Node, coordinator: FakeCoordinator, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere, newcomer = new_tag(), new_tag(), new_tag()
    node.enroll(coordinator.consent(here), samples(0))
    node.receive(coordinator.revision(identity(node), 1, [adapter(elsewhere, 1)]))
    coordinator.forget(here, elsewhere)

    def fail(*arguments: object) -> None:
        raise JournalError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(node.context.journal, "append_forget", fail)
        with pytest.raises(JournalError, match="full"):
            node.receive(coordinator.log_after(0))
    # What is in SRAM is put together anew.
    node.enroll(coordinator.consent(newcomer), samples(2))
    assert list(node.status().subject_tags) == [newcomer]
    assert not serves(node)

    (suppressed,) = only(node.receive(coordinator.log_after(0)), "suppressed")
    assert suppressed.generation == 1
    assert list(node.status().subject_tags) == [newcomer]


def test_the_same_range_again_answers_the_same_and_changes_nothing(node: Node, coordinator: FakeCoordinator) -> None:
    coordinator.forget(new_tag())
    coordinator.forget(new_tag())
    (first,) = only(node.receive(coordinator.log_after(0)), "suppressed")
    assert first.HasField("session_key")
    for again in (coordinator.log_after(0), coordinator.log_after(1)):
        (said,) = only(node.receive(again), "suppressed")
        assert (said.generation, said.log_head) == (first.generation, first.log_head)
        # Nothing new is suppressed: the session keeps its key.
        assert not said.HasField("session_key")


def test_node_that_has_suppressed_asks_at_once_for_a_lease_of_that_generation(
    node: Node, coordinator: FakeCoordinator
) -> None:
    coordinator.forget(new_tag())
    (suppressed,) = only(node.receive(coordinator.log_after(0)), "suppressed")
    assert suppressed.heartbeat.generation == 1
    node.receive(coordinator.lease(node.node_id, suppressed.heartbeat.lease_nonce))
    assert node.serve_status().state == types.SERVE_STATE_SERVING


@pytest.mark.parametrize("broken", ["gap", "forged", "fleet", "chain", "tag", "split view"])
def test_a_log_that_does_not_hold_quarantines_with_gap_and_journals_nothing(
    node: Node, coordinator: FakeCoordinator, broken: str, samples: Samples
) -> None:
    tag = new_tag()
    node.enroll(coordinator.consent(tag), samples(0))
    coordinator.forget(new_tag())
    node.receive(coordinator.log_after(0))
    grant(node, coordinator)
    assert serves(node)
    entry = {
        "gap": lambda: coordinator.sign(coordinator.command([tag], generation=3)),
        "forged": lambda: FakeCoordinator().sign(coordinator.command([tag])),
        "fleet": lambda: coordinator.sign(coordinator.command([tag], fleet_id="other-fleet")),
        "chain": lambda: coordinator.sign(coordinator.command([tag], previous_hash=bytes(32))),
        "tag": lambda: coordinator.sign(coordinator.command(["s04"])),
        "split view": lambda: coordinator.sign(coordinator.command([tag], generation=1, previous_hash=bytes(32))),
    }[broken]()
    with pytest.raises(LogRejectedError):
        node.receive(log_range([entry]))
    assert (serves(node), reason(node)) == (False, "GAP")
    assert (node.status().generation, list(node.status().subject_tags)) == (1, [tag])


def test_after_a_gap_the_right_range_and_a_new_lease_let_the_node_serve(
    node: Node, coordinator: FakeCoordinator
) -> None:
    grant(node, coordinator)
    coordinator.forget(new_tag())
    coordinator.forget(new_tag())
    (open_request,) = only(node.heartbeat(), "heartbeat")
    with pytest.raises(LogRejectedError, match="gap"):
        node.receive(coordinator.log_after(1))
    # Asked for before the gap: the coordinator may have answered before the entries existed.
    node.receive(coordinator.lease(node.node_id, open_request.lease_nonce, generation=0))
    assert reason(node) == "GAP"
    node.receive(coordinator.log_after(0))
    grant(node, coordinator)
    assert serves(node)


@pytest.mark.parametrize("message", ["lease", "revision"])
def test_a_message_signed_by_somebody_else_withdraws_the_lease(
    node: Node, coordinator: FakeCoordinator, message: str
) -> None:
    grant(node, coordinator)
    stranger = FakeCoordinator()
    (heartbeat,) = only(node.heartbeat(), "heartbeat")
    forged = {
        "lease": lambda: stranger.lease(node.node_id, heartbeat.lease_nonce),
        "revision": lambda: stranger.revision(identity(node), 1, []),
    }[message]()
    with pytest.raises(ProtocolError, match="does not verify"):
        node.receive(forged)
    assert reason(node) == "NO_LEASE"


def test_a_lease_of_another_node_is_refused(node: Node, coordinator: FakeCoordinator) -> None:
    (heartbeat,) = only(node.heartbeat(), "heartbeat")
    with pytest.raises(ProtocolError, match="node-2"):
        node.receive(coordinator.lease("node-2", heartbeat.lease_nonce))


# Erase


def probe(voice: int) -> list[int]:
    return [4000 * (k == voice) for k in range(8)]


def test_the_receipt_says_what_was_erased(node: Node, coordinator: FakeCoordinator, samples: Samples) -> None:
    kept, _, _ = forgotten_everywhere(node, coordinator, samples)
    order = coordinator.erase(1, 2, nonce=b"challenge", probes=[probe(2), probe(0)])
    receipt = receipt_of(node.receive(order), node)
    assert receipt.outcome == types.RECEIPT_OUTCOME_ERASED
    assert (receipt.generation, receipt.campaign_id) == (1, "campaign-1")
    assert receipt.command_hash == signing.payload_hash(coordinator.log[0])
    assert (receipt.subject_adapters_erased, receipt.lora_rows_erased, receipt.code_samples_erased) == (2, 1, 2)
    # The person's key and that of the superseded revision.
    assert receipt.keys_destroyed == 2
    assert [result.subject_tag for result in receipt.probe_results] == ["", kept]
    assert receipt.challenge_nonce == b"challenge"
    assert (receipt.counter, receipt.previous_receipt_hash) == (1, digests.ZERO_HASH)
    assert receipt.reram_writes == 0
    assert [entry.subject_tag for entry in receipt.active_adapters] == [kept]
    assert receipt.active_adapters[0].digest == digests.subject_digest(adapter(kept, 0))
    phases = {types.EnergyPhase.Name(cost.phase).removeprefix("ENERGY_PHASE_") for cost in receipt.costs}
    # Making the new revision active, which writes SRAM, is part of the forget.
    assert phases == {"ERASE", "PROGRAM", "RADIO", "VERIFY"}


def test_after_an_erase_no_key_and_no_row_of_the_person_is_left(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    _, person, _ = forgotten_everywhere(node, coordinator, samples)
    journal, keys = node.context.journal, node.context.cipher
    assert keys.subject_keys.exists(person)
    assert len(keys.revision_keys.ids()) == 2
    node.receive(coordinator.erase(1, 2))
    assert keys.subject_keys.ids() == set()
    assert [key_id[:2] for key_id in keys.revision_keys.ids()] == ["2-"]
    assert (journal.enrolments(), journal.superseded_revisions()) == ([], [])


def test_codes_stay_for_unlearning_until_the_erase_order(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    _, person, _ = forgotten_everywhere(node, coordinator, samples)
    key = sealing.new_key()
    state = sealing.seal_symmetric(key, sealing.state_purpose("job-1"), types.LoraState().SerializeToString())

    def unlearn() -> engine_pb2.RunRoundResponse:
        kind = types.LEARNING_KIND_UNLEARN_LORA
        ticket = coordinator.ticket(identity(node), node.session_public_key, key, kind=kind, forget_tags=[person])
        return node.run_round(ticket, state)

    assert unlearn().metrics["forget"] == 1.0
    receipt = receipt_of(node.receive(coordinator.erase(1, 2)), node)
    assert unlearn().metrics["forget"] == 0.0
    # The repair is part of what this forget took.
    assert types.ENERGY_PHASE_TRAIN in {cost.phase for cost in receipt.costs}


def test_a_node_that_held_nothing_says_so(node: Node, coordinator: FakeCoordinator) -> None:
    coordinator.forget(new_tag())
    node.receive(coordinator.log_after(0))
    receipt = receipt_of(node.receive(coordinator.erase(1, 0)), node)
    assert receipt.outcome == types.RECEIPT_OUTCOME_NOT_AFFECTED
    assert receipt.keys_destroyed == 0


def test_an_order_is_not_carried_out_before_its_revision_is_active(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    tag = new_tag()
    node.enroll(coordinator.consent(tag), samples(0))
    coordinator.forget(tag)
    node.receive(coordinator.log_after(0))
    assert node.receive(coordinator.erase(1, 1)) == []
    node.receive(coordinator.revision(identity(node), 1, []))
    assert receipt_of(node.receive(coordinator.erase(1, 1)), node).code_samples_erased == 3


def test_an_order_for_a_generation_not_yet_suppressed_is_not_carried_out(
    node: Node, coordinator: FakeCoordinator
) -> None:
    coordinator.forget(new_tag())
    assert node.receive(coordinator.erase(1, 0)) == []


def test_an_active_revision_that_still_holds_the_tag_is_never_called_erased(
    node: Node, coordinator: FakeCoordinator
) -> None:
    tag = new_tag()
    node.receive(coordinator.revision(identity(node), 1, [adapter(tag, 0)]))
    coordinator.forget(tag)
    node.receive(coordinator.log_after(0))
    assert node.receive(coordinator.erase(1, 1)) == []


def test_a_repeated_order_sends_the_same_receipt(
    node: Node, coordinator: FakeCoordinator, samples: Samples, restart: Restart
) -> None:
    forgotten_everywhere(node, coordinator, samples)
    order = coordinator.erase(1, 2, nonce=b"one")
    first = node.receive(order)
    assert node.receive(order) == first
    assert restart().receive(order) == first


def test_a_receipt_is_sent_again_after_a_reconnect_until_it_is_acknowledged(
    node: Node, coordinator: FakeCoordinator, restart: Restart
) -> None:
    coordinator.forget(new_tag())
    node.receive(coordinator.log_after(0))
    (receipt,) = only(node.receive(coordinator.erase(1, 0)), "receipt")
    challenge = ConnectResponse(challenge=node_pb2.Challenge(nonce=b"c"))
    node = restart()
    assert only(node.receive(challenge), "receipt") == [receipt]
    ack = node_pb2.ReceiptAck(generation=1, receipt_hash=signing.payload_hash(receipt), accepted=True)
    node.receive(ConnectResponse(receipt_ack=ack))
    assert only(node.receive(challenge), "receipt") == []
    # Another challenge is another question, as after a restore from a backup.
    (again,) = only(node.receive(coordinator.erase(1, 0, nonce=b"again")), "receipt")
    assert again != receipt


def test_a_refused_receipt_holds_the_node_and_another_challenge_gets_another_receipt(
    node: Node, coordinator: FakeCoordinator, samples: Samples
) -> None:
    forgotten_everywhere(node, coordinator, samples)
    grant(node, coordinator)
    answers = node.receive(coordinator.erase(1, 2, nonce=b"one"))
    first, (envelope,) = receipt_of(answers, node), only(answers, "receipt")
    refusal = node_pb2.ReceiptAck(generation=1, receipt_hash=signing.payload_hash(envelope), reason="probe")
    node.receive(ConnectResponse(receipt_ack=refusal))
    assert (serves(node), reason(node)) == (False, "HELD")
    second = receipt_of(node.receive(coordinator.erase(1, 2, nonce=b"two")), node)
    assert (second.counter, second.previous_receipt_hash) == (2, signing.payload_hash(envelope))
    assert (second.code_samples_erased, second.keys_destroyed) == (first.code_samples_erased, first.keys_destroyed)


def test_hello_answers_the_challenge_and_says_where_the_node_stands(node: Node, coordinator: FakeCoordinator) -> None:
    coordinator.forget(new_tag())
    node.receive(coordinator.log_after(0))
    answers = node.receive(ConnectResponse(challenge=node_pb2.Challenge(nonce=b"fresh")))
    assert answers[0].WhichOneof("message") == "hello"
    hello = signing.open_envelope(answers[0].hello, node_pb2.Hello, identity(node).receipt_public_key)
    assert (hello.challenge_nonce, hello.generation, hello.log_head) == (b"fresh", 1, coordinator.log_head)
