"""Sufficient statistics of a head: integers in, integers out, and a forget that leaves nothing."""

import numpy as np
import pytest

from fleet.heads.enrolment import CodeSum, SufficientStatistics
from fleet.heads.errors import StatisticsError
from fleet.heads.packing import pack_statistics
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import HeadStatistics
from tests.unit.heads.crowd import FEATURES, SAMPLES, TAGS, Crowd


@pytest.fixture(scope="module")
def crowd():
    return Crowd()


def test_head_knows_the_people_whom_it_learned_and_rejects_most_others(crowd):
    head = crowd.enrolled().build()
    codes, truth = crowd.asked()

    scores = codes.astype(np.int64) @ head.codes.astype(np.int64)

    assert head.tags == TAGS
    named = np.array(head.tags)[scores.argmax(axis=2)]
    assert (named == truth).mean() > 0.95
    assert (scores.max(axis=2) >= head.threshold).mean() > 0.8
    unknown = Crowd(seed=77).asked()[0].astype(np.int64) @ head.codes.astype(np.int64)
    assert (unknown.max(axis=2) >= head.threshold).mean() < 0.3


def test_order_in_which_nodes_contribute_does_not_matter(crowd):
    forwards = crowd.enrolled()
    backwards = SufficientStatistics.of_packed(crowd.public, reversed(crowd.packed()))

    assert backwards.equals(forwards)
    assert backwards.digest() == forwards.digest()
    assert backwards.build().digest() == forwards.build().digest()


def test_what_a_person_contributed_is_added_up_over_nodes(crowd):
    everybody = crowd.enrolled()
    taken = {tag: np.concatenate(list(crowd.taken(tag).values())) for tag in TAGS}

    assert everybody.enrolled.equals(HeadStatistics.of(np.concatenate(list(taken.values()))))
    assert {tag: p.count for tag, p in everybody.people.items()} == dict.fromkeys(TAGS, SAMPLES)
    assert all(np.array_equal(p.code_sum, taken[tag].sum(axis=0)) for tag, p in everybody.people.items())


@pytest.mark.parametrize("gone", [("ada",), ("cyd",), ("eve", "ada", "dan"), TAGS[1:]])
def test_sum_without_forgotten_people_is_that_of_a_fleet_that_never_knew_them(crowd, gone):
    left = SufficientStatistics.of_packed(crowd.public, [row for row in crowd.packed() if row[0] not in gone])
    kept = {tag: np.concatenate(list(crowd.taken(tag).values())) for tag in TAGS if tag not in gone}
    never = SufficientStatistics(
        crowd.public,
        HeadStatistics.of(np.concatenate(list(kept.values()))),
        {tag: CodeSum(x.sum(axis=0), len(x)) for tag, x in kept.items()},
    )

    assert left.equals(never)
    assert left.digest() == never.digest()
    head, reference = left.build(), never.build()
    assert head.tags == reference.tags
    assert np.array_equal(head.codes, reference.codes)
    assert (head.threshold, head.digest()) == (reference.threshold, reference.digest())


def test_dropping_a_column_is_not_forgetting(crowd):
    whole = crowd.enrolled().build()
    never = crowd.enrolled(TAGS[1:]).build()

    assert not np.array_equal(whole.codes[:, 1:], never.codes)


def test_statistics_of_another_backbone_are_refused(crowd):
    foreign = pack_statistics(HeadStatistics.of(np.ones((1, FEATURES + 1), np.int32)))

    with pytest.raises(StatisticsError, match="different backbones"):
        SufficientStatistics.of_packed(crowd.public, [*crowd.packed(), ("zoe", foreign)])
    with pytest.raises(StatisticsError, match="different backbones"):
        SufficientStatistics.of_packed(crowd.public, [("zoe", foreign)]).build()


def test_a_head_of_nobody_is_empty_and_has_a_threshold(crowd):
    head = SufficientStatistics(crowd.public, HeadStatistics.zero(FEATURES), {}).build()

    assert head.tags == ()
    assert head.codes.shape == (FEATURES, 0)
    assert head.threshold > 0


def test_digest_tells_one_integer_and_one_name_from_another(crowd):
    everybody = crowd.enrolled()
    renamed = SufficientStatistics(
        everybody.public, everybody.enrolled, {("x" + t): p for t, p in everybody.people.items()}
    )
    moved = SufficientStatistics(
        everybody.public,
        everybody.enrolled,
        {t: CodeSum(p.code_sum + (t == "bob"), p.count) for t, p in everybody.people.items()},
    )

    assert len({everybody.digest(), renamed.digest(), moved.digest()}) == 3
    assert not everybody.equals(renamed)
    assert not everybody.equals(moved)


@pytest.mark.parametrize(
    ("codes", "person", "said"),
    [
        (np.ones((2, 6, 3)), np.repeat(np.arange(3), 2), "int32"),
        (np.ones((2, 0, 3), np.int32), np.zeros(0, np.int64), "none of them zero"),
        (np.ones((2, 6, 3), np.int32), np.arange(5), "people's numbers"),
        (np.ones((2, 6, 3), np.int32), np.repeat(np.arange(2), 3), "three public people"),
        (np.ones((2, 5, 3), np.int32), np.array([0, 0, 1, 1, 2]), "two samples each"),
        (np.ones((300, 12, 1), np.int32), np.repeat(np.arange(3), 4), "fewer nodes"),
    ],
)
def test_public_codes_that_no_head_can_be_built_on_are_refused(codes, person, said):
    with pytest.raises(StatisticsError, match=said):
        PublicCodes(codes, person)
