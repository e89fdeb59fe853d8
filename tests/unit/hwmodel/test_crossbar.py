"""Programming a layer and reading it."""

from dataclasses import replace

import pytest
import torch

from hwmodel import (
    ConverterError,
    Crossbar,
    CrossbarError,
    DeviceModels,
    EnergyLedger,
    IrDrop,
    MappingError,
    Phase,
    ReadNoise,
    cost,
    keyed_normal,
    keyed_uint16,
    load_preset,
    preset_names,
    pulses_per_cell,
)

PRESET = load_preset("180nm-1t1r")
QUIET = DeviceModels.ideal()


def gaussian(outputs, inputs):
    return keyed_normal(1, "weights", count=outputs * inputs).view(outputs, inputs)


def uniform_codes(*shape):
    count = torch.Size(shape).numel()
    return (keyed_uint16(1, "codes", count=count) % 255 - 127).view(shape)


def program(weights, nodes=("a",), preset=PRESET, **options):
    return Crossbar.program(weights, preset, fleet_seed=1, nodes=nodes, layer="layer", **options)


def test_the_same_key_gives_the_same_chip():
    weights = gaussian(40, 150)

    assert torch.equal(program(weights).cells, program(weights).cells)


def test_nodes_layers_epochs_and_fleets_have_different_chips():
    weights = gaussian(40, 150)
    base = {"fleet_seed": 1, "nodes": ["a"], "layer": "layer", "epoch": 0}
    chips = [
        Crossbar.program(weights, PRESET, **(base | change)).cells
        for change in ({}, {"fleet_seed": 2}, {"nodes": ["b"]}, {"layer": "other"}, {"epoch": 1})
    ]

    assert all(not torch.equal(first, second) for i, first in enumerate(chips) for second in chips[:i])


def test_a_chip_does_not_depend_on_who_is_programmed_beside_it():
    weights = gaussian(20, 150)
    together = program(weights, ["a", "b", "c"])

    assert torch.equal(together.cells[1:2], program(weights, ["b"]).cells)
    assert torch.equal(together.cells.flip(0), program(weights, ["c", "b", "a"]).cells)


def test_cells_are_whole_levels_and_their_error_is_sigma_and_that_of_the_reference():
    weights = gaussian(128, 256)
    noisy, quiet = program(weights), program(weights, models=QUIET)

    error_us = (noisy.cells - quiet.cells) * PRESET.cell.conductance_grid_us

    assert torch.equal(noisy.cells, noisy.cells.round())
    # 1 uS of its own and 1/sqrt(4) of the mean of four reference columns
    assert error_us.std().item() == pytest.approx((1 + 1 / 4) ** 0.5, rel=0.03)


def test_differential_mapping_has_less_error_relative_to_full_scale():
    differential = PRESET.with_values({"tile.cells_per_weight": 2})
    weights = gaussian(128, 256)

    def relative_error(preset):
        quiet = program(weights, preset=preset, models=QUIET).cells
        return (program(weights, preset=preset).cells - quiet).std() / quiet.abs().max()

    # sqrt(2) cells of 1 uS on 60 uS, less what clipping at the low end takes away, against 1.12 uS on 30
    assert relative_error(differential) < 0.7 * relative_error(PRESET)


def test_only_the_rows_that_a_layer_has_are_driven():
    assert program(gaussian(16, 12)).cells.shape == (1, 1, 12, 16)
    assert program(gaussian(16, 130)).cells.shape == (1, 2, 128, 16)
    assert bool((program(gaussian(16, 130)).cells[:, 1, 2:] == 0).all())


def test_output_is_int32_and_close_to_the_product_of_the_weights():
    weights, codes = gaussian(64, 300), uniform_codes(2, 20, 300)
    layer = program(weights, ["a", "b"])

    output, ideal = layer.mvm(codes), layer.mvm_ideal(codes)

    assert output.dtype == torch.int32
    assert output.shape == (2, 20, 64)
    relative = (output * layer.scale - ideal).norm() / ideal.norm()
    assert 0.10 < relative < 0.25  # 1 uS on weights of about 7 uS rms


def test_each_node_answers_with_its_own_chip():
    layer = program(gaussian(64, 300), ["a", "b"])

    first, second = layer.mvm(uniform_codes(1, 20, 300).expand(2, 20, 300))

    assert not torch.equal(first, second)


def test_step_and_scale_are_the_same_on_every_chip():
    weights = gaussian(64, 300)
    first, second = program(weights, ["a"]), program(weights, ["b"], epoch=3)

    assert (first.adc.step, first.scale) == (second.adc.step, second.scale)


def test_default_adc_range_holds_the_expected_sums_of_uniform_inputs():
    layer = program(gaussian(64, 300))

    sums = layer.partial_sums(uniform_codes(1, 500, 300)).abs()
    full_scale = 127 * layer.adc.step

    assert (sums > full_scale).double().mean() < 1e-3
    assert sums.max() > full_scale / 3


def test_a_smaller_input_rms_gives_a_finer_step():
    weights = gaussian(64, 300)

    assert program(weights, input_rms=20).adc.step < program(weights, input_rms=60).adc.step
    assert program(weights, adc_step=1234).adc.step == 1234


def test_sums_beyond_the_adc_range_saturate():
    layer = program(torch.ones(1, 128), adc_step=100, models=QUIET)
    full = torch.full((1, 1, 128), 127)

    assert layer.mvm(full).item() == 127
    assert layer.mvm(-full).item() == -128


def test_a_full_scale_weight_saturates_what_is_larger():
    weights = torch.tensor([[0.5, 1.0, 8.0]])

    assert program(weights, models=QUIET, full_scale_weight=1.0).cells.flatten().tolist() == [240, 480, 480]
    assert program(weights, models=QUIET).cells.flatten().tolist() == [30, 60, 480]


def test_programming_charges_the_ledger_and_counts_every_pulse():
    ledger = EnergyLedger(2)
    layer = program(gaussian(64, 300), ["a", "b"], ledger=ledger)

    cells = 300 * (64 + 4)
    pulses = round(cells * pulses_per_cell(PRESET))
    assert layer.cell_writes.tolist() == [pulses, pulses]
    assert [ledger.total(n) for n in range(2)] == [cost.program_cells(PRESET, cells)] * 2
    assert ledger.totals(0)[Phase.PROGRAM].cell_writes == pulses


def test_a_chip_that_is_regenerated_without_ledger_is_the_same_and_charges_nobody():
    weights, ledger = gaussian(64, 300), EnergyLedger(1)
    first = program(weights, ledger=ledger)
    spent = ledger.total()

    again = program(weights)

    assert ledger.total() == spent
    assert torch.equal(first.cells, again.cells)
    assert torch.equal(first.cell_writes, again.cell_writes)


def test_reads_are_counted_and_charged_to_the_phase_that_asked():
    ledger = EnergyLedger(1)
    layer = program(gaussian(64, 300))

    layer.mvm(uniform_codes(1, 7, 300), ledger=ledger)
    layer.mvm(uniform_codes(1, 5, 300), ledger=ledger, phase=Phase.VERIFY)

    totals = ledger.totals()
    assert layer.reads.tolist() == [12]
    for phase, vectors in ((Phase.INFER, 7), (Phase.VERIFY, 5)):
        expected = cost.crossbar_mvm(PRESET, 300, 64, vectors=vectors)
        assert totals[phase].energy_j == pytest.approx(expected.energy_j, rel=1e-12)
        assert totals[phase].seconds == pytest.approx(expected.seconds, rel=1e-12)
    assert sum(total.cell_writes for total in totals.values()) == 0


def test_sparse_codes_are_charged_for_the_rows_that_they_drive_and_no_others():
    ledger, layer = EnergyLedger(2), program(gaussian(64, 300), nodes=("a", "b"))
    spikes = torch.zeros(2, 4, 300, dtype=torch.int32)
    spikes[0, :, :30] = 127
    spikes[1, 0, :150] = 127

    assert torch.equal(layer.mvm(spikes, sparse=True, ledger=ledger), layer.mvm(spikes))
    for node, density in enumerate((30 / 300, 150 / 1200)):
        expected = cost.crossbar_mvm(PRESET, 300, 64, vectors=4, input_density=density)
        assert ledger.totals(node)[Phase.INFER].energy_j == pytest.approx(expected.energy_j, rel=1e-12)
        assert ledger.totals(node)[Phase.INFER].seconds == pytest.approx(expected.seconds, rel=1e-12)
    assert layer.driven.tolist() == [120 + 1200, 150 + 1200]
    assert layer.at_age(3600.0).driven.tolist() == layer.driven.tolist()


def test_wear_grows_with_every_epoch():
    first, third = program(gaussian(8, 8)), program(gaussian(8, 8), epoch=2)

    assert first.wear.item() == pytest.approx(8.5e-6, rel=0.01)
    assert third.wear.item() == pytest.approx(3 * first.wear.item())


def test_an_empty_batch_is_an_empty_answer():
    ledger = EnergyLedger(1)

    output = program(gaussian(8, 300)).mvm(torch.zeros(1, 0, 300, dtype=torch.int8), ledger=ledger)

    assert output.shape == (1, 0, 8)
    assert ledger.total().energy_j == 0


def test_sums_that_would_not_be_exact_are_refused_before_anything_is_charged():
    loud, ledger = replace(QUIET, read_noise=ReadNoise(12.0)), EnergyLedger(1)

    with pytest.raises(CrossbarError, match=r"128 rows x 8-bit codes x 960 levels, read noise of up to \d+"):
        program(gaussian(8, 300), models=loud, ledger=ledger)

    assert ledger.total().cell_writes == 0
    # A layer that does not use all the rows leaves room for the noise.
    assert program(gaussian(8, 100), models=loud).in_features == 100


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_programs_and_multiplies_its_largest_tile_exactly(name):
    preset = load_preset(name)
    weights = gaussian(4, preset.tile.rows)
    layer = program(weights, preset=preset)
    full = preset.converter.dac_bits

    worst = torch.where(layer.cells[0, 0, :, 0] < 0, -1, 1) * ((1 << (full - 1)) - 1)
    sums = layer.partial_sums(worst.view(1, 1, -1))

    exact = worst.to(torch.int64) @ layer.cells[0, 0].to(torch.int64)
    assert sums.to(torch.int64).flatten().tolist() == exact.tolist()
    assert layer.mvm(worst.view(1, 1, -1)).flatten()[0] > 0


def test_a_column_loses_voltage_towards_its_far_end():
    weights = torch.ones(3, 256)
    sagging = replace(QUIET, ir_drop=IrDrop(wire_resistance_ohm=0.1, activity=0.3))

    share = program(weights, models=sagging).cells / program(weights, models=QUIET).cells

    per_row = share[0, :, :, 0].mean(dim=0)
    assert per_row[0] > per_row[64] > per_row[127]
    # 128^2 / 2 x 0.1 ohm x 0.3 x the mean conductance: 80 uS in the weights, 50 uS in the reference
    assert (1 - per_row[127]).item() == pytest.approx((80 * 0.0197 - 50 * 0.0123) / 30, rel=0.03)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (torch.zeros(3, 3), "all weights are zero"),
        (torch.tensor([[float("nan")]]), "NaN"),
        (torch.ones(3), "matrix"),
        (torch.ones(0, 3), "matrix"),
    ],
)
def test_weights_that_cannot_be_mapped_are_refused(weights, told):
    with pytest.raises(MappingError, match=told):
        program(weights)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"nodes": []}, "at least one node"),
        ({"nodes": ["a", "a"]}, "none twice"),
        ({"nodes": "abc"}, "the string 'abc'"),
        ({"epoch": -1}, "epoch"),
        ({"input_rms": 0.0}, "input_rms"),
        ({"input_rms": 128.0}, "input_rms"),
        ({"ledger": EnergyLedger(2)}, "the ledger keeps 2"),
        ({"fidelity": "perfect"}, "there are: ideal, statistical, tile-accurate, bit-serial"),
        ({"write_verify": "by hand"}, "'closed-form' or 'pulse-by-pulse'; got 'by hand'"),
        ({"write_verify": "pulse-by-pulse", "fidelity": "statistical"}, "no cells to pulse"),
    ],
)
def test_programming_that_makes_no_sense_is_refused(options, told):
    with pytest.raises(CrossbarError, match=told):
        program(gaussian(4, 4), **options)


def test_codes_that_the_layer_cannot_take_are_refused():
    layer = program(gaussian(4, 10))

    with pytest.raises(CrossbarError, match=r"takes codes \[1, B, 10\]; got \[1, 2, 11\]"):
        layer.mvm(torch.zeros(1, 2, 11, dtype=torch.int32))
    with pytest.raises(CrossbarError, match="got"):
        layer.mvm(torch.zeros(2, 2, 10, dtype=torch.int32))
    with pytest.raises(ConverterError, match=r"Dac\.encode"):
        layer.mvm(torch.zeros(1, 2, 10))
    with pytest.raises(CrossbarError, match="the ledger keeps 3"):
        layer.mvm(torch.zeros(1, 2, 10, dtype=torch.int32), ledger=EnergyLedger(3))


@pytest.mark.parametrize("setting", ["medium", "high"])
def test_reduced_float32_precision_is_refused(setting):
    layer = program(gaussian(4, 10))
    torch.set_float32_matmul_precision(setting)
    try:
        with pytest.raises(CrossbarError, match="partial sums would not be exact"):
            layer.mvm(torch.zeros(1, 2, 10, dtype=torch.int32))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert layer.mvm(torch.zeros(1, 2, 10, dtype=torch.int32)).shape == (1, 2, 4)
