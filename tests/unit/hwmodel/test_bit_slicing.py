"""Weights as digits on several columns."""

from dataclasses import replace

import pytest
import torch

from hwmodel import (
    ConductanceWindow,
    Crossbar,
    CrossbarError,
    DeviceModels,
    DifferentialMapping,
    Fidelity,
    MappingError,
    OffsetMapping,
    SlicedMapping,
    StuckCells,
    combined_slices,
    cost,
    keyed_normal,
    keyed_uint16,
    load_preset,
    mapping_of,
)

PRESET = load_preset("180nm-1t1r")
WINDOW = ConductanceWindow.of(PRESET)
QUIET = DeviceModels.ideal()


def sliced(slices, bits, preset=PRESET):
    return preset.with_values({"tile.weight_slices": slices, "tile.bits_per_slice": bits})


def gaussian(outputs, inputs):
    return keyed_normal(1, "weights", count=outputs * inputs).view(outputs, inputs)


def codes_for(batch, inputs):
    return (keyed_uint16(1, "codes", count=batch * inputs) % 255 - 127).view(1, batch, inputs)


def program(weights, preset, **options):
    return Crossbar.program(weights, preset, fleet_seed=1, nodes=["a"], layer="layer", **options)


def test_a_level_becomes_signed_digits_in_columns_of_their_own():
    mapping = SlicedMapping(OffsetMapping(4), slices=3, bits_per_slice=2)
    levels = torch.tensor([[0, 1, -27], [63, -63, 6]], dtype=torch.int32)  # in [2], out [3]

    columns = mapping.column_levels(levels, WINDOW)

    # 480 levels of the half window / 3 digit steps = 160 levels per step; -27 = -(3 + 2 * 4 + 1 * 16)
    assert mapping.levels_per_unit(WINDOW) == 160
    assert (columns[0] // 160).tolist() == [0, 1, -3, 0, 0, -2, 0, 0, -1]
    assert torch.equal(combined_slices(columns // 160, mapping.slice_factors), levels)


def test_the_preset_chooses_slices_over_either_mapping():
    differential = PRESET.with_values({"tile.cells_per_weight": 2})

    assert mapping_of(PRESET) == OffsetMapping(4)
    assert mapping_of(sliced(2, 4)) == SlicedMapping(OffsetMapping(4), 2, 4)
    assert mapping_of(sliced(3, 2, differential)) == SlicedMapping(DifferentialMapping(), 3, 2)


@pytest.mark.parametrize("base", [OffsetMapping(4), DifferentialMapping()])
def test_every_slice_uses_the_window_and_has_its_own_cells(base):
    mapping = SlicedMapping(base, 2, 4)
    levels = torch.tensor([[255, -255]], dtype=torch.int32)

    planes = mapping.planes(levels, WINDOW, tile_columns=128)

    assert planes[0].targets.shape == (1, 4)
    for plane in planes:
        assert plane.targets.min() >= WINDOW.min_level
        assert plane.targets.max() <= WINDOW.max_level
    span = base.full_scale(WINDOW)
    assert mapping.column_levels(levels, WINDOW).abs().unique().tolist() == [span // 15 * 15]


def test_sliced_weights_are_finer_than_their_cells():
    weights, codes = gaussian(20, 128), codes_for(30, 128)
    coarse = PRESET.with_values({"cell.conductance_grid_us": 0.25})

    def grid_error(preset):
        layer = program(weights, preset, models=QUIET, adc_step=8)
        columns = layer.partial_sums(codes).sum(dim=1)
        unit = layer.scale / layer.adc.step
        exact = combined_slices(columns.double(), mapping_of(preset).slice_factors) * unit
        return (exact - layer.mvm_ideal(codes)).abs().max()

    # 120 levels of the half window against 2^12 - 1 of three digits of 4 bits
    assert grid_error(sliced(3, 4, coarse)) < grid_error(coarse) / 20


def test_slicing_buys_resolution_and_no_less_noise():
    weights, codes = gaussian(40, 256), codes_for(30, 256)

    def error(preset, models=None):
        layer = program(weights, preset, models=models)
        ideal = layer.mvm_ideal(codes)
        return ((layer.mvm(codes) * layer.scale - ideal).norm() / ideal.norm()).item()

    # the error of the most significant cells alone is that of an unsliced weight times 15/16 of the window
    assert error(sliced(2, 4)) == pytest.approx(error(PRESET), rel=0.15)


def test_a_stuck_cell_costs_its_weight_what_its_slice_counts():
    weights, codes = torch.full((1, 128), 0.4), torch.ones(1, 1, 128, dtype=torch.int32)
    preset = sliced(2, 4, PRESET.with_values({"tile.cells_per_weight": 2}))
    broken = replace(QUIET, stuck_cells=StuckCells(0.2, 0.0))
    whole, layer = (program(weights, preset, models=m, full_scale_weight=1.0) for m in (QUIET, broken))

    unit, factors = whole.scale / whole.adc.step, mapping_of(preset).slice_factors
    lost = (whole.partial_sums(codes) - layer.partial_sums(codes)).sum(dim=1)
    stuck = (layer.cells != whole.cells).sum(dim=(0, 1, 2))

    # 0.4 is 102 = 6 + 6 * 16 of 255: a positive cell at the low end loses the six steps of its digit
    assert stuck.min() > 10
    assert combined_slices(lost, factors).item() * unit == pytest.approx((stuck[0] + 16 * stuck[1]) * 6 / 255)


def test_every_slice_is_paid_for():
    one, three = (program(gaussian(20, 100), preset) for preset in (PRESET, sliced(3, 4)))

    assert three.cells.shape == (1, 1, 100, 60)
    # 3 x 20 columns and 4 reference columns, against 20 and 4
    assert (three.cell_writes / one.cell_writes).item() == pytest.approx(64 / 24, rel=1e-3)
    assert cost.crossbar_cells(sliced(3, 4), 100, 20) == 100 * 64
    reads = [cost.crossbar_mvm_energy(preset, 100, 20).adc_j for preset in (PRESET, sliced(3, 4))]
    assert reads[1] == pytest.approx(3 * reads[0])


@pytest.mark.parametrize(("slices", "bits"), [(1, 4), (2, 0), (5, 5)])
def test_slices_that_make_no_weight_are_refused(slices, bits):
    with pytest.raises(MappingError, match=f"got {slices} slices of {bits} bits"):
        SlicedMapping(OffsetMapping(4), slices, bits)


def test_a_digit_that_the_window_cannot_tell_apart_is_refused():
    with pytest.raises(MappingError, match="10 bits has 1023 steps, the conductance window only 480 levels"):
        SlicedMapping(OffsetMapping(4), 2, 10).levels_per_unit(WINDOW)


def test_shifted_codes_that_do_not_fit_int32_are_refused():
    wide = sliced(3, 8)

    assert program(gaussian(4, 300), wide).mvm(codes_for(2, 300)).dtype == torch.int32
    with pytest.raises(CrossbarError, match=r"3 row tiles of 8-bit codes.* beyond int32"):
        program(gaussian(4, 300), wide, fidelity=Fidelity.BIT_SERIAL)
