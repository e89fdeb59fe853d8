"""The certified solver: one answer in every environment, or none."""

import numpy as np
import pytest

from fleet.heads.errors import HeadError, NotCertifiedError, StatisticsError
from fleet.heads.solve import solve_rounded
from tests.unit.heads.crowd import UNKNOWNS, problem


def test_solution_solves_the_equation_to_the_last_bit_that_it_has():
    gram, targets = problem()
    ridge, scale = 2_000_000, 36

    solved = solve_rounded(gram, targets, ridge, scale)

    real = np.linalg.solve(gram + ridge * np.eye(UNKNOWNS), targets.astype(float)) * 2.0**scale
    assert np.abs(solved - real).max() < 0.51
    assert np.abs(solved).max() > 10_000


def test_order_of_features_does_not_matter():
    gram, targets = problem()
    order = np.random.default_rng(1).permutation(UNKNOWNS)

    shuffled = solve_rounded(
        np.ascontiguousarray(gram[np.ix_(order, order)]), np.ascontiguousarray(targets[order]), 2_000_000, 36
    )

    assert np.array_equal(shuffled, solve_rounded(gram, targets, 2_000_000, 36)[order])


def test_a_person_can_be_solved_for_alone():
    gram, targets = problem()

    alone = solve_rounded(gram, np.ascontiguousarray(targets[:, 3:4]), 2_000_000, 36)

    assert np.array_equal(alone[:, 0], solve_rounded(gram, targets, 2_000_000, 36)[:, 3])


def test_nobody_needs_no_head():
    gram, targets = problem()

    assert solve_rounded(gram, targets[:, :0], 1, 36).shape == (UNKNOWNS, 0)


def test_an_entry_half_way_between_two_codes_is_refused():
    # (1 + 1) w = 1 at one fraction bit less than it needs: exactly half-way.
    with pytest.raises(NotCertifiedError, match="rounding boundary"):
        solve_rounded(np.ones((1, 1), np.int64), np.ones((1, 1), np.int64), 1, 0)


def test_an_exact_solution_is_returned_as_it_is():
    solved = solve_rounded(np.full((1, 1), 3, np.int64), np.full((1, 1), 5, np.int64), 1, 8)

    assert solved.tolist() == [[320]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ridge": 0}, "positive integer"),
        ({"ridge": 2.5}, "positive integer"),
        ({"gram": np.zeros((2, 3), np.int64)}, "square"),
        ({"gram": np.array([[1, 2], [0, 1]])}, "symmetric"),
        ({"gram": np.eye(2)}, "int64"),
        ({"gram": np.array([[1 << 53, 0], [0, 1]])}, "beyond 2\\^53"),
        ({"gram": np.array([[-9, 0], [0, 1]])}, "positive definite"),
    ],
)
def test_what_cannot_be_solved_is_refused(change, said):
    arguments = {"gram": np.eye(2, dtype=np.int64), "targets": np.ones((2, 1), np.int64), "ridge": 1} | change

    with pytest.raises(StatisticsError, match=said):
        solve_rounded(**arguments, scale_bits=24)


def test_a_scale_that_int32_does_not_hold_is_refused():
    with pytest.raises(HeadError, match="beyond int32"):
        solve_rounded(np.eye(1, dtype=np.int64), np.full((1, 1), 1001, np.int64), 2, 30)
