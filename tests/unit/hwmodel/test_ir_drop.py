"""IR drop along a bit line: the reference's figures, the ladder it approximates, and where it ends."""

import math

import numpy as np
import pytest
import torch

from hwmodel import ConductanceWindow, DeviceError, IrDrop, load_preset

WINDOW = ConductanceWindow.of(load_preset("180nm-1t1r"))
#: So fine that rounding to the grid does not show.
FINE = ConductanceWindow(0, 2**20, 2.0**-12, 0, 2**20)


def column(rows, conductance_us=50.0, window=WINDOW):
    return torch.full((rows, 1), round(conductance_us / window.grid_us), dtype=torch.int32)


@pytest.mark.parametrize(("wire_ohm", "drop"), [(0.1, 0.012), (0.7, 0.086)])
def test_the_far_end_loses_what_the_reference_says(wire_ohm, drop):
    ir_drop = IrDrop(wire_ohm, activity=0.3)

    seen_us = WINDOW.to_us(ir_drop.seen(column(128), WINDOW, tile_rows=128))[:, 0]

    assert ir_drop.far_end_drop(128, 50.0) == pytest.approx(drop, abs=5e-4)
    assert seen_us[-1].item() == pytest.approx(50 * (1 - drop), abs=0.04 + WINDOW.grid_us / 2)
    assert seen_us[0].item() == pytest.approx(50, abs=50 * drop * 2 / 128 + WINDOW.grid_us)


def test_cells_farther_from_the_amplifier_lose_more():
    seen = IrDrop(0.7, 0.3).seen(column(128), WINDOW, tile_rows=128)[:, 0]

    assert bool((seen[1:] <= seen[:-1]).all())
    assert seen[-1] < seen[0]


def test_first_order_is_the_resistor_ladder_where_the_drop_is_small():
    """The oracle: node equations of a wire with 128 cells, all driven at the activity, amplifier at 0 V."""
    rows, wire_ohm, activity, siemens = 128, 0.1, 0.3, 50e-6
    wire_s = 1 / wire_ohm
    network = np.diag(np.full(rows, 2 * wire_s + siemens))
    network -= np.diag(np.full(rows - 1, wire_s), 1) + np.diag(np.full(rows - 1, wire_s), -1)
    network[-1, -1] = wire_s + siemens  # the far end of the wire is open
    lost = np.linalg.solve(network, np.full(rows, siemens * activity))

    levels = column(rows, 50, FINE)
    seen_us = FINE.to_us(IrDrop(wire_ohm, activity).seen(levels, FINE, rows))[:, 0].numpy()

    assert 1 - seen_us / 50 == pytest.approx(lost, rel=0.05, abs=1e-4)


def test_each_column_and_each_tile_loses_by_its_own_conductance():
    levels = torch.cat([column(256, 20, FINE), column(256, 80, FINE)], dim=1)
    ir_drop = IrDrop(0.1, 0.3)

    seen = ir_drop.seen(levels, FINE, tile_rows=128)

    assert torch.equal(seen[:128], seen[128:])
    share_lost = 1 - seen[127].double() / levels[127]
    assert share_lost[1].item() == pytest.approx(4 * share_lost[0].item(), rel=1e-3)
    assert torch.equal(seen[:, :1], ir_drop.seen(levels[:, :1], FINE, 128))


def test_a_short_last_tile_is_driven_by_its_rows_only():
    seen = IrDrop(0.7, 0.3).seen(column(128 + 8), WINDOW, tile_rows=128)

    assert torch.equal(seen[128:], IrDrop(0.7, 0.3).seen(column(8), WINDOW, tile_rows=128))


@pytest.mark.parametrize("ir_drop", [IrDrop(0.0, 0.3), IrDrop(0.7, 0.0)])
def test_without_resistance_or_current_nothing_changes(ir_drop):
    levels = column(128)

    assert not ir_drop.present
    assert ir_drop.seen(levels, WINDOW, 128) is levels


def test_where_first_order_stops_holding_it_is_refused():
    with pytest.raises(DeviceError, match=r"256 cells of 80 uS .* lose 55% at the far end; .* 20%"):
        IrDrop(0.7, 0.3).seen(column(256, 80), WINDOW, tile_rows=256)


@pytest.mark.parametrize(
    ("wire_ohm", "activity"), [(-1, 0.3), (math.nan, 0.3), (math.inf, 0.3), (0.1, -0.1), (0.1, 1.1)]
)
def test_impossible_numbers_are_refused(wire_ohm, activity):
    with pytest.raises(DeviceError, match=r"wire resistance|activity"):
        IrDrop(wire_ohm, activity)


def test_a_tile_without_rows_is_refused():
    with pytest.raises(DeviceError, match="at least one row; got 0"):
        IrDrop(0.1, 0.3).seen(column(4), WINDOW, tile_rows=0)
