"""The cell: window, programming error, pulses of write-verify, endurance."""

import math

import pytest
import torch

from hwmodel import (
    ConductanceWindow,
    ConstantProgrammingError,
    DeviceError,
    Endurance,
    keyed_normal,
    keyed_uint16,
    load_preset,
    programmed_levels,
    programming_pulses,
    pulses_per_cell,
)

PRESET = load_preset("180nm-1t1r")
WINDOW = ConductanceWindow.of(PRESET)


def test_window_is_whole_grid_steps():
    assert (WINDOW.min_level, WINDOW.mid_level, WINDOW.max_level, WINDOW.half_span) == (320, 800, 1280, 480)
    assert WINDOW.to_us(torch.tensor([320, 800, 1280])).tolist() == [20, 50, 80]


def test_programming_error_has_the_stated_sigma_and_no_bias():
    targets = torch.full((100_000,), WINDOW.mid_level, dtype=torch.int32)
    draws = keyed_uint16(1, "test", count=100_000)

    error_us = WINDOW.to_us(
        programmed_levels(targets, draws, ConstantProgrammingError(1.0), WINDOW) - targets
    )

    assert error_us.std().item() == pytest.approx(1.0, rel=0.01)
    assert error_us.mean().item() == pytest.approx(0.0, abs=0.01)


def test_no_cell_leaves_the_window():
    targets = torch.tensor([WINDOW.min_level, WINDOW.max_level], dtype=torch.int32).repeat(5000)
    draws = keyed_uint16(1, "test", count=10_000)

    levels = programmed_levels(targets, draws, ConstantProgrammingError(10.0), WINDOW)

    assert levels.min() == WINDOW.min_level
    assert levels.max() == WINDOW.max_level


def test_without_error_cells_hold_their_targets():
    targets = torch.arange(WINDOW.min_level, WINDOW.max_level, dtype=torch.int32)
    draws = keyed_uint16(1, "test", count=len(targets))

    assert torch.equal(programmed_levels(targets, draws, ConstantProgrammingError(0.0), WINDOW), targets)


class RisingError:
    """A stand-in for a published fit: 1 % of the conductance."""

    def sigma_us(self, conductance_us):
        return 0.01 * conductance_us


def test_an_error_model_may_depend_on_the_conductance():
    draws = keyed_uint16(1, "test", count=50_000)

    def spread(level):
        targets = torch.full((50_000,), level, dtype=torch.int32)
        return WINDOW.to_us(programmed_levels(targets, draws, RisingError(), WINDOW)).std().item()

    assert spread(480) == pytest.approx(0.3, rel=0.02)
    assert spread(1120) == pytest.approx(0.7, rel=0.02)


@pytest.mark.parametrize("sigma", [-1, math.nan, math.inf])
def test_an_impossible_sigma_is_refused(sigma):
    with pytest.raises(DeviceError, match="sigma"):
        ConstantProgrammingError(sigma)


@pytest.mark.parametrize(
    ("tolerance_us", "pulses"), [(0.25, 34), (0.5, 17), (1, 8.52), (2, 4.3), (3, 2.9), (5, 1.9)]
)
def test_pulses_against_tolerance_follow_the_reference(tolerance_us, pulses):
    preset = PRESET.with_values({"write_verify.tolerance_us": tolerance_us})

    assert pulses_per_cell(preset) == pytest.approx(pulses, rel=0.03)


def test_closed_form_is_the_mean_of_pulse_by_pulse_write_verify():
    """A pulse lands with a normal error of first_pulse_sigma_us; it is repeated until it is inside."""
    cells, sigma = 20_000, PRESET.write_verify.first_pulse_sigma_us
    landings = keyed_normal(1, "pulses", count=cells * 100).view(cells, 100) * sigma
    inside = landings.abs() <= PRESET.write_verify.tolerance_us
    pulses = torch.where(inside.any(dim=1), inside.int().argmax(dim=1) + 1, 100)

    assert pulses.double().mean().item() == pytest.approx(pulses_per_cell(PRESET), rel=0.02)


def test_time_out_bounds_the_pulses():
    preset = PRESET.with_values({"write_verify.tolerance_us": 0.25, "write_verify.max_pulses": 30})

    assert pulses_per_cell(preset) == 30


def test_pulses_of_many_cells_are_whole():
    assert programming_pulses(PRESET, 0) == 0
    assert programming_pulses(PRESET, 1000) == 8516
    with pytest.raises(DeviceError, match="-1 cells"):
        programming_pulses(PRESET, -1)


def test_endurance_counts_down():
    endurance = Endurance(PRESET.cell.endurance_cycles)

    assert endurance.used(8.5) == pytest.approx(8.5e-6)
    assert endurance.programmings_left(PRESET) == 117_428
    assert endurance.programmings_left(PRESET, pulses_spent_per_cell=1e6 - 9) == 1
    assert endurance.programmings_left(PRESET, pulses_spent_per_cell=2e6) == 0
