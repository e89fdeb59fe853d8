"""Write-verify: the closed form, and the pulse-by-pulse simulation that is its oracle."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwmodel import (
    PROGRAMMING_ERROR_FITS,
    CellKey,
    ConductanceWindow,
    ConstantProgrammingError,
    DeviceError,
    DeviceModels,
    StuckCells,
    WanRelaxation,
    WriteVerifyResult,
    cell_levels,
    cost,
    expected_write_verify,
    load_preset,
    mean_pulses,
    pulses_per_cell,
    simulate_write_verify,
    verified_variance_us2,
)

PRESET = load_preset("180nm-1t1r")
WINDOW = ConductanceWindow.of(PRESET)
KEY = CellKey(fleet_seed=1, node="node-0", layer="fc", epoch=0, plane="weight")
TOLERANCES_US = [0.25, 0.5, 1.0, 2.0, 3.0, 5.0]
CELLS = 20_000
#: Sampling errors are allowed for four of their standard deviations.
SIGMAS = 4.0


def preset_with(tolerance_us, **numbers):
    return PRESET.with_values({"write_verify.tolerance_us": tolerance_us} | numbers)


def middle_cells(count=CELLS):
    """Targets so far from the ends of the window that no landing is clipped to speak of."""
    return torch.full((count,), WINDOW.mid_level, dtype=torch.int32)


def test_pulses_at_one_microsiemens_are_those_of_the_publication():
    assert pulses_per_cell(PRESET) == pytest.approx(8.52, rel=1e-3)


@pytest.mark.parametrize(("tolerance_us", "pulses"), [(0.25, 34), (0.5, 17), (1, 8.52), (2, 4.3), (3, 2.9), (5, 1.9)])
def test_pulses_against_tolerance_follow_the_reference(tolerance_us, pulses):
    preset = preset_with(tolerance_us, **{"write_verify.max_pulses": 1000})

    assert pulses_per_cell(preset) == pytest.approx(pulses, rel=0.03)


def test_the_time_out_cuts_the_geometric_law_off():
    """Added up pulse by pulse: a cell gets pulse k if the k - 1 before it missed."""
    p = math.erf(0.25 / (math.sqrt(2) * 6.77))
    preset = preset_with(0.25, **{"write_verify.max_pulses": 30})

    assert pulses_per_cell(preset) == pytest.approx(sum((1 - p) ** k for k in range(30)))


def test_a_tolerance_that_no_pulse_misses_takes_one_pulse():
    assert mean_pulses(100.0, 1.0, max_pulses=100) == 1


@pytest.mark.parametrize(
    ("tolerance_us", "sigma_us", "max_pulses", "stuck_share"),
    [(0, 6.77, 100, 0), (1, 0, 100, 0), (math.nan, 1, 100, 0), (1, 6.77, 0, 0), (1, 6.77, 100, 1.5)],
)
def test_write_verify_that_cannot_be_is_refused(tolerance_us, sigma_us, max_pulses, stuck_share):
    with pytest.raises(DeviceError, match="write-verify needs a positive tolerance"):
        mean_pulses(tolerance_us, sigma_us, max_pulses, stuck_share)
    with pytest.raises(DeviceError, match="write-verify needs a positive tolerance"):
        mean_pulses(np.array([1.0, tolerance_us]), sigma_us, max_pulses, stuck_share)


def test_stuck_cells_spend_all_their_pulses():
    assert mean_pulses(1.0, 6.77, 100, stuck_share=0.1) == pytest.approx(0.9 * mean_pulses(1.0, 6.77, 100) + 0.1 * 100)
    assert expected_write_verify(PRESET, 1000, stuck_cells=StuckCells(0.05, 0.05)).not_converged_share == (
        pytest.approx(0.1, rel=1e-3)
    )


def test_pulses_of_many_cells_are_whole():
    assert expected_write_verify(PRESET, 0).pulses == 0
    assert expected_write_verify(PRESET, 1000).pulses == 8516
    with pytest.raises(DeviceError, match="-1 cells"):
        expected_write_verify(PRESET, -1)


@pytest.mark.parametrize("name", ["180nm-1t1r", "130nm-neurram", "22nm"])
def test_the_closed_form_costs_what_the_cost_model_charges(name):
    preset = load_preset(name)

    result, charged = expected_write_verify(preset, 1000).cost, cost.program_cells(preset, 1000)

    assert result.energy_j == pytest.approx(charged.energy_j)
    assert result.seconds == pytest.approx(charged.seconds)
    assert result.cell_writes == charged.cell_writes


def test_programming_a_weight_takes_the_energy_of_the_reference():
    assert expected_write_verify(PRESET, 1000).energy_j / 1000 == pytest.approx(1.65e-9, rel=0.01)


@pytest.mark.parametrize("tolerance_us", TOLERANCES_US)
def test_simulated_pulses_have_the_mean_of_the_closed_form(tolerance_us):
    preset = preset_with(tolerance_us)

    simulated = simulate_write_verify(middle_cells(), preset, key=KEY)

    spread = simulated.pulses.double().std().item()
    assert simulated.result.pulses == int(simulated.pulses.sum())
    assert simulated.result.pulses_per_cell == pytest.approx(
        pulses_per_cell(preset), abs=SIGMAS * spread / math.sqrt(CELLS)
    )


@pytest.mark.parametrize("max_pulses", [30, 60, 100])
@pytest.mark.parametrize("tolerance_us", [0.25, 0.5, 1.0])
def test_as_many_cells_run_out_of_pulses_as_the_closed_form_expects(tolerance_us, max_pulses):
    preset = preset_with(tolerance_us, **{"write_verify.max_pulses": max_pulses})
    expected = expected_write_verify(preset, CELLS)

    simulated = simulate_write_verify(middle_cells(), preset, key=KEY)

    assert simulated.result.not_converged == int((~simulated.converged).sum())
    spread = math.sqrt(expected.not_converged) + 1
    assert simulated.result.not_converged == pytest.approx(expected.not_converged, abs=SIGMAS * spread)


@pytest.mark.parametrize("tolerance_us", TOLERANCES_US)
def test_the_error_that_verified_cells_keep_has_the_variance_of_a_truncated_normal(tolerance_us):
    preset = preset_with(tolerance_us)

    simulated = simulate_write_verify(middle_cells(), preset, key=KEY)

    kept = simulated.deviation_us[simulated.converged]
    variance = verified_variance_us2(tolerance_us, preset.write_verify.first_pulse_sigma_us)
    assert simulated.verified_variance_us2 == variance
    assert kept.abs().max() <= tolerance_us
    assert kept.mean().item() == pytest.approx(0, abs=SIGMAS * math.sqrt(variance / len(kept)))
    # The variance of a flat law is sampled to sqrt(0.8 / n) of itself, of any rounder one to sqrt(2 / n).
    assert kept.var().item() == pytest.approx(variance, rel=SIGMAS * math.sqrt(2 / len(kept)))


def test_truncated_variance_is_a_third_of_the_tolerance_squared_where_that_is_narrow():
    assert verified_variance_us2(0.25, 6.77) == pytest.approx(0.25**2 / 3, rel=1e-3)
    assert verified_variance_us2(1e-3, 6.77) == pytest.approx(1e-6 / 3)
    assert verified_variance_us2(5.0, 6.77) < 0.95 * 25 / 3
    assert verified_variance_us2(100.0, 6.77) == pytest.approx(6.77**2)


def test_truncated_variance_is_that_of_the_integral():
    """The oracle: the second moment, by the rectangle rule."""
    x = np.linspace(-3, 3, 200_001)
    weight = np.exp(-((x / 6.77) ** 2) / 2)

    assert verified_variance_us2(3.0, 6.77) == pytest.approx((x * x * weight).sum() / weight.sum(), rel=1e-4)


@pytest.mark.parametrize("tolerance_us", TOLERANCES_US)
def test_simulated_energy_and_time_agree_with_the_closed_form(tolerance_us):
    preset = preset_with(tolerance_us)
    expected = expected_write_verify(preset, CELLS)

    simulated = simulate_write_verify(middle_cells(), preset, key=KEY)

    spread = simulated.pulses.double().std().item() / expected.pulses_per_cell / math.sqrt(CELLS)
    for name in ("energy_j", "seconds", "wear"):
        assert getattr(simulated.result, name) == pytest.approx(getattr(expected, name), rel=SIGMAS * spread), name


def test_energy_follows_the_conductance_of_each_pulse():
    near_floor, near_ceiling = (
        simulate_write_verify(torch.full((2000,), level, dtype=torch.int32), PRESET, key=KEY).result
        for level in (WINDOW.min_level + 160, WINDOW.max_level - 160)
    )
    assert near_floor.pulses == near_ceiling.pulses

    # 30 and 70 uS: the difference is V^2 G t of the pulses and of the reads after them.
    per_pulse_j = (1.8**2 * 1e-6 + 0.2**2 * 1e-7) * 40e-6
    gap_j = near_ceiling.energy_j - near_floor.energy_j
    assert gap_j == pytest.approx(near_floor.pulses * per_pulse_j, rel=0.02)
    assert gap_j == pytest.approx(
        expected_write_verify(PRESET, 2000, mean_conductance_us=70).energy_j
        - expected_write_verify(PRESET, 2000, mean_conductance_us=30).energy_j,
        rel=0.05,
    )


@pytest.mark.parametrize("tolerance_us", [0.5, 1.0])
@pytest.mark.parametrize("sigma_us", [1.0, 3.0])
def test_both_ways_of_programming_leave_the_same_error_after_a_second(tolerance_us, sigma_us):
    preset = preset_with(tolerance_us)
    models = DeviceModels(ConstantProgrammingError(sigma_us))
    targets = middle_cells()

    verified = simulate_write_verify(targets, preset, key=KEY, models=models)
    simulated = cell_levels(targets, key=KEY, models=models, window=WINDOW, verified=verified)
    closed = cell_levels(targets, key=KEY, models=models, window=WINDOW)

    for levels in (simulated, closed):
        error_us = WINDOW.to_us(levels - targets)[verified.converged]
        assert error_us.std().item() == pytest.approx(sigma_us, rel=0.02)
        assert error_us.mean().item() == pytest.approx(0, abs=SIGMAS * sigma_us / math.sqrt(CELLS))


def test_a_tolerance_wider_than_the_model_leaves_its_own_error():
    preset = preset_with(5.0)
    models = DeviceModels(ConstantProgrammingError(1.0))

    verified = simulate_write_verify(middle_cells(), preset, key=KEY, models=models)
    levels = cell_levels(middle_cells(), key=KEY, models=models, window=WINDOW, verified=verified)

    assert torch.equal(levels, verified.levels)
    assert WINDOW.to_us(levels).std().item() == pytest.approx(math.sqrt(verified.verified_variance_us2), rel=0.02)


def test_cells_programmed_pulse_by_pulse_relax_as_others_do():
    preset = load_preset("130nm-neurram")
    window = ConductanceWindow.of(preset)
    models = DeviceModels(PROGRAMMING_ERROR_FITS["wan-aihwkit"], WanRelaxation())
    targets = torch.full((CELLS,), round(20 / window.grid_us), dtype=torch.int32)

    verified = simulate_write_verify(targets, preset, key=KEY, models=models)
    aged = cell_levels(targets, key=KEY, models=models, window=window, age_s=86_400.0, verified=verified)

    fit_us = WanRelaxation().total_sigma_us(torch.tensor([20.0], dtype=torch.float64), 86_400.0).item()
    assert window.to_us(aged).std().item() == pytest.approx(fit_us, rel=0.03)


def test_cells_that_run_out_of_pulses_stay_where_the_last_one_left_them():
    preset = preset_with(0.25, **{"write_verify.max_pulses": 30})

    simulated = simulate_write_verify(middle_cells(), preset, key=KEY)
    missed = ~simulated.converged

    assert 0.3 < missed.double().mean() < 0.5
    assert bool((simulated.pulses[missed] == 30).all())
    assert bool((simulated.deviation_us[missed].abs() > 0.25).all())
    assert simulated.deviation_us[missed].std().item() == pytest.approx(6.77, rel=0.03)


def test_stuck_cells_are_given_up_and_stay_where_they_are():
    models = replace(DeviceModels.of(PRESET), stuck_cells=StuckCells(0.03, 0.07))

    simulated = simulate_write_verify(middle_cells(), PRESET, key=KEY, models=models)
    low, high = models.stuck_cells.where(KEY, CELLS)

    assert bool((simulated.levels[low] == WINDOW.min_level).all())
    assert bool((simulated.levels[high] == WINDOW.max_level).all())
    assert bool((simulated.pulses[low | high] == PRESET.write_verify.max_pulses).all())
    assert not bool(simulated.converged[low | high].any())
    expected = expected_write_verify(PRESET, CELLS, stuck_cells=models.stuck_cells)
    assert simulated.result.pulses == pytest.approx(expected.pulses, rel=0.03)
    assert simulated.result.not_converged == pytest.approx(expected.not_converged, rel=0.1)


def test_stuck_cells_change_no_other_cell():
    targets = middle_cells(5000)
    models = replace(DeviceModels.of(PRESET), stuck_cells=StuckCells(0.1, 0.1))

    with_stuck = simulate_write_verify(targets, PRESET, key=KEY, models=models)
    without = simulate_write_verify(targets, PRESET, key=KEY)

    low, high = models.stuck_cells.where(KEY, 5000)
    sound = ~(low | high)
    assert torch.equal(with_stuck.levels[sound], without.levels[sound])
    assert torch.equal(with_stuck.pulses[sound], without.pulses[sound])


def test_a_cell_stuck_at_its_target_is_accepted_at_once():
    models = replace(DeviceModels.of(PRESET), stuck_cells=StuckCells(1.0, 0.0))
    targets = torch.tensor([WINDOW.min_level, WINDOW.max_level], dtype=torch.int32)

    simulated = simulate_write_verify(targets, PRESET, key=KEY, models=models)

    assert simulated.converged.tolist() == [True, False]
    assert simulated.pulses.tolist() == [1, PRESET.write_verify.max_pulses]


def test_results_of_two_lots_add_up():
    one, other = expected_write_verify(PRESET, 1000), expected_write_verify(PRESET, 3000)
    both = expected_write_verify(PRESET, 4000)

    total = one + other

    assert (total.cells, total.pulses) == (4000, one.pulses + other.pulses)
    assert total.wear == pytest.approx(both.wear, rel=1e-3)
    assert total.not_converged_share == pytest.approx(both.not_converged_share)
    assert total.energy_j == pytest.approx(both.energy_j, rel=1e-3)


def test_no_cells_take_nothing():
    empty = simulate_write_verify(torch.empty(0, dtype=torch.int32), PRESET, key=KEY)

    nothing = WriteVerifyResult(0, 0, 0, 0.0, 0.0, 0.0)
    assert empty.result == expected_write_verify(PRESET, 0) == nothing + nothing == nothing
    assert nothing.pulses_per_cell == nothing.not_converged_share == 0


def test_writing_cells_in_parallel_takes_less_time_and_no_less_energy():
    parallel = expected_write_verify(PRESET.with_values({"write_verify.parallel_cells": 16}), 1000)
    serial = expected_write_verify(PRESET, 1000)

    assert parallel.seconds == pytest.approx(serial.seconds / 16)
    assert parallel.energy_j == serial.energy_j


def test_impossible_questions_are_refused():
    with pytest.raises(DeviceError, match="-1 cells"):
        expected_write_verify(PRESET, -1)
    with pytest.raises(DeviceError, match="not negative; got -5"):
        expected_write_verify(PRESET, 1, mean_conductance_us=-5)
    with pytest.raises(DeviceError, match="window holds 320 to 1280"):
        simulate_write_verify(torch.tensor([100]), PRESET, key=KEY)
    with pytest.raises(DeviceError, match=r"simulated for cells \[3\]; the targets are \[4\]"):
        cell_levels(
            middle_cells(4),
            key=KEY,
            models=DeviceModels.ideal(),
            window=WINDOW,
            verified=simulate_write_verify(middle_cells(3), PRESET, key=KEY),
        )
