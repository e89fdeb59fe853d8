"""Sufficient statistics of a head: integers in, integers out, and a forget that leaves nothing."""

import numpy as np
import pytest

from fleet.heads.enrolment import CodeSum, NodeShare, SufficientStatistics
from fleet.heads.errors import StatisticsError
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import HeadStatistics
from tests.unit.heads.crowd import FEATURES, NODES, TAGS, Crowd


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
    backwards = SufficientStatistics.empty(crowd.public)
    for node in reversed(range(NODES)):
        for tag in reversed(TAGS):
            if node in crowd.places[tag]:
                backwards = backwards.with_share(crowd.share(node, [tag]))

    assert backwards.equals(forwards)
    assert backwards.digest() == forwards.digest()
    assert backwards.build().digest() == forwards.build().digest()


@pytest.mark.parametrize("gone", [("ada",), ("cyd",), ("eve", "ada", "dan"), TAGS])
def test_forgotten_people_leave_the_integers_of_books_that_never_knew_them(crowd, gone):
    everybody = crowd.enrolled()
    for tag in gone:
        everybody = everybody.without(tag, crowd.statistics(tag))
    never = crowd.enrolled([tag for tag in TAGS if tag not in gone])

    assert everybody.equals(never)
    assert everybody.digest() == never.digest()
    head, reference = everybody.build(), never.build()
    assert head.tags == reference.tags
    assert np.array_equal(head.codes, reference.codes)
    assert (head.threshold, head.digest()) == (reference.threshold, reference.digest())


def test_dropping_a_column_is_not_forgetting(crowd):
    whole = crowd.enrolled().build()
    never = crowd.enrolled(TAGS[1:]).build()

    assert not np.array_equal(whole.codes[:, 1:], never.codes)


def test_books_before_a_forget_are_left_as_they_were(crowd):
    everybody = crowd.enrolled()
    digest = everybody.digest()

    everybody.without("bob", crowd.statistics("bob"))

    assert everybody.digest() == digest


def test_taking_away_something_else_than_was_added_is_refused(crowd):
    everybody = crowd.enrolled()

    with pytest.raises(StatisticsError, match="not what was added for 'bob'"):
        everybody.without("bob", crowd.statistics("cyd"))
    with pytest.raises(StatisticsError, match="not what was added"):
        everybody.without("ada", HeadStatistics.of(crowd.taken("ada")[0]))
    with pytest.raises(StatisticsError, match="nobody in the statistics has the tag 'zoe'"):
        everybody.without("zoe", crowd.statistics("bob"))


def test_a_person_cannot_be_forgotten_twice(crowd):
    everybody = crowd.enrolled().without("bob", crowd.statistics("bob"))

    with pytest.raises(StatisticsError, match="nobody"):
        everybody.without("bob", crowd.statistics("bob"))


def test_a_share_whose_people_do_not_add_up_is_refused(crowd):
    whole = crowd.share(2, TAGS)
    fewer = {tag: p for tag, p in whole.people.items() if tag != "ada"}

    with pytest.raises(StatisticsError, match="do not add up"):
        NodeShare(whole.together, fewer)
    with pytest.raises(StatisticsError, match="needs a tag"):
        NodeShare(HeadStatistics.zero(FEATURES), {"ada": CodeSum(np.zeros(FEATURES, np.int64), 0)})


def test_shares_of_another_backbone_are_refused(crowd):
    one = np.ones((1, FEATURES + 1), np.int32)
    foreign = NodeShare(HeadStatistics.of(one), {"ada": CodeSum(one.sum(axis=0, dtype=np.int64), 1)})

    with pytest.raises(StatisticsError, match="different backbones"):
        crowd.enrolled().with_share(foreign)


def test_a_head_of_nobody_is_empty_and_has_a_threshold(crowd):
    head = SufficientStatistics.empty(crowd.public).build()

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
