"""Thresholds from virtual people: the shortcut is the long way, and the rule is kept."""

import numpy as np
import pytest

from fleet.heads import acceptance
from fleet.heads.acceptance import VirtualScores, acceptance_threshold, virtual_scores
from fleet.heads.errors import NotCertifiedError, StatisticsError
from fleet.heads.statistics import HeadStatistics, total
from tests.unit.heads.crowd import FEATURES, NODES, TAGS, Crowd

RIDGE = 900_000


@pytest.fixture(scope="module")
def crowd():
    return Crowd()


def problem(crowd, tags=TAGS):
    people = [HeadStatistics.of(np.concatenate(list(crowd.taken(tag).values()))) for tag in tags]
    statistics = total([crowd.public.statistics, *people], FEATURES)
    targets = np.zeros((FEATURES, len(tags)), np.int64)
    for column, person in enumerate(people):
        targets[:, column] = person.code_sum
    counts = np.array([person.count for person in people], np.int64)
    return statistics, RIDGE, targets, counts, crowd.public


def ridge_with_intercept(x, y):
    """Fit the long way: every vector with a constant 1 appended, which the ridge leaves free."""
    bordered = np.hstack([x, np.ones((len(x), 1))])
    penalty = np.diag([float(RIDGE)] * FEATURES + [0.0])
    return np.linalg.solve(bordered.T @ bordered + penalty, bordered.T @ y)


def asked(weights, x):
    return np.hstack([x, np.ones((len(x), 1))]) @ weights


def everybody(crowd, without):
    """Training vectors of the head if one public person had never been there; targets per enrolled person."""
    x = [crowd.public.codes[:, crowd.public.person != without].reshape(-1, FEATURES)]
    y = [np.zeros((len(x[0]), len(TAGS)))]
    for column, tag in enumerate(TAGS):
        for codes in crowd.taken(tag).values():
            x.append(codes)
            y.append(np.eye(len(TAGS))[[column] * len(codes)])
    return np.concatenate(x).astype(float), np.concatenate(y)


def test_virtual_strangers_score_as_in_a_head_that_never_saw_them(crowd):
    scores = virtual_scores(*problem(crowd))

    long_way = []
    for person in range(5):
        samples = crowd.public.codes[:, crowd.public.person == person].reshape(-1, FEATURES)
        long_way.append(asked(ridge_with_intercept(*everybody(crowd, person)), samples).max(axis=1))
    assert np.abs(scores.stranger - np.concatenate(long_way)).max() < 1e-9


def test_virtual_enrolment_scores_as_a_real_one_would(crowd):
    scores = virtual_scores(*problem(crowd))

    # The first person's first enrolment: the first half of six samples, all on one node, asked on every node.
    node = acceptance.SPREADS[0] * 3 % NODES
    samples = crowd.public.codes[:, crowd.public.person == 0]
    x, _ = everybody(crowd, 0)
    x = np.concatenate([x, samples[node, :3]])
    target = np.append(np.zeros(len(x) - 3), np.ones(3))
    long_way = asked(ridge_with_intercept(x, target), samples[:, 3:].reshape(-1, FEATURES))
    assert np.abs(scores.enrolled[: len(long_way)] - long_way).max() < 1e-9


def test_every_public_person_is_enrolled_with_both_halves_on_one_two_and_three_nodes(crowd):
    scores = virtual_scores(*problem(crowd))

    assert scores.enrolled.shape == (5 * 2 * 3 * NODES * 3,)
    assert scores.stranger.shape == (5 * 6 * NODES,)
    assert scores.enrolled.mean() > scores.stranger.mean() + 0.3


def test_with_nobody_enrolled_there_are_no_columns_to_be_taken_for(crowd):
    scores = virtual_scores(*problem(crowd, ()))

    assert scores.stranger.shape == (0,)
    assert acceptance_threshold(*problem(crowd, ())) >= 1


def given_scores(monkeypatch, enrolled, stranger):
    scores = VirtualScores(np.asarray(enrolled, float), np.asarray(stranger, float))
    monkeypatch.setattr(acceptance, "virtual_scores", lambda *_: scores)
    return acceptance_threshold(None, None, None, None, None)


def test_threshold_rejects_a_twentieth_of_the_virtually_enrolled(monkeypatch):
    enrolled = np.arange(100) / 128

    threshold = given_scores(monkeypatch, enrolled, np.zeros(50))

    assert threshold == 10
    assert (enrolled < threshold / 256).sum() == 5


def test_threshold_is_higher_if_too_many_strangers_would_pass(monkeypatch):
    stranger = np.arange(100) / 128

    threshold = given_scores(monkeypatch, np.full(40, 0.25), stranger)

    assert (stranger > threshold / 256).sum() == 10


def test_threshold_is_never_zero(monkeypatch):
    assert given_scores(monkeypatch, np.full(20, -0.5), []) == 1


def test_a_threshold_on_a_rounding_boundary_is_refused(monkeypatch):
    with pytest.raises(NotCertifiedError, match="rounding boundary"):
        given_scores(monkeypatch, np.full(20, 77.5 / 256 + 1e-12), [])


def test_no_samples_give_no_threshold(monkeypatch):
    with pytest.raises(StatisticsError, match="no public samples"):
        given_scores(monkeypatch, [], [])
