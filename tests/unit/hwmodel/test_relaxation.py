"""Relaxation: published fits at their ages, log-time interpolation in between, ages that are refused."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from hwmodel import PROGRAMMING_ERROR_FITS, CmoRelaxation, DeviceError, NoRelaxation, WanRelaxation

CONDUCTANCE = torch.linspace(0, 40, 81, dtype=torch.float64)
DAY_S = 86_400.0
#: aihwkit, ReRamWan2022NoiseModel: uS, in powers of G / 40 uS.
PUBLISHED = {
    1.0: [0.348, 16.030, -43.853, 45.393, -16.815],
    DAY_S: [0.701, 22.086, -50.773, 47.095, -16.458],
    2 * DAY_S: [0.782, 20.274, -43.507, 37.062, -11.934],
}


def total_sigma_us(age_s):
    """Programming error and relaxation together, as independent errors add."""
    added = WanRelaxation().shift(CONDUCTANCE, age_s).sigma_us
    return (PROGRAMMING_ERROR_FITS["wan-aihwkit"].sigma_us(CONDUCTANCE) ** 2 + added**2).sqrt().numpy()


@pytest.mark.parametrize("age_s", PUBLISHED)
def test_total_error_of_wan_is_the_published_fit(age_s):
    expected = np.polynomial.polynomial.polyval(CONDUCTANCE.numpy() / 40, PUBLISHED[age_s])

    assert total_sigma_us(age_s) == pytest.approx(expected)
    assert WanRelaxation().total_sigma_us(CONDUCTANCE, age_s).numpy() == pytest.approx(expected)


def test_between_the_fits_sigma_is_linear_in_log_time():
    halfway = math.sqrt(DAY_S)

    assert total_sigma_us(halfway) == pytest.approx((total_sigma_us(1.0) + total_sigma_us(DAY_S)) / 2)


def test_wan_relaxation_adds_nothing_at_one_second_and_never_a_mean():
    shift = WanRelaxation().shift(CONDUCTANCE, 1.0)

    assert not bool(shift.sigma_us.any())
    assert not bool(WanRelaxation().shift(CONDUCTANCE, DAY_S).mean_us.any())


def test_total_error_of_wan_grows_through_the_first_day():
    totals = [total_sigma_us(age) for age in (1, 10, 100, 1000, 10_000, DAY_S)]

    assert all((later >= earlier).all() for earlier, later in pairwise(totals))


@pytest.mark.parametrize("age_s", [1.0, 60.0, DAY_S, 3e8])
def test_cmo_relaxation_is_the_published_formula_at_any_conductance(age_s):
    shift = CmoRelaxation().shift(CONDUCTANCE, age_s)

    assert shift.mean_us.numpy() == pytest.approx(-0.089 * math.log(age_s), rel=1e-3)
    assert shift.sigma_us.numpy() == pytest.approx(0.412 + 0.042 * math.log(age_s), rel=1e-3)


def test_cells_without_relaxation_stay_at_any_age():
    shift = NoRelaxation().shift(CONDUCTANCE, 1e12)

    assert not bool(shift.mean_us.any())
    assert not bool(shift.sigma_us.any())


@pytest.mark.parametrize(
    ("model", "age_s"),
    [
        (WanRelaxation(), 0.5),
        (WanRelaxation(), 3 * DAY_S),
        (WanRelaxation(), math.nan),
        (CmoRelaxation(), 0.0),
        (CmoRelaxation(), 4e8),
        (NoRelaxation(), -1.0),
        (NoRelaxation(), math.inf),
    ],
)
def test_an_age_that_nobody_measured_is_refused(model, age_s):
    with pytest.raises(DeviceError, match=rf"{type(model).__name__} covers ages of .* s; got .* s"):
        model.shift(CONDUCTANCE, age_s)


def test_wan_relaxation_is_refused_where_its_fits_end():
    with pytest.raises(DeviceError, match="0 to 40 uS; got 41 uS"):
        WanRelaxation().shift(torch.tensor([41.0], dtype=torch.float64), DAY_S)
