"""A node that generates: learning and generation outside its lock, and a forget that comes in between."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from reram_fleet.crypto import sealing, signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import engine_pb2, node_pb2
from reram_fleet.v1 import types_pb2 as types

from edge_node.errors import EngineError, RefusedError, RoundError, SampleError, TombstonedTagError
from tests.unit.node.generating_device import FEATURES, Device, images


@pytest.fixture
def device(tmp_path):
    device = Device(tmp_path / "state")
    yield device
    device.node.close()


def test_class_is_learnt_once_and_kept_sealed_with_its_images(device, tmp_path):
    tag = new_tag()

    answer = device.node.enroll(device.coordinator.consent(tag), images())
    again = device.node.enroll(device.coordinator.consent(tag), images())

    assert (answer.count, again.count) == (3, 3)
    assert answer.train_cost.energy_j == 1e-3
    assert again.train_cost.energy_j == 0
    assert device.image_generator.learnt == [3]
    captured = device.node.context.cipher.open_samples(device.journal.enrolment(tag))
    assert captured.codes.shape == (3, 1728)
    assert captured.codes[0].tolist() == [128] * 1728
    assert captured.trained.tolist() == list(device.engine.active_subjects(0)[0].code_sum)
    plain = captured.to_bytes()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert captured.codes[0].astype("<i4").tobytes() not in stored
    assert captured.trained.astype("<i4").tobytes() not in stored
    assert len(plain) == 8 + 3 * 32 + 4 * (3 * 1728 + FEATURES)


def test_further_images_are_learnt_together_with_those_before(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images(0.2))
    first = device.adapters_digest()

    device.node.enroll(device.coordinator.consent(tag), images(0.5))

    assert device.image_generator.learnt == [3, 6]
    assert device.adapters_digest() != first


def test_contribution_is_a_trained_adapter_of_one_node(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())

    (message,) = [m for m in device.lease() if m.WhichOneof("message") == "contribution"]

    contribution = signing.open_envelope(
        message.contribution, node_pb2.Contribution, device.keys.identity.receipt_public_key
    )
    purpose = sealing.contribution_purpose("test-fleet", "node-1", tag)
    adapter = types.SubjectAdapter.FromString(
        sealing.open_sealed(device.coordinator.sealing_key, purpose, contribution.adapter)
    )
    assert adapter.kind == types.SUBJECT_ADAPTER_KIND_TRAINED
    assert adapter.count == 1
    assert adapter == device.engine.active_subjects(0)[0]


def test_class_is_there_again_after_a_restart(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())
    before = device.adapters_digest()

    device.restart()
    device.lease()

    assert device.adapters_digest() == before
    assert device.refusal(tag) == "UNSPECIFIED"
    assert device.image_generator.learnt == [3]


def test_suppression_does_not_wait_for_a_class_that_is_being_learnt(device):
    known, learning = new_tag(), new_tag()
    device.node.enroll(device.coordinator.consent(known), images(0.1))
    device.image_generator.held = True
    with ThreadPoolExecutor(1) as pool:
        device.image_generator.busy.clear()
        enrolling = pool.submit(device.node.enroll, device.coordinator.consent(learning), images(0.5))
        assert device.image_generator.busy.wait(30)

        # With the lock held by the learner this would never return: it is freed only afterwards.
        answers = device.forget(known)

        assert answers[0].suppressed.generation == 1
        assert not enrolling.done()
        device.image_generator.free.set()
        assert enrolling.result(30).count == 3
    assert [s.subject_tag for s in device.engine.active_subjects(0)] == [learning]


def test_class_that_is_forgotten_while_it_is_learnt_is_not_stored(device):
    tag = new_tag()
    device.image_generator.meanwhile = lambda: device.forget(tag)

    with pytest.raises(TombstonedTagError):
        device.node.enroll(device.coordinator.consent(tag), images())

    assert device.journal.enrolment(tag) is None
    assert device.engine.active_subjects(0) == []
    # Given up at the next step, not learnt to the end.
    assert device.image_generator.learnt == []


def test_node_that_ends_while_it_learns_stores_nothing(device):
    tag = new_tag()
    device.image_generator.meanwhile = device.node._enrolment.end

    with pytest.raises(RefusedError, match="stored nothing"):
        device.node.enroll(device.coordinator.consent(tag), images())

    assert device.journal.enrolment(tag) is None


def test_private_class_is_generated_by_its_tag_and_public_ones_by_name(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())
    device.lease()

    mine, public = device.generate(tag), device.generate(name="d1", seed=3)

    assert (mine.rows, mine.columns, mine.channels, len(mine.levels)) == (8, 8, 3, 2 * 192)
    assert set(public.levels) == {4}
    assert public.infer_cost.energy_j == 2e-6
    assert device.node.inference_counts() == (4, 0)


def test_without_a_lease_private_classes_are_refused_and_public_ones_are_not(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())

    answer = device.generate(tag)

    assert answer.refusal == engine_pb2.TAG_REFUSAL_QUARANTINED
    assert answer.quarantine_reason == types.QUARANTINE_REASON_NO_LEASE
    assert not answer.levels
    assert device.generate(name="d2").levels
    assert device.node.inference_counts() == (2, 2)


def test_unknown_and_forgotten_tags_are_told_apart(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())
    device.lease()
    assert device.refusal(new_tag()) == "UNKNOWN_TAG"

    device.forget(tag)

    assert device.refusal(tag) == "FORGOTTEN_TAG"
    assert device.generate(tag).generation == 1


def test_images_of_a_class_that_is_forgotten_meanwhile_are_thrown_away(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())
    device.lease()
    device.image_generator.meanwhile = lambda: device.forget(tag)

    answer = device.generate(tag)

    assert answer.refusal == engine_pb2.TAG_REFUSAL_FORGOTTEN_TAG
    assert not answer.levels
    assert device.node.inference_counts()[0] == 0


def test_images_generated_while_the_lease_runs_out_are_thrown_away(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())
    device.lease()
    device.image_generator.meanwhile = lambda: device.clock.advance(60.0)

    assert device.refusal(tag) == "QUARANTINED"


def test_node_that_forgot_equals_one_that_never_knew(device, tmp_path):
    kept, gone = new_tag(), new_tag()
    other = Device(tmp_path / "other")
    for each, tags in ((device, (kept, gone)), (other, (kept,))):
        for shade, tag in zip((0.2, 0.6), tags, strict=False):
            each.node.enroll(each.coordinator.consent(tag, each.node.node_id), images(shade))
        each.lease()
    own = device.engine.active_subjects(0)
    assert device.adapters_digest() != other.adapters_digest()

    device.forget(gone)
    device.install(1, *[adapter for adapter in own if adapter.subject_tag == kept])
    receipt = device.erase(1, 1)

    assert device.adapters_digest() == other.adapters_digest()
    drawn = [hashlib.sha256(each.generate(kept, seed=5).levels).digest() for each in (device, other)]
    assert drawn[0] == drawn[1]
    assert (receipt.code_samples_erased, receipt.keys_destroyed) == (3, 1)
    assert receipt.subject_adapters_erased == 1
    assert receipt.reram_writes == 0
    assert [entry.subject_tag for entry in receipt.active_adapters] == [kept]
    other.node.close()


def test_probes_of_an_erase_order_are_vectors_of_codes(device):
    tag, gone = new_tag(), new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())
    codes = list(device.engine.active_subjects(0)[0].code_sum)
    device.lease()
    device.forget(gone)

    receipt = device.erase(1, 0, codes, [-code for code in codes])

    assert [result.subject_tag for result in receipt.probe_results] == [tag, ""]


def test_sum_over_two_nodes_replaces_what_the_node_learnt_itself(device):
    tag = new_tag()
    device.node.enroll(device.coordinator.consent(tag), images())
    own = device.engine.active_subjects(0)[0]
    summed = types.SubjectAdapter(subject_tag=tag, count=2, code_sum=[2 * code for code in own.code_sum], kind=own.kind)

    device.install(1, summed)

    assert device.engine.active_subjects(0) == [summed]


def test_revision_of_feature_codes_is_refused(device):
    offered = types.SubjectAdapter(subject_tag=new_tag(), count=1, code_sum=[1] * FEATURES)

    (answer,) = device.node.receive(device.coordinator.revision(device.keys.identity, 1, [offered]))

    assert "sum of feature codes" in answer.revision_result.refusal
    assert device.engine.active_subjects(0) == []


@pytest.mark.parametrize(
    ("learnt_in_rounds", "said"),
    [
        ({"shared_lora": types.SharedLora(rows=[types.LoraRow(subject_tag="a" * 32)])}, "no shared LoRA"),
        ({"head": types.ClosedFormHead(subject_tags=["a" * 32])}, "no closed-form head"),
    ],
)
def test_revision_with_what_only_recognition_has_is_refused_whole(device, learnt_in_rounds, said):
    offered = types.SubjectAdapter(
        subject_tag="a" * 32, count=1, code_sum=[1] * FEATURES, kind=types.SUBJECT_ADAPTER_KIND_TRAINED
    )

    (answer,) = device.node.receive(device.coordinator.revision(device.keys.identity, 1, [offered], **learnt_in_rounds))

    assert said in answer.revision_result.refusal
    assert device.engine.active_subjects(0) == []


def test_rounds_are_refused_and_no_public_codes_are_sent(device):
    key = sealing.new_key()
    ticket = device.coordinator.ticket(device.keys.identity, device.node.session_public_key, key)

    with pytest.raises(RoundError, match="when that is enrolled"):
        device.node.run_round(ticket, b"")
    assert device.node.receive(node_pb2.ConnectResponse(public_codes_request=node_pb2.PublicCodesRequest())) == []


def test_images_that_do_not_fit_are_refused_before_anything_is_learnt(device):
    with pytest.raises(SampleError):
        device.node.enroll(device.coordinator.consent(new_tag()), [np.zeros((4, 12), np.float32)])
    assert device.image_generator.learnt == []


def test_node_that_generates_recognises_nobody_and_the_other_way_round(device, node):
    with pytest.raises(RefusedError, match="recognises nobody"):
        device.node.identify(images())
    with pytest.raises(RefusedError, match="recognises nobody"):
        device.node.authenticate(engine_pb2.AuthenticateRequest(), images())
    with pytest.raises(RefusedError, match="generates no images"):
        node.generate(engine_pb2.GenerateRequest(class_name="d1", count=1))
    with pytest.raises(EngineError, match="say what to generate"):
        device.generate()
