"""The speakers' workload on made-up codes and on JapaneseVowels: rates, thresholds, exact forgets."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from edge_node.backbones.log_mel import MIN_SAMPLES
from edge_node.tasks.speakers import SPEAKERS
from fleet.heads.errors import HeadError
from fleet.heads.statistics import HeadStatistics, total
from hwmodel import EnergyLedger, load_preset
from tests.bench.workloads.altered_voices import SPEEDS, altered, altered_voices
from tests.bench.workloads.speaker_fleet import (
    FALSE_REJECT_SHARE,
    INTERCEPT_CODE,
    NODES,
    PRESET,
    SpeakerFleet,
    by_group,
    ridge_of,
    teaching_nodes,
)
from tests.bench.workloads.speakers import closed_set, forgets, open_set
from tests.bench.workloads.verification_pairs import VerificationPairs, threshold_rejecting

FEATURES = 40
PEOPLE = ("ann", "bob", "cid", "dee", "eve", "fay")


class MadeUpBackbone:
    """Codes are the sample itself, with an offset of each chip."""

    features = FEATURES
    cell_writes = torch.zeros(len(NODES), dtype=torch.int64)

    def capture(self, samples, ledger, phase):
        codes = np.array([sample[:, 0] for sample in samples]).reshape(1, -1, FEATURES)
        offsets = 5 * np.arange(len(NODES))[:, None, None]
        return torch.from_numpy((codes + offsets).astype(np.int32))


def made_up_samples(seed, spread=1.0):
    generator = np.random.default_rng(seed)
    centres = {name: generator.normal(100, 60, FEATURES) for name in PEOPLE}

    def said(name, count):
        return [
            np.rint(centres[name] + generator.normal(0, 40 * spread, FEATURES)).astype(np.float32)[:, None]
            for _ in range(count)
        ]

    train = {name: {group: said(name, 8) for group in range(3)} for name in PEOPLE}
    return train, {name: said(name, 10) for name in PEOPLE}, {name: said(name, 6) for name in PEOPLE}


@pytest.fixture(scope="module")
def fleet():
    train, test, strange = made_up_samples(1)
    return SpeakerFleet.hear(MadeUpBackbone(), train, test, 7, strange)


@pytest.fixture(scope="module")
def without_eve():
    """The same fleet, which never met eve."""
    train, test, strange = ({n: v for n, v in part.items() if n != "eve"} for part in made_up_samples(1))
    return SpeakerFleet.hear(MadeUpBackbone(), train, test, 7, strange)


def test_equal_error_rate_of_known_scores():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.6], [0.1, 0.7]])
    assert VerificationPairs.of(scores, [0, 0, 1, 1]).equal_error_rate() == 0
    assert VerificationPairs.of(scores, [1, 1, 0, 0]).equal_error_rate() == 1
    # One of four genuine pairs below one of four impostors.
    mixed = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.3], [0.5, 0.4]])
    assert VerificationPairs.of(mixed, [0, 0, 0, 1]).equal_error_rate() == 0.25


def test_equal_error_rate_is_chance_for_scores_that_say_nothing():
    scores = np.random.default_rng(1).normal(size=(4_000, 2))
    pairs = VerificationPairs.of(scores, np.arange(4_000) % 2)
    assert pairs.equal_error_rate() == pytest.approx(0.5, abs=0.03)
    assert VerificationPairs.of(np.ones((10, 2)), np.arange(10) % 2).equal_error_rate() == 0.5


def test_impostors_are_strangers_where_there_are_any():
    known, strangers = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.85, 0.0], [0.3, 0.4], [0.1, 0.2]])
    pairs = VerificationPairs.of(known, [0, 1], strangers)

    assert pairs.genuine.tolist() == [0.8, 0.9]
    assert pairs.false_accepts(0.5) == pytest.approx(1 / 6)
    assert pairs.false_accepts(0.85) == pytest.approx(1 / 6)
    assert (pairs.false_rejects(0.8), pairs.false_rejects(0.81)) == (0, 0.5)


def test_pairs_of_one_kind_only_are_refused():
    with pytest.raises(ValueError, match="0 impostor"):
        VerificationPairs.of(np.ones((3, 1)), [0, 0, 0])
    with pytest.raises(ValueError, match="truth"):
        VerificationPairs.of(np.ones((3, 2)), [0, 0])
    with pytest.raises(ValueError, match="genuine"):
        threshold_rejecting([], 0.05)


def test_threshold_rejects_no_more_than_its_share():
    scores = np.arange(100.0)
    threshold = threshold_rejecting(scores, 0.05)
    assert (scores < threshold).mean() == 0.05


def test_people_are_taught_on_one_to_three_nodes_and_their_samples_go_round(fleet):
    taught_on = {tuple(sorted(teaching_nodes(seed, name))) for seed, name in itertools.product(range(9), PEOPLE)}
    assert {len(nodes) for nodes in taught_on} == {1, 2, 3}
    assert {node for nodes in taught_on for node in nodes} == set(range(len(NODES)))

    train, _, _ = made_up_samples(1)
    for name in PEOPLE:
        samples = np.array([sample[:, 0] for sample in train[name][0]])
        offsets = np.unique(fleet.people[name].taught[0][:, :-1] - samples)
        assert set(offsets.tolist()) == {5 * node for node in teaching_nodes(7, name)}


def test_intercept_is_the_last_feature(fleet):
    assert fleet.features == FEATURES + 1
    assert set(np.unique(fleet.people["ann"].asked[:, :, -1])) == {INTERCEPT_CODE}


def test_scores_that_would_not_be_exact_are_refused(fleet):
    head = fleet.head(PEOPLE)
    codes = fleet.people["ann"].asked
    assert np.array_equal(head.scores(codes)[1], head.scores(codes[1]))
    with pytest.raises(HeadError, match="exact"):
        head.scores(codes << 20)


def test_ridge_does_not_grow_with_an_offset_of_all_codes():
    generator = np.random.default_rng(2)
    codes = generator.integers(-50, 50, (200, 30))
    assert ridge_of(HeadStatistics.of(codes + 1_000)) == pytest.approx(ridge_of(HeadStatistics.of(codes)), rel=0.02)


def test_known_people_are_told_apart_and_lenient_threshold_keeps_its_word(fleet):
    closed, bars = closed_set(fleet), fleet.thresholds(fleet.names)
    pairs = fleet.pairs(fleet.head(fleet.names))

    assert closed.accuracy > 0.95
    assert closed.equal_error_rate < 0.05
    assert pairs.false_rejects(bars.lenient) < 3 * FALSE_REJECT_SHARE
    assert pairs.false_accepts(bars.strict) <= pairs.false_accepts(bars.lenient)
    assert pairs.false_rejects(bars.strict) >= pairs.false_rejects(bars.lenient)


def test_scores_without_information_are_chance():
    train, test, _ = made_up_samples(3)
    shuffled = {name: test[other] for name, other in zip(PEOPLE, (*PEOPLE[1:], PEOPLE[0]), strict=True)}
    closed = closed_set(SpeakerFleet.hear(MadeUpBackbone(), train, shuffled, 7))
    assert closed.accuracy < 0.1
    assert closed.equal_error_rate > 0.5


def test_forgotten_are_as_strange_as_those_who_never_were(fleet, without_eve):
    rest = [name for name in PEOPLE if name != "eve"]
    head, never = fleet.head(rest), without_eve.head(rest)

    assert fleet.statistics(rest).equals(without_eve.statistics(rest))
    assert np.array_equal(head.weights, never.weights)
    assert fleet.thresholds(rest) == without_eve.thresholds(rest)


def test_forgets_report_what_a_forget_did(fleet):
    report = forgets(fleet)

    assert report.exact
    assert report.forgotten_accepts == report.never_enrolled_accepts < report.known_accepts
    assert report.worst_retained_loss < 0.05


def test_a_forget_that_leaves_something_is_not_called_exact(fleet, monkeypatch):
    honest = SpeakerFleet.statistics

    def forgetful(self, names, without_group=None):
        # Of everybody whom this fleet knows and who is not asked for, a group stays in the sum.
        gone = self.people.keys() - set(names)
        left_over = total([self.people[name].groups[2] for name in gone], self.features)
        return honest(self, names, without_group) + left_over

    monkeypatch.setattr(SpeakerFleet, "statistics", forgetful)

    assert not forgets(fleet).exact


def test_public_impostors_are_easier_than_strangers(fleet):
    public, strangers = open_set(fleet, held_out=False), open_set(fleet, held_out=True)

    assert min(public.accuracy, strangers.accuracy) > 0.95
    assert public.strict_accepts <= strangers.strict_accepts < 0.5
    assert strangers.strict_accepts <= strangers.lenient_accepts
    assert public.equal_error_rate < strangers.equal_error_rate


def test_altered_voices_count_for_public_people_only(fleet):
    enrolled, public = PEOPLE[:3], PEOPLE[3:]
    altered_of = dict(fleet.people) | {
        name: dataclasses.replace(fleet.people[name], altered=HeadStatistics.zero(fleet.features)) for name in enrolled
    }
    same = SpeakerFleet(altered_of).head(enrolled, public)
    none = SpeakerFleet(
        {name: dataclasses.replace(p, altered=HeadStatistics.zero(fleet.features)) for name, p in fleet.people.items()}
    ).head(enrolled, public)

    head = fleet.head(enrolled, public)
    assert np.array_equal(head.weights, same.weights)
    assert not np.array_equal(head.weights, none.weights)


def test_altered_sample_has_another_length_pitch_and_loudness():
    time = np.arange(4_000) / 8_000
    sample = (0.1 * np.sin(2 * np.pi * 400 * time)).astype(np.float32)[:, None]
    faster = altered(sample, 1.25, 2.0)

    assert faster.shape == (3_200, 1)
    assert np.abs(faster).max() == pytest.approx(0.2, rel=0.05)
    assert np.abs(np.fft.rfft(faster[:, 0])).argmax() * 8_000 / 3_200 == pytest.approx(500, abs=3)
    assert np.abs(altered(sample, 0.8, 100.0)).max() == 1
    assert len(altered(sample[:1_000], 1.25, 1.0)) == MIN_SAMPLES
    many = altered_voices(1, "ann", [sample, sample])
    assert len(many) == 2 * len(SPEEDS)
    assert all(np.array_equal(a, b) for a, b in zip(many, altered_voices(1, "ann", [sample, sample]), strict=True))
    assert not np.array_equal(many[0], altered_voices(1, "bob", [sample, sample])[0])


def test_reservoir_recognises_real_speakers_of_vowels():
    people = dict(list(SPEAKERS.load_people().items())[:5])
    backbone = SPEAKERS.program(load_preset(PRESET), 90, NODES, EnergyLedger(len(NODES)))
    train = {name: by_group((0, sample) for sample in p.train[:20]) for name, p in people.items()}
    test = {name: p.test[:10] for name, p in people.items()}
    vowels = SpeakerFleet.hear(backbone, train, test, 90)

    head = vowels.head(vowels.names)

    assert vowels.accuracy(head) >= 0.95
    assert vowels.pairs(head).equal_error_rate() <= 0.04
