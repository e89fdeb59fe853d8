from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reram_fleet import digests, sealing, signing
from reram_fleet.v1 import engine_pb2, node_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import ConnectRequest, ConnectResponse

from edge_node.errors import (
    AdapterError,
    ClipError,
    LogRejectedError,
    ProtocolError,
    TicketRefusedError,
    TombstonedTagError,
)
from edge_node.learning.replay import environment
from edge_node.node import Node
from edge_node.testing import CoordinatorPen, FakeClock, log_range, new_tag

Clips = Callable[..., list[np.ndarray]]
Restart = Callable[[], Node]


def only(answers: list[ConnectRequest], kind: str) -> list[object]:
    return [getattr(answer, kind) for answer in answers if answer.WhichOneof("message") == kind]


def grant(node: Node, pen: CoordinatorPen, **lease: float) -> list[ConnectRequest]:
    """One heartbeat and the lease that answers it; returns all that the node said."""
    said = node.beat()
    (heartbeat,) = only(said, "heartbeat")
    return said + node.receive(pen.lease(node.node_id, heartbeat.lease_nonce, **lease))


def reason(node: Node) -> str:
    return types.QuarantineReason.Name(node.standing()[1]).removeprefix("QUARANTINE_REASON_")


def serves(node: Node) -> bool:
    return node.standing()[0] == types.SERVE_STATE_SERVING


def adapter(tag: str, voice: int) -> types.SubjectAdapter:
    return types.SubjectAdapter(subject_tag=tag, count=1, code_sum=[4000 * (k == voice) for k in range(8)])


def receipt_of(answers: list[ConnectRequest], node: Node) -> types.Receipt:
    (envelope,) = only(answers, "receipt")
    return signing.open_envelope(envelope, types.Receipt, identity(node).receipt_public_key)


def identity(node: Node) -> types.NodeIdentity:
    return node._keys.identity


# Serving


def test_node_without_a_lease_serves_backbone_only(node: Node, clips: Clips) -> None:
    node.enroll(new_tag(), clips(0))
    spent = list(node.status().costs)
    answer = node.identify(clips(0))
    assert answer.backbone_only
    # Nothing was computed that could not be told anyway.
    assert list(node.status().costs) == spent
    assert answer.quarantine_reason == types.QUARANTINE_REASON_NO_LEASE
    assert not answer.answers
    assert node.inference_counts() == (0, 3)


def test_node_with_a_lease_recognises_who_was_enrolled(node: Node, pen: CoordinatorPen, clips: Clips) -> None:
    tags = [new_tag(), new_tag()]
    for voice, tag in enumerate(tags):
        node.enroll(tag, clips(voice))
    grant(node, pen)
    answer = node.identify([*clips(0, 1), *clips(1, 1), *clips(5, 1)])
    assert not answer.backbone_only
    assert [(a.best_tag, a.accepted) for a in answer.answers[:2]] == [(tags[0], True), (tags[1], True)]
    assert not answer.answers[2].accepted


def test_no_lease_survives_a_restart(node: Node, pen: CoordinatorPen, restart: Restart) -> None:
    grant(node, pen, max_age_s=86_400)
    assert serves(node)
    assert reason(restart()) == "NO_LEASE"


def test_an_expired_lease_quarantines_without_any_message(
    node: Node, pen: CoordinatorPen, clock: FakeClock
) -> None:
    grant(node, pen, max_age_s=30)
    clock.advance(30)
    assert (serves(node), reason(node)) == (False, "LEASE_EXPIRED")


def test_a_lease_that_runs_out_during_an_inference_keeps_its_answer_back(
    node: Node, pen: CoordinatorPen, clock: FakeClock, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.enroll(new_tag(), clips(0))
    grant(node, pen, max_age_s=30)
    capture = node._engine.capture

    def slow_capture(recordings: list[np.ndarray]) -> object:
        clock.advance(31)
        return capture(recordings)

    monkeypatch.setattr(node._engine, "capture", slow_capture)
    answer = node.identify(clips(0))
    assert (answer.backbone_only, list(answer.answers)) == (True, [])


def test_node_behind_the_log_serves_backbone_only_until_it_has_caught_up(
    node: Node, pen: CoordinatorPen, clips: Clips
) -> None:
    kept, forgotten = new_tag(), new_tag()
    node.enroll(kept, clips(0))
    node.enroll(forgotten, clips(1))
    pen.forget(forgotten)
    grant(node, pen)
    assert node.identify(clips(1)).quarantine_reason == types.QUARANTINE_REASON_BEHIND_GENERATION
    node.receive(pen.log_after(0))
    answer = node.identify(clips(1, 1)).answers[0]
    assert answer.best_tag != forgotten
    assert not answer.accepted


def test_transitions_are_recorded_in_order(node: Node, pen: CoordinatorPen, clock: FakeClock) -> None:
    grant(node, pen, max_age_s=1)
    clock.advance(2)
    node.standing()
    names = [
        types.QuarantineReason.Name(row.quarantine_reason).removeprefix("QUARANTINE_REASON_")
        for row in node.status().transitions
    ]
    assert names == ["STARTING", "NO_LEASE", "UNSPECIFIED", "LEASE_EXPIRED"]


# Suppress


def test_suppression_is_durable_and_removes_the_adapter(
    node: Node, pen: CoordinatorPen, clips: Clips, restart: Restart
) -> None:
    tag = new_tag()
    node.enroll(tag, clips(0))
    pen.forget(tag)
    (suppressed,) = only(node.receive(pen.log_after(0)), "suppressed")
    assert (suppressed.generation, suppressed.log_head) == (1, pen.log_head)
    assert not node.status().subject_tags
    restarted = restart().status()
    assert (restarted.generation, list(restarted.subject_tags)) == (1, [])


def test_the_same_range_again_answers_the_same_and_changes_nothing(node: Node, pen: CoordinatorPen) -> None:
    pen.forget(new_tag())
    pen.forget(new_tag())
    first = only(node.receive(pen.log_after(0)), "suppressed")
    assert first[0].HasField("session_key")
    # Nothing new is suppressed from here on: the session keeps its key.
    first[0].ClearField("session_key")
    assert only(node.receive(pen.log_after(0)), "suppressed") == first
    assert only(node.receive(pen.log_after(1)), "suppressed") == first


@pytest.mark.parametrize(
    "broken",
    ["gap", "forged", "fleet", "chain", "tag", "split view"],
)
def test_a_log_that_does_not_hold_quarantines_with_gap_and_journals_nothing(
    node: Node, pen: CoordinatorPen, broken: str, clips: Clips
) -> None:
    tag = new_tag()
    node.enroll(tag, clips(0))
    pen.forget(new_tag())
    node.receive(pen.log_after(0))
    grant(node, pen)
    assert serves(node)
    entry = {
        "gap": lambda: pen.sign(pen.command([tag], generation=3)),
        "forged": lambda: CoordinatorPen().sign(pen.command([tag])),
        "fleet": lambda: pen.sign(pen.command([tag], fleet_id="other-fleet")),
        "chain": lambda: pen.sign(pen.command([tag], previous_hash=bytes(32))),
        "tag": lambda: pen.sign(pen.command(["s04"])),
        "split view": lambda: pen.sign(pen.command([tag], generation=1, previous_hash=bytes(32))),
    }[broken]()
    with pytest.raises(LogRejectedError):
        node.receive(log_range([entry]))
    assert (serves(node), reason(node)) == (False, "GAP")
    assert (node.status().generation, list(node.status().subject_tags)) == (1, [tag])


def test_after_a_gap_the_right_range_and_a_new_lease_let_the_node_serve(
    node: Node, pen: CoordinatorPen
) -> None:
    grant(node, pen)
    pen.forget(new_tag())
    pen.forget(new_tag())
    (open_request,) = only(node.beat(), "heartbeat")
    with pytest.raises(LogRejectedError, match="gap"):
        node.receive(pen.log_after(1))
    # Asked for before the gap: the coordinator may have answered before the entries existed.
    node.receive(pen.lease(node.node_id, open_request.lease_nonce, generation=0))
    assert reason(node) == "GAP"
    node.receive(pen.log_after(0))
    grant(node, pen)
    assert serves(node)


@pytest.mark.parametrize("message", ["lease", "revision"])
def test_a_message_signed_by_somebody_else_withdraws_the_lease(
    node: Node, pen: CoordinatorPen, message: str
) -> None:
    grant(node, pen)
    stranger = CoordinatorPen()
    (heartbeat,) = only(node.beat(), "heartbeat")
    forged = {
        "lease": lambda: stranger.lease(node.node_id, heartbeat.lease_nonce),
        "revision": lambda: stranger.revision(identity(node), 1, []),
    }[message]()
    with pytest.raises(ProtocolError, match="does not verify"):
        node.receive(forged)
    assert reason(node) == "NO_LEASE"


def test_a_lease_of_another_node_is_refused(node: Node, pen: CoordinatorPen) -> None:
    (heartbeat,) = only(node.beat(), "heartbeat")
    with pytest.raises(ProtocolError, match="node-2"):
        node.receive(pen.lease("node-2", heartbeat.lease_nonce))


# Enrolment


def test_enrolling_the_same_clips_again_counts_them_once(node: Node, clips: Clips) -> None:
    tag = new_tag()
    assert node.enroll(tag, clips(0, 3)).count == 3
    again = node.enroll(tag, clips(0, 3))
    assert (again.count, again.infer_cost.energy_j) == (3, 0.0)
    assert node.enroll(tag, clips(0, 5)).count == 5


def test_an_enrolment_survives_a_restart(
    node: Node, pen: CoordinatorPen, clips: Clips, restart: Restart
) -> None:
    tag = new_tag()
    node.enroll(tag, clips(2))
    node = restart()
    grant(node, pen)
    assert node.identify(clips(2, 1)).answers[0].best_tag == tag


def test_a_forgotten_tag_cannot_be_enrolled_again(
    node: Node, pen: CoordinatorPen, clips: Clips, restart: Restart
) -> None:
    tag = new_tag()
    pen.forget(tag)
    node.receive(pen.log_after(0))
    with pytest.raises(TombstonedTagError):
        restart().enroll(tag, clips(0))


def test_bad_input_is_refused_before_anything_changes(node: Node, clips: Clips) -> None:
    before = node.status()
    with pytest.raises(AdapterError):
        node.enroll("s04", clips(0))
    with pytest.raises(ClipError):
        node.enroll(new_tag(), [])
    with pytest.raises(ClipError):
        node.enroll(new_tag(), [*clips(0), np.zeros((4, 3), np.float32)])
    with pytest.raises(ClipError):
        node.enroll(new_tag(), [np.full((4, 8), np.nan, np.float32)])
    assert node.status() == before


# Contributions


def test_a_contribution_goes_out_when_the_node_may_serve_and_until_it_is_acknowledged(
    node: Node, pen: CoordinatorPen, clips: Clips
) -> None:
    tag = new_tag()
    node.enroll(tag, clips(0, 3))
    assert not only(node.beat(), "contribution")
    (envelope,) = only(grant(node, pen), "contribution")
    contribution = signing.open_envelope(envelope, node_pb2.Contribution, identity(node).receipt_public_key)
    purpose = sealing.contribution_purpose(pen.fleet_id, node.node_id, tag)
    opened = sealing.open_sealed(pen.sealing_key, purpose, contribution.adapter)
    sent = types.SubjectAdapter.FromString(opened)
    assert (sent.subject_tag, sent.count, sent.code_sum[0]) == (tag, 3, 3 * 4000 + 12)
    assert not only(node.beat(), "contribution")
    # A new stream: the old one may have lost it.
    node.receive(ConnectResponse(challenge=node_pb2.Challenge(nonce=b"c")))
    assert only(grant(node, pen), "contribution")
    ack = node_pb2.ContributionAck(subject_tag=tag, sequence=contribution.sequence)
    node.receive(ConnectResponse(contribution_ack=ack))
    node.receive(ConnectResponse(challenge=node_pb2.Challenge(nonce=b"d")))
    assert not only(grant(node, pen), "contribution")
    node.enroll(tag, clips(0, 4))
    (further,) = only(node.beat(), "contribution")
    assert node_pb2.Contribution.FromString(further.payload).sequence == contribution.sequence + 1


def test_nothing_of_a_forgotten_tag_is_contributed(node: Node, pen: CoordinatorPen, clips: Clips) -> None:
    tag = new_tag()
    node.enroll(tag, clips(0))
    pen.forget(tag)
    node.receive(pen.log_after(0))
    assert not only(grant(node, pen), "contribution")


# Revisions


def test_a_revision_becomes_active_and_survives_a_restart(
    node: Node, pen: CoordinatorPen, clips: Clips, restart: Restart
) -> None:
    tag, local = new_tag(), new_tag()
    node.enroll(local, clips(1))
    (result,) = only(node.receive(pen.revision(identity(node), 7, [adapter(tag, 0)])), "revision_result")
    assert (result.active, result.refusal) == (True, "")
    assert result.overhead.bytes > 0
    for running in (lambda: node, restart):
        status = running().status()
        assert (status.revision, status.revision_digest) == (7, result.digest)
        assert list(status.subject_tags) == sorted([tag, local])
        assert status.overhead == result.overhead


def test_the_same_revision_again_is_active_without_being_installed_again(
    node: Node, pen: CoordinatorPen
) -> None:
    offer = pen.revision(identity(node), 1, [adapter(new_tag(), 0)])
    first = node.receive(offer)
    assert node.receive(offer) == first


def test_a_revision_from_before_the_nodes_generation_is_refused(node: Node, pen: CoordinatorPen) -> None:
    pen.forget(new_tag())
    node.receive(pen.log_after(0))
    offer = pen.revision(identity(node), 1, [adapter(new_tag(), 0)], built_at_generation=0)
    (result,) = only(node.receive(offer), "revision_result")
    assert not result.active
    assert "built at generation 0" in result.refusal
    assert node.status().revision == 0


def test_a_revision_that_names_a_forgotten_tag_is_refused(node: Node, pen: CoordinatorPen) -> None:
    tag = new_tag()
    pen.forget(tag)
    node.receive(pen.log_after(0))
    (result,) = only(node.receive(pen.revision(identity(node), 1, [adapter(tag, 0)])), "revision_result")
    assert "forgotten" in result.refusal
    assert not node.status().subject_tags


def test_an_older_revision_does_not_replace_a_newer_one(node: Node, pen: CoordinatorPen) -> None:
    node.receive(pen.revision(identity(node), 2, []))
    (result,) = only(
        node.receive(pen.revision(identity(node), 1, [adapter(new_tag(), 0)])), "revision_result"
    )
    assert "not newer" in result.refusal
    assert node.status().revision == 2


def test_content_that_its_manifest_does_not_name_is_refused(node: Node, pen: CoordinatorPen) -> None:
    offer = pen.revision(identity(node), 1, [adapter(new_tag(), 0)])
    other = pen.revision(identity(node), 1, [adapter(new_tag(), 0)])
    offer.revision.content.CopyFrom(other.revision.content)
    (result,) = only(node.receive(offer), "revision_result")
    assert "digest" in result.refusal


def test_an_adapter_that_does_not_fit_leaves_the_present_revision_active(
    node: Node, pen: CoordinatorPen
) -> None:
    kept = new_tag()
    node.receive(pen.revision(identity(node), 1, [adapter(kept, 0)]))
    misfit = types.SubjectAdapter(subject_tag=new_tag(), count=1, code_sum=[1, 2, 3])
    (result,) = only(node.receive(pen.revision(identity(node), 2, [misfit])), "revision_result")
    assert "features" in result.refusal
    assert (node.status().revision, list(node.status().subject_tags)) == (1, [kept])


# Erase


def forgotten_everywhere(node: Node, pen: CoordinatorPen, clips: Clips) -> tuple[str, str, str]:
    """A person in the revision and enrolled here, and a canary, are forgotten; the new revision is active."""
    kept, person, canary = new_tag(), new_tag(), new_tag()
    node.enroll(person, clips(1, 2))
    lora = types.SharedLora(
        rows=[types.LoraRow(subject_tag=person, codes=[1]), types.LoraRow(subject_tag=kept)]
    )
    adapters = [adapter(kept, 0), adapter(person, 1), adapter(canary, 2)]
    node.receive(pen.revision(identity(node), 1, adapters, shared_lora=lora))
    pen.forget(person, canary)
    node.receive(pen.log_after(0))
    node.receive(pen.revision(identity(node), 2, [adapter(kept, 0)]))
    return kept, person, canary


def probe(voice: int) -> list[int]:
    return [4000 * (k == voice) for k in range(8)]


def test_the_receipt_says_what_was_erased(node: Node, pen: CoordinatorPen, clips: Clips) -> None:
    kept, _, _ = forgotten_everywhere(node, pen, clips)
    order = pen.erase(1, 2, nonce=b"challenge", probes=[probe(2), probe(0)])
    receipt = receipt_of(node.receive(order), node)
    assert receipt.outcome == types.RECEIPT_OUTCOME_ERASED
    assert (receipt.generation, receipt.campaign_id) == (1, "campaign-1")
    assert receipt.command_hash == signing.payload_hash(pen.log[0])
    assert (receipt.subject_adapters_erased, receipt.lora_rows_erased, receipt.code_samples_erased) == (
        2,
        1,
        2,
    )
    # The person's key and that of the superseded revision.
    assert receipt.keys_destroyed == 2
    assert [result.subject_tag for result in receipt.probe_results] == ["", kept]
    assert receipt.challenge_nonce == b"challenge"
    assert (receipt.counter, receipt.previous_receipt_hash) == (1, digests.ZERO_HASH)
    assert receipt.reram_writes == 0
    assert [entry.subject_tag for entry in receipt.active_adapters] == [kept]
    assert receipt.active_adapters[0].digest == digests.subject_digest(adapter(kept, 0))
    phases = {types.EnergyPhase.Name(cost.phase).removeprefix("ENERGY_PHASE_") for cost in receipt.costs}
    assert phases == {"ERASE", "RADIO", "VERIFY"}


def test_after_an_erase_no_key_and_no_row_of_the_person_is_left(
    node: Node, pen: CoordinatorPen, clips: Clips, tmp_path: Path
) -> None:
    _, person, _ = forgotten_everywhere(node, pen, clips)
    assert (tmp_path / "state/subject-keys" / f"{person}.key").exists()
    assert len(list((tmp_path / "state/revision-keys").iterdir())) == 2
    node.receive(pen.erase(1, 2))
    assert not list((tmp_path / "state/subject-keys").iterdir())
    assert [path.name[:2] for path in (tmp_path / "state/revision-keys").iterdir()] == ["2-"]


def test_codes_stay_for_unlearning_until_the_erase_order(
    node: Node, pen: CoordinatorPen, clips: Clips
) -> None:
    _, person, _ = forgotten_everywhere(node, pen, clips)
    key = sealing.new_key()
    state = sealing.seal_symmetric(key, sealing.state_purpose("job-1"), types.LoraState().SerializeToString())

    def unlearn() -> engine_pb2.RunRoundResponse:
        kind = types.LEARNING_KIND_UNLEARN_LORA
        ticket = pen.ticket(identity(node), node.session_public_key, key, kind=kind, forget_tags=[person])
        return node.run_round(ticket, state)

    assert unlearn().metrics["forget"] == 1.0
    receipt = receipt_of(node.receive(pen.erase(1, 2)), node)
    assert unlearn().metrics["forget"] == 0.0
    # The repair is part of what this forget took.
    assert types.ENERGY_PHASE_TRAIN in {cost.phase for cost in receipt.costs}


def test_a_node_that_held_nothing_says_so(node: Node, pen: CoordinatorPen) -> None:
    pen.forget(new_tag())
    node.receive(pen.log_after(0))
    receipt = receipt_of(node.receive(pen.erase(1, 0)), node)
    assert receipt.outcome == types.RECEIPT_OUTCOME_NOT_AFFECTED
    assert receipt.keys_destroyed == 0


def test_an_order_is_not_carried_out_before_its_revision_is_active(
    node: Node, pen: CoordinatorPen, clips: Clips
) -> None:
    tag = new_tag()
    node.enroll(tag, clips(0))
    pen.forget(tag)
    node.receive(pen.log_after(0))
    assert node.receive(pen.erase(1, 1)) == []
    node.receive(pen.revision(identity(node), 1, []))
    assert receipt_of(node.receive(pen.erase(1, 1)), node).code_samples_erased == 3


def test_an_order_for_a_generation_not_yet_suppressed_is_not_carried_out(
    node: Node, pen: CoordinatorPen
) -> None:
    pen.forget(new_tag())
    assert node.receive(pen.erase(1, 0)) == []


def test_an_active_revision_that_still_holds_the_tag_is_never_called_erased(
    node: Node, pen: CoordinatorPen
) -> None:
    tag = new_tag()
    node.receive(pen.revision(identity(node), 1, [adapter(tag, 0)]))
    pen.forget(tag)
    node.receive(pen.log_after(0))
    assert node.receive(pen.erase(1, 1)) == []


def test_a_repeated_order_sends_the_same_receipt(
    node: Node, pen: CoordinatorPen, clips: Clips, restart: Restart
) -> None:
    forgotten_everywhere(node, pen, clips)
    order = pen.erase(1, 2, nonce=b"one")
    first = node.receive(order)
    assert node.receive(order) == first
    assert restart().receive(order) == first


def test_a_receipt_is_sent_again_after_a_reconnect_until_it_is_acknowledged(
    node: Node, pen: CoordinatorPen, restart: Restart
) -> None:
    pen.forget(new_tag())
    node.receive(pen.log_after(0))
    (receipt,) = only(node.receive(pen.erase(1, 0)), "receipt")
    challenge = ConnectResponse(challenge=node_pb2.Challenge(nonce=b"c"))
    node = restart()
    assert only(node.receive(challenge), "receipt") == [receipt]
    ack = node_pb2.ReceiptAck(generation=1, receipt_hash=signing.payload_hash(receipt), accepted=True)
    node.receive(ConnectResponse(receipt_ack=ack))
    assert only(node.receive(challenge), "receipt") == []
    # Another challenge is another question, as after a restore from a backup.
    (again,) = only(node.receive(pen.erase(1, 0, nonce=b"again")), "receipt")
    assert again != receipt


def test_a_refused_receipt_holds_the_node_and_another_challenge_gets_another_receipt(
    node: Node, pen: CoordinatorPen, clips: Clips
) -> None:
    forgotten_everywhere(node, pen, clips)
    grant(node, pen)
    answers = node.receive(pen.erase(1, 2, nonce=b"one"))
    first, (envelope,) = receipt_of(answers, node), only(answers, "receipt")
    refusal = node_pb2.ReceiptAck(generation=1, receipt_hash=signing.payload_hash(envelope), reason="probe")
    node.receive(ConnectResponse(receipt_ack=refusal))
    assert (serves(node), reason(node)) == (False, "HELD")
    second = receipt_of(node.receive(pen.erase(1, 2, nonce=b"two")), node)
    assert (second.counter, second.previous_receipt_hash) == (2, signing.payload_hash(envelope))
    assert (second.code_samples_erased, second.keys_destroyed) == (
        first.code_samples_erased,
        first.keys_destroyed,
    )


def test_hello_answers_the_challenge_and_says_where_the_node_stands(node: Node, pen: CoordinatorPen) -> None:
    pen.forget(new_tag())
    node.receive(pen.log_after(0))
    answers = node.receive(ConnectResponse(challenge=node_pb2.Challenge(nonce=b"fresh")))
    assert answers[0].WhichOneof("message") == "hello"
    hello = signing.open_envelope(answers[0].hello, node_pb2.Hello, identity(node).receipt_public_key)
    assert (hello.challenge_nonce, hello.generation, hello.log_head) == (b"fresh", 1, pen.log_head)
    assert hello.environment == environment()["hash"]


# Rounds


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"generation": 9}, "generation 9"),
        ({"expires_at_unix_ms": 1}, "expired"),
        ({"node_id": "node-2"}, "node-2"),
        ({"fleet_id": "other"}, "other"),
        ({"job_id": "job-2"}, "does not open"),
        ({"forget_tags": ["0" * 32], "kind": types.LEARNING_KIND_UNLEARN_LORA}, "not forgotten"),
    ],
)
def test_the_engine_takes_no_ticket_that_is_not_for_it_now(
    node: Node, pen: CoordinatorPen, changes: dict[str, object], why: str
) -> None:
    key = sealing.new_key()
    state = sealing.seal_symmetric(key, sealing.state_purpose("job-1"), types.LoraState().SerializeToString())
    good = pen.ticket(identity(node), node.session_public_key, key)
    assert node.run_round(good, state).node_id == node.node_id
    with pytest.raises((TicketRefusedError, ProtocolError), match=why):
        node.run_round(pen.ticket(identity(node), node.session_public_key, key, **changes), state)


def test_a_round_learns_from_the_nodes_own_clips_of_the_named_tags_only(
    node: Node, pen: CoordinatorPen, clips: Clips
) -> None:
    named, other = new_tag(), new_tag()
    node.enroll(named, clips(0, 4))
    node.enroll(other, clips(1, 2))
    key = sealing.new_key()
    state = types.LoraState(subject_tags=[named], rank=1, numerator=b"1234", weight=b"5678")
    sealed = sealing.seal_symmetric(key, sealing.state_purpose("job-1"), state.SerializeToString())
    ticket = pen.ticket(identity(node), node.session_public_key, key, subject_tags=[named])
    response = node.run_round(ticket, sealed)
    assert response.num_examples == 4
    opened = sealing.open_symmetric(key, sealing.state_purpose("job-1"), response.sealed_state)
    assert types.LoraState.FromString(opened) == state


# Costs


def test_costs_and_counters_survive_a_restart_and_the_chip_is_programmed_once(
    node: Node, pen: CoordinatorPen, clips: Clips, restart: Restart
) -> None:
    node.enroll(new_tag(), clips(0))
    grant(node, pen)
    node.identify(clips(0))
    before = node.status().costs
    node = restart()
    assert list(node.status().costs) == list(before)
    assert node.inference_counts() == (3, 0)


@pytest.mark.parametrize("moment", ["a reconnect", "a forget"])
def test_a_ticket_from_before_is_opened_by_no_key_that_is_left(
    node: Node, pen: CoordinatorPen, clips: Clips, moment: str
) -> None:
    key = sealing.new_key()
    state = sealing.seal_symmetric(key, sealing.state_purpose("job-1"), types.LoraState().SerializeToString())
    before = node.session_public_key
    assert node.run_round(pen.ticket(identity(node), before, key), state).node_id == node.node_id
    if moment == "a reconnect":
        node.receive(ConnectResponse(challenge=node_pb2.Challenge(nonce=b"n")))
    else:
        forgotten_everywhere(node, pen, clips)
    assert node.session_public_key != before
    with pytest.raises(TicketRefusedError, match="does not open"):
        node.run_round(pen.ticket(identity(node), before, key), state)
    assert node.run_round(pen.ticket(identity(node), node.session_public_key, key), state).node_id


def test_the_new_session_key_travels_signed(node: Node, pen: CoordinatorPen, clips: Clips) -> None:
    pen.forget(new_tag())
    answers = node.receive(pen.log_after(0))
    suppressed = next(a.suppressed for a in answers if a.WhichOneof("message") == "suppressed")
    public_key = identity(node).receipt_public_key
    session = signing.open_envelope(suppressed.session_key, node_pb2.SessionKey, public_key)
    assert (session.node_id, session.generation) == (node.node_id, 1)
    assert session.public_key == node.session_public_key
