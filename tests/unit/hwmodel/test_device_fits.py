"""Simulated cells against the published fits, over the whole window."""

import numpy as np
import pytest

from hwmodel import (
    DeviceError,
    PresetError,
    fit_tolerance_us,
    load_preset,
    pulses_against_tolerance,
    sampled_programming_error,
)

DAY_S = 86_400.0


@pytest.mark.parametrize("age_s", [1.0, 3600.0, DAY_S, 2 * DAY_S])
def test_scatter_of_simulated_cells_agrees_with_the_published_fit(age_s):
    sampled = sampled_programming_error(age_s)

    assert (sampled.conductance_us[0], sampled.conductance_us[-1]) == (1, 40)
    assert (np.abs(sampled.sampled_us - sampled.fit_us) <= np.maximum(0.35, 0.15 * sampled.fit_us)).all()
    assert sampled.worst_share_of_tolerance < 1


def test_away_from_the_floor_the_scatter_is_the_fit_within_sampling_error():
    sampled = sampled_programming_error(DAY_S, cells=8000)
    inner = sampled.conductance_us > 15  # three sigma above 0 uS

    assert sampled.sampled_us[inner] == pytest.approx(sampled.fit_us[inner], rel=4 / np.sqrt(2 * 8000))


def test_a_day_shows_in_the_scatter():
    """Guards the tests above against a model that forgets relaxation."""
    second, day = sampled_programming_error(1.0), sampled_programming_error(DAY_S)
    off = np.abs(second.sampled_us - day.fit_us)

    assert (off > fit_tolerance_us(day.fit_us)).any()


def test_the_rival_fit_is_given_where_it_says_something():
    second, day = sampled_programming_error(1.0), sampled_programming_error(DAY_S)

    assert np.isnan(second.rival_us).tolist() == (second.conductance_us > 39.26).tolist()
    assert np.isnan(day.rival_us).all()
    assert np.nanmax(np.abs(second.rival_us - second.fit_us)) == pytest.approx(0.56, abs=0.02)


def test_closed_form_and_pulse_by_pulse_are_compared_at_each_tolerance():
    comparisons = pulses_against_tolerance(load_preset("130nm-neurram"), [0.5, 1.0, 5.0], cells=4000)

    assert [c.tolerance_us for c in comparisons] == [0.5, 1.0, 5.0]
    for comparison in comparisons:
        assert comparison.simulated_pulses == pytest.approx(comparison.expected_pulses, rel=0.06)
        assert comparison.simulated_energy_j == pytest.approx(comparison.expected_energy_j, rel=0.06)


def test_impossible_questions_are_refused():
    with pytest.raises(DeviceError, match="2 points and 2 cells"):
        sampled_programming_error(points=1)
    with pytest.raises(DeviceError, match="at least one cell"):
        pulses_against_tolerance(load_preset("180nm-1t1r"), [1.0], cells=0)
    with pytest.raises(PresetError, match="tolerance_us"):
        pulses_against_tolerance(load_preset("180nm-1t1r"), [50.0])
    with pytest.raises(DeviceError, match="covers 0 to 40 uS"):
        sampled_programming_error(preset=load_preset("180nm-1t1r"))
