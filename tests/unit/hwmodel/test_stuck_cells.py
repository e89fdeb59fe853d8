"""Stuck cells: how many, which ones, and that they stay."""

from dataclasses import replace

import pytest
import torch

from hwmodel import CellKey, ConductanceWindow, DeviceError, DeviceModels, StuckCells, cell_levels, load_preset

PRESET = load_preset("180nm-1t1r")
WINDOW = ConductanceWindow.of(PRESET)
KEY = CellKey(fleet_seed=1, node="node-0", layer="fc", epoch=0, plane="weight")


@pytest.mark.parametrize(("low_share", "high_share"), [(0.05, 0.06), (1e-4, 0.0), (0.0, 0.005), (0.3, 0.7)])
def test_shares_are_met(low_share, high_share):
    low, high = StuckCells(low_share, high_share).where(KEY, 200_000)

    for mask, share in ((low, low_share), (high, high_share)):
        spread = (200_000 * share * (1 - share)) ** 0.5
        assert int(mask.sum()) == pytest.approx(200_000 * share, abs=4 * spread)
    assert not bool((low & high).any())


def test_no_share_needs_no_draw(monkeypatch):
    monkeypatch.setattr(CellKey, "stuck_draws", lambda *_: pytest.fail("nothing is stuck"))
    levels = WINDOW.levels

    assert StuckCells(0, 0).hold(levels, KEY, WINDOW) is levels
    assert not any(bool(mask.any()) for mask in StuckCells(0, 0).where(KEY, 100))


def test_stuck_cells_rest_at_the_ends_of_the_window_and_the_others_do_not_move():
    levels = torch.full((40, 50), WINDOW.mid_level, dtype=torch.int32)
    stuck = StuckCells(0.1, 0.2)
    low, high = (mask.view(40, 50) for mask in stuck.where(KEY, 2000))

    held = stuck.hold(levels, KEY, WINDOW)

    assert bool((held[low] == WINDOW.min_level).all())
    assert bool((held[high] == WINDOW.max_level).all())
    assert torch.equal(held[~(low | high)], levels[~(low | high)])
    assert bool((levels == WINDOW.mid_level).all()), "the levels given are not changed"


def test_a_broken_cell_stays_broken_when_it_is_programmed_again():
    models = replace(DeviceModels.of(PRESET), stuck_cells=StuckCells(0.05, 0.05))
    targets = torch.full((2000,), WINDOW.mid_level, dtype=torch.int32)
    low, high = models.stuck_cells.where(KEY, 2000)

    again = cell_levels(targets, key=replace(KEY, epoch=9), models=models, window=WINDOW)

    assert bool((again[low] == WINDOW.min_level).all())
    assert bool((again[high] == WINDOW.max_level).all())


@pytest.mark.parametrize("part", ["node", "layer", "plane"])
def test_other_chips_layers_and_planes_break_elsewhere(part):
    stuck = StuckCells(0.1, 0.1)

    assert not torch.equal(stuck.where(KEY, 500)[0], stuck.where(replace(KEY, **{part: "other"}), 500)[0])


def test_sound_cells_are_the_same_with_and_without_broken_neighbours():
    targets = torch.full((2000,), WINDOW.mid_level, dtype=torch.int32)
    sound_models = DeviceModels.of(PRESET)
    models = replace(sound_models, stuck_cells=StuckCells(0.1, 0.1))
    low, high = models.stuck_cells.where(KEY, 2000)

    one, other = (cell_levels(targets, key=KEY, models=m, window=WINDOW) for m in (models, sound_models))

    assert torch.equal(one[~(low | high)], other[~(low | high)])


@pytest.mark.parametrize("shares", [(-0.1, 0), (0, 1.1), (0.6, 0.6), (float("nan"), 0)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(DeviceError, match="between 0 and 1 together"):
        StuckCells(*shares)
