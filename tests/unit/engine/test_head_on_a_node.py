"""The closed-form head in the engine: beside the other adapters, by its own threshold, gone when dropped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from reram_fleet.v1.types_pb2 import ClosedFormHead, RevisionContent

from edge_node.errors import AdapterError, EngineError
from edge_node.recognition.head import HeadAdapter
from edge_node.recognition.head_share import packed_statistics
from fleet.heads.enrolment import SufficientStatistics
from fleet.heads.public import PublicCodes
from hwmodel import Phase


@pytest.fixture(scope="module")
def solved(built_device, captured) -> ClosedFormHead:
    """A head of the four enrolled people, solved as the coordinator does."""
    codes, person = built_device.public_codes(0)
    packed = [(tag, packed_statistics(train)) for tag, (train, _) in captured.items()]
    head = SufficientStatistics.of_packed(PublicCodes(codes.numpy()[None], person.numpy()), packed).build()
    return ClosedFormHead(
        subject_tags=head.tags,
        features=len(head.codes),
        codes=head.codes.astype("<i4").tobytes(),
        scale_bits=head.scale_bits,
        threshold=head.threshold,
    )


@pytest.fixture
def headed(device, adapters, solved):
    for adapter in adapters.values():
        device.set_subject(0, adapter)
    device.set_head(0, solved)
    return device


def everybody(captured):
    return torch.cat([test for _, test in captured.values()])[None]


def test_score_is_the_mean_of_both_kinds_in_units_of_their_thresholds(headed, captured, adapters, solved):
    tag = solved.subject_tags[0]
    codes = captured[tag][1][None]
    margin = HeadAdapter.of_message(solved, features=headed.features).scores(codes)[0, :, 0].double()
    margin /= solved.threshold
    threshold = float(headed.accept_threshold[0])
    # In lengths of a typical sample of somebody whom the whitening does not know.
    calibration = headed._calibration
    margin /= calibration.whitening.chip(0).of(codes[0]).length / calibration.typical_length[0]
    # Alone on the node, so that every best score is theirs.
    headed.drop_subjects(0, solved.subject_tags[1:])
    with_head = headed.identify(codes).score[0]
    headed.set_head(0, None)
    alone = headed.identify(codes).score[0]
    assert torch.allclose(with_head, (alone + threshold * margin) / 2, rtol=0, atol=1e-9)
    assert not torch.allclose(with_head, alone, rtol=0, atol=1e-3)


def test_a_sample_twice_as_strong_scores_the_same(headed, captured):
    half = everybody(captured) // 2
    once, twice = headed.identify(half), headed.identify(2 * half)
    assert torch.allclose(once.score, twice.score, rtol=0, atol=1e-9)
    assert once.best_tag == twice.best_tag


def test_sample_is_accepted_exactly_from_the_threshold_that_get_status_tells(headed, captured):
    found = headed.identify(everybody(captured))
    assert torch.equal(found.accepted, found.score >= headed.accept_threshold[:, None])
    assert 0.8 < float(found.accepted.double().mean()) < 1


def test_answers_without_the_head_are_told_beside_those_with_it(headed, captured):
    codes = everybody(captured)
    with_head = headed.identify(codes)
    headed.set_head(0, None)
    without = headed.identify(codes)
    assert with_head.best_tag_without_head == without.best_tag
    assert with_head.best_tag_subject_only == without.best_tag_subject_only
    assert with_head.best_tag != without.best_tag or not torch.equal(with_head.score, without.score)


def test_newcomer_who_is_not_in_the_head_is_found_by_their_subject_adapter(headed, captured, solved):
    newcomer = solved.subject_tags[-1]
    codes = captured[newcomer][1][None]
    head = HeadAdapter.of_message(solved, features=headed.features).without([newcomer])
    headed.set_head(0, head.to_message())
    found = headed.identify(codes)
    headed.set_head(0, None)
    theirs = torch.tensor([tag == newcomer for tag in found.best_tag[0]])
    assert theirs.double().mean() >= 0.95
    assert torch.equal(found.score[0, theirs], headed.identify(codes).score[0, theirs])


def test_dropping_a_person_takes_their_column_out_at_once_and_is_charged(headed, solved, captured):
    gone = solved.subject_tags[0]
    mark = headed.ledger.mark()
    assert headed.drop_subjects(0, [gone]) == 1
    erased = headed.ledger.since(mark)[Phase.ERASE]
    assert erased.bytes == 2 * 4 * headed.features
    left = headed.active_head(0)
    assert list(left.subject_tags) == list(solved.subject_tags[1:])
    columns = np.frombuffer(solved.codes, "<i4").reshape(headed.features, -1)
    assert left.codes == columns[:, 1:].tobytes()
    found = headed.identify(captured[gone][1][None])
    assert gone not in {*found.best_tag[0], *found.best_tag_without_head[0], *found.best_tag_subject_only[0]}


def test_dropping_everybody_leaves_no_head(headed, solved):
    headed.drop_subjects(0, solved.subject_tags)
    assert headed.active_head(0) is None


def test_head_counts_in_deployment_and_identification(headed, adapters, solved, captured):
    content = RevisionContent(subjects=adapters.values(), head=solved)
    mark = headed.ledger.mark()
    with_head = headed.deployment(0, content, 100)
    written = headed.ledger.since(mark)[Phase.PROGRAM]
    mark = headed.ledger.mark()
    without = headed.deployment(0, RevisionContent(subjects=adapters.values()), 100)
    assert written.bytes == 2 * headed.ledger.since(mark)[Phase.PROGRAM].bytes
    # Each is rounded up to whole pulses.
    assert with_head.reprogramming_cell_writes == pytest.approx(2 * without.reprogramming_cell_writes, abs=2)
    samples = captured[solved.subject_tags[0]][1][None, :3]

    def spent():
        mark = headed.ledger.mark()
        headed.identify(samples)
        return headed.ledger.since(mark)[Phase.INFER].energy_j

    asked = spent()
    headed.set_head(0, None)
    assert asked > spent()


@pytest.mark.parametrize(
    "change",
    [
        {"features": 7},
        {"codes": b"\0" * 8},
        {"scale_bits": 60},
        {"threshold": 0},
        {"subject_tags": ["b", "a", "c", "d"]},
    ],
)
def test_head_that_does_not_fit_is_refused_and_the_present_one_stays(headed, solved, change):
    fields = {field.name: value for field, value in solved.ListFields()} | change
    with pytest.raises(AdapterError):
        headed.set_head(0, ClosedFormHead(**fields))
    assert headed.active_head(0) == solved


def test_chip_without_a_positive_threshold_refuses_a_head(headed, solved, monkeypatch):
    nobody = replace(headed._calibration, accept_threshold=torch.zeros(1, dtype=torch.float64))
    monkeypatch.setattr(headed, "_calibration", nobody)
    with pytest.raises(AdapterError, match="threshold"):
        headed.set_head(0, solved)


def test_batch_of_nodes_answers_as_each_of_them_alone(fleet, device, adapters, solved, captured):
    """The device is the fleet's second chip; the first has no head, the third knows one person less."""
    tags = sorted(adapters)
    for node in range(3):
        for tag in tags[node == 2 :]:
            fleet.set_subject(node, adapters[tag])
    for tag in tags:
        device.set_subject(0, adapters[tag])
    fleet.set_head(1, solved)
    fleet.set_head(2, solved)
    device.set_head(0, solved)
    codes = everybody(captured)[:, ::9]
    together = fleet.identify(codes.expand(3, -1, -1))
    alone = device.identify(codes)
    assert together.best_tag[1] == alone.best_tag[0]
    assert torch.allclose(together.score[1], alone.score[0], rtol=0, atol=1e-9)
    assert together.best_tag[0] == together.best_tag_without_head[0]
    assert tags[0] not in together.best_tag[2]


def test_public_codes_are_those_of_the_calibration_and_cannot_be_reached_into(device):
    codes, person = device.public_codes(0)
    assert codes.dtype == torch.int32
    assert codes.shape == (len(person), device.features)
    # Centred on the chip's own public mean.
    assert int(codes.sum(dim=0).abs().max()) <= len(codes)
    codes += 1
    assert not torch.equal(device.public_codes(0)[0], codes)
    with pytest.raises(EngineError, match="no node 1"):
        device.public_codes(1)


def test_statistics_for_the_head_are_those_of_the_codes_and_charged_as_training(device, captured):
    codes = next(iter(captured.values()))[0]
    mark = device.ledger.mark()
    assert device.head_statistics(0, codes) == packed_statistics(codes)
    assert device.ledger.since(mark)[Phase.TRAIN].energy_j > 0
