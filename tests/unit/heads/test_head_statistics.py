"""Integer statistics of a ridge head."""

import numpy as np
import pytest

from fleet.heads.errors import StatisticsError
from fleet.heads.statistics import HeadStatistics, total


def codes(seed, samples=5, features=8, largest=2000):
    return np.random.default_rng(seed).integers(-largest, largest + 1, (samples, features))


def test_gram_and_sum_are_those_of_the_integers():
    x = codes(1)

    statistics = HeadStatistics.of(x.astype(np.int32))

    assert statistics.gram.tolist() == (x.astype(object).T @ x.astype(object)).tolist()
    assert statistics.code_sum.tolist() == x.sum(axis=0).tolist()
    assert statistics.count == 5


def test_statistics_of_all_samples_are_the_sum_of_their_parts():
    x = codes(2, samples=9)

    assert HeadStatistics.of(x).equals(total([HeadStatistics.of(x[:4]), HeadStatistics.of(x[4:])], 8))


def test_a_difference_in_one_integer_is_a_difference():
    x = codes(3)
    other = x.copy()
    other[0, 0] += 1

    assert not HeadStatistics.of(x).equals(HeadStatistics.of(other))


@pytest.mark.parametrize(
    ("bad", "said"),
    [(np.zeros((2, 3)), "integers"), (np.zeros(3, np.int64), "integers"), (np.full((4, 2), 1 << 26), "2\\^53")],
)
def test_codes_that_cannot_be_summed_exactly_are_refused(bad, said):
    with pytest.raises(StatisticsError, match=said):
        HeadStatistics.of(bad)


def test_statistics_of_different_backbones_do_not_mix():
    with pytest.raises(StatisticsError, match="8 and of 9 features"):
        HeadStatistics.of(codes(1)) + HeadStatistics.of(codes(1, features=9))


def test_a_fleet_that_outgrows_float64_is_refused():
    one = HeadStatistics.of(np.full((1, 1), (1 << 26) - 1))

    with pytest.raises(StatisticsError, match="reach 2\\^53"):
        total([one] * 4, 1)
