"""The cell: its window, how the models come together in it, and its endurance."""

import math
from dataclasses import replace

import pytest
import torch

from hwmodel import (
    PROGRAMMING_ERROR_FITS,
    CellKey,
    CmoRelaxation,
    ConductanceWindow,
    ConstantProgrammingError,
    DeviceError,
    DeviceModels,
    IrDrop,
    NoRelaxation,
    ReadNoise,
    StuckCells,
    WanRelaxation,
    cell_levels,
    keyed_uint16,
    load_preset,
)
from hwmodel.streams import normal_quantiles

PRESET = load_preset("180nm-1t1r")
WINDOW = ConductanceWindow.of(PRESET)
NEURRAM = load_preset("130nm-neurram")
KEY = CellKey(fleet_seed=1, node="node-0", layer="fc", epoch=0, plane="weight")
DAY_S = 86_400.0


def cells(level, count=50_000):
    return torch.full((count,), level, dtype=torch.int32)


def test_window_is_whole_grid_steps():
    assert (WINDOW.min_level, WINDOW.mid_level, WINDOW.max_level, WINDOW.half_span) == (320, 800, 1280, 480)
    assert WINDOW.to_us(torch.tensor([320, 800, 1280])).tolist() == [20, 50, 80]
    assert WINDOW.to_levels(torch.tensor([49.97, 10.0, 99.0], dtype=torch.float64)).tolist() == [800, 320, 1280]


def test_window_knows_how_far_errors_can_carry_a_cell():
    window = ConductanceWindow.of(NEURRAM)

    assert (window.floor_level, window.ceiling_level) == (0, 48 / NEURRAM.cell.conductance_grid_us)
    assert window.floor_level < window.min_level < window.max_level < window.ceiling_level


def test_programming_error_has_the_stated_sigma_and_no_bias():
    models = DeviceModels(ConstantProgrammingError(1.0))

    levels = cell_levels(cells(WINDOW.mid_level, 100_000), key=KEY, models=models, window=WINDOW)
    error_us = WINDOW.to_us(levels - WINDOW.mid_level)

    assert error_us.std().item() == pytest.approx(1.0, rel=0.01)
    assert error_us.mean().item() == pytest.approx(0.0, abs=0.01)


def test_no_cell_passes_floor_or_ceiling():
    targets = torch.tensor([WINDOW.min_level, WINDOW.max_level], dtype=torch.int32).repeat(5000)
    models = DeviceModels(ConstantProgrammingError(10.0))

    levels = cell_levels(targets, key=KEY, models=models, window=WINDOW)

    assert levels.min() == WINDOW.floor_level
    assert levels.max() == WINDOW.ceiling_level


def test_ideal_cells_hold_their_targets_and_draw_nothing(monkeypatch):
    monkeypatch.setattr(CellKey, "_draws", lambda *_: pytest.fail("an ideal cell has nothing to draw"))

    levels = cell_levels(WINDOW.levels, key=KEY, models=DeviceModels.ideal(), window=WINDOW, age_s=DAY_S)

    assert torch.equal(levels, WINDOW.levels)


class RisingError:
    """A stand-in for a published fit: 1 % of the conductance."""

    low_us, high_us, source = 0.0, math.inf, "test"

    def sigma_us(self, conductance_us):
        return 0.01 * conductance_us


def test_an_error_model_may_depend_on_the_conductance():
    def spread(level):
        levels = cell_levels(cells(level), key=KEY, models=DeviceModels(RisingError()), window=WINDOW)
        return WINDOW.to_us(levels).std().item()

    assert spread(480) == pytest.approx(0.3, rel=0.02)
    assert spread(1120) == pytest.approx(0.7, rel=0.02)


@pytest.mark.parametrize("targets", [[319], [1281], [800.0], [True]])
def test_targets_outside_the_window_or_off_the_grid_are_refused(targets):
    with pytest.raises(DeviceError, match=r"window|whole levels"):
        cell_levels(torch.tensor(targets), key=KEY, models=DeviceModels.ideal(), window=WINDOW)


def test_the_programming_draw_keeps_its_key():
    """Chips of earlier releases are regenerated from it."""
    draws = keyed_uint16(1, "crossbar.program", "node-0", "fc", 0, "weight", count=961)
    models = DeviceModels.of(PRESET)

    levels = cell_levels(WINDOW.levels, key=KEY, models=models, window=WINDOW)

    sigma_us = models.programming_error.sigma_us(WINDOW.to_us(WINDOW.levels))
    moved = WINDOW.levels + (normal_quantiles(draws) * sigma_us / WINDOW.grid_us).round()
    assert torch.equal(levels, moved.clamp(WINDOW.floor_level, WINDOW.ceiling_level).int())


@pytest.mark.parametrize("part", ["fleet_seed", "node", "layer", "epoch", "plane"])
def test_every_part_of_the_key_makes_other_cells(part):
    other = replace(KEY, **{part: 7 if part in {"fleet_seed", "epoch"} else "other"})
    models = DeviceModels.of(PRESET)

    one, two = (cell_levels(cells(800, 100), key=k, models=models, window=WINDOW) for k in (KEY, other))

    assert not torch.equal(one, two)


def test_error_and_relaxation_of_a_cell_are_independent_and_one_chip_stays_one_chip():
    window = ConductanceWindow.of(NEURRAM)
    models = DeviceModels(PROGRAMMING_ERROR_FITS["wan-aihwkit"], WanRelaxation())
    targets = cells(round(20 / window.grid_us))

    young, day, two_days = (
        window.to_us(cell_levels(targets, key=KEY, models=models, window=window, age_s=age) - targets)
        for age in (1.0, DAY_S, 2 * DAY_S)
    )

    def correlation(a, b):
        return torch.corrcoef(torch.stack([a, b]))[0, 1].item()

    assert correlation(young, day - young) == pytest.approx(0, abs=0.02)
    assert correlation(day - young, two_days - young) > 0.999


def test_relaxation_with_a_mean_shifts_every_cell():
    preset = load_preset("22nm")
    window = ConductanceWindow.of(preset)
    models = DeviceModels(PROGRAMMING_ERROR_FITS["cmo-0.2%"], CmoRelaxation())
    inside = replace(window, min_level=round(9 / window.grid_us))  # these fits begin at 9 uS
    targets = cells(round(40 / window.grid_us))

    moved_us = window.to_us(cell_levels(targets, key=KEY, models=models, window=inside, age_s=DAY_S) - targets)

    assert moved_us.mean().item() == pytest.approx(-0.089 * math.log(DAY_S), abs=0.02)
    expected = math.hypot(0.412 + 0.042 * math.log(DAY_S), 0.0008 + 0.00107 * 40)
    assert moved_us.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("name", ["180nm-1t1r", "130nm-neurram", "22nm"])
def test_models_of_a_preset_are_its_names_and_numbers(name):
    preset = load_preset(name)

    models = DeviceModels.of(preset)

    assert models.stuck_cells == StuckCells(preset.cell.stuck_low_share, preset.cell.stuck_high_share)
    assert models.read_noise == ReadNoise(preset.cell.read_noise_us)
    assert models.ir_drop == IrDrop(preset.read.wire_resistance_ohm, preset.read.mean_square_drive)
    if preset.models.programming_error == "constant":
        assert models.programming_error == ConstantProgrammingError(preset.cell.programming_sigma_us)


def test_the_papers_preset_has_the_papers_models_only():
    models = DeviceModels.of(PRESET)

    assert models.programming_error == ConstantProgrammingError(1.0)
    assert models.relaxation == NoRelaxation()
    assert models.stuck_cells.share == 0
    assert not models.read_noise.present
    assert not models.ir_drop.present


def test_a_window_that_the_model_does_not_cover_is_refused():
    with pytest.raises(DeviceError, match=r"180nm-1t1r.*20 to 80 uS.*0 to 40 uS.*wan-aihwkit"):
        DeviceModels.of(PRESET.with_models(programming_error="wan-aihwkit"))
