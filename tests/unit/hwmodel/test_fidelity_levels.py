"""The same call at every level of detail, and how the levels agree."""

from dataclasses import replace

import pytest
import torch

from hwmodel import (
    ConstantProgrammingError,
    Crossbar,
    Dac,
    DeviceModels,
    EnergyLedger,
    Fidelity,
    IrDrop,
    ReadNoise,
    cost,
    keyed_normal,
    keyed_uint16,
    load_preset,
    plane_adc_step,
    preset_names,
)

PRESET = load_preset("180nm-1t1r")
NODES = tuple("abcdefgh")
SLICED = {"tile.weight_slices": 2, "tile.bits_per_slice": 4}
#: All presets, offset and differential, sliced and not.
TECHNOLOGIES = [
    pytest.param(load_preset(name).with_values(changes), id=f"{name} {label}")
    for name in preset_names()
    for label, changes in (("as it is", {}), ("sliced", SLICED))
]


def gaussian(outputs, inputs):
    return keyed_normal(1, "weights", count=outputs * inputs).view(outputs, inputs)


def codes_for(preset, nodes, batch, inputs):
    largest = Dac(preset.converter.dac_bits).max_code
    draws = keyed_uint16(1, "codes", count=nodes * batch * inputs)
    return (draws % (2 * largest + 1) - largest).view(nodes, batch, inputs)


def program(weights, preset=PRESET, nodes=NODES[:2], **options):
    return Crossbar.program(weights, preset, fleet_seed=1, nodes=nodes, layer="layer", **options)


def relative_error(layer, codes):
    ideal = layer.mvm_ideal(codes)
    return ((layer.mvm(codes) * layer.scale - ideal).norm() / ideal.norm()).item()


@pytest.mark.parametrize("preset", TECHNOLOGIES)
@pytest.mark.parametrize("fidelity", list(Fidelity))
def test_every_level_takes_the_same_call_and_means_the_same(preset, fidelity):
    layer = program(gaussian(30, 300), preset, fidelity=fidelity)

    output = layer.mvm(codes_for(preset, 2, 9, 300))

    assert output.shape == (2, 9, 30)
    assert output.dtype == (torch.float64 if fidelity is Fidelity.IDEAL else torch.int32)
    # 2 uS on cells of a few uS rms, four-bit inputs: far from exact, and far from unrelated
    assert relative_error(layer, codes_for(preset, 2, 9, 300)) < 0.5


@pytest.mark.parametrize("fidelity", list(Fidelity))
def test_a_layer_at_another_level_is_the_layer_programmed_at_that_level(fidelity):
    weights, codes = gaussian(30, 300), codes_for(PRESET, 2, 9, 300)
    tiles = program(weights)
    tiles.mvm(codes)

    there = tiles.at_fidelity(fidelity)

    programmed = program(weights, fidelity=fidelity)
    assert (there.fidelity, there.scale) == (fidelity, programmed.scale)
    assert torch.equal(there.mvm(codes), programmed.mvm(codes))
    assert tiles.fidelity is Fidelity.TILE_ACCURATE


def test_ideal_is_the_product_with_the_weights_as_given():
    weights = gaussian(30, 300)
    layer = program(weights, fidelity=Fidelity.IDEAL)
    codes = codes_for(PRESET, 2, 9, 300)

    assert layer.scale == 1
    assert torch.equal(layer.mvm(codes), codes.double() @ weights.double().t())


@pytest.mark.parametrize("preset", TECHNOLOGIES)
def test_without_random_errors_statistical_equals_tile_accurate_bit_for_bit(preset):
    weights, codes = gaussian(40, 600), codes_for(preset, 2, 12, 600)
    quiet = replace(DeviceModels.ideal(), ir_drop=IrDrop(wire_resistance_ohm=0.1, activity=0.3))

    statistical = program(weights, preset, models=quiet, fidelity=Fidelity.STATISTICAL)

    assert torch.equal(statistical.mvm(codes), program(weights, preset, models=quiet).mvm(codes))


@pytest.mark.parametrize("preset", TECHNOLOGIES)
def test_without_any_error_bit_serial_agrees_with_tile_accurate_within_what_their_adcs_resolve(preset):
    weights, codes = gaussian(40, 600), codes_for(preset, 2, 12, 600)
    # Wide enough that nothing saturates, neither whole codes nor planes.
    step = 2 * program(weights, preset).adc.step
    tiles, serial = (
        program(weights, preset, models=DeviceModels.ideal(), fidelity=fidelity, adc_step=step)
        for fidelity in (Fidelity.TILE_ACCURATE, Fidelity.BIT_SERIAL)
    )
    for plane in (codes, *tiles.dac.bit_planes(codes)):
        own = tiles if plane is codes else serial
        assert tiles.partial_sums(plane).abs().max() < own.adc.max_code * own.adc.step

    off = (serial.mvm(codes) * serial.scale - tiles.mvm(codes) * tiles.scale).abs()

    factors = 1 + 16 if preset.tile.weight_slices == 2 else 1
    conversions = factors * tiles.cells.shape[1]
    bound = 0.5 * conversions * (tiles.scale + tiles.dac.max_code * serial.scale)
    assert off.max() <= bound + 1e-9
    assert off.max() > 0


@pytest.mark.parametrize("preset", TECHNOLOGIES)
def test_statistical_errors_are_as_large_as_those_of_many_chips(preset):
    weights, codes = gaussian(40, 600), codes_for(preset, len(NODES), 25, 600)

    chips = relative_error(program(weights, preset, NODES), codes)
    statistics = relative_error(program(weights, preset, NODES, fidelity=Fidelity.STATISTICAL), codes)

    assert statistics == pytest.approx(chips, rel=0.06)


def test_statistical_knows_that_targets_at_the_ends_of_the_window_err_inwards_only():
    weights = keyed_uint16(1, "signs", count=64 * 256).view(64, 256).remainder(2) * 2.0 - 1
    expected = program(weights, fidelity=Fidelity.STATISTICAL).cells
    chips = program(weights, nodes=[f"n{i}" for i in range(40)]).cells

    mean = chips.mean(dim=0)

    # half of a normal error of 16 levels is 16 / sqrt(2 pi) = 6.4 levels; expected cells are whole levels
    assert mean.abs().mean().item() == pytest.approx(480 - 6.4, abs=0.1)
    assert expected.abs().unique().tolist() == [474]


def test_statistical_keeps_one_set_of_cells_for_any_number_of_nodes():
    weights = gaussian(30, 300)

    few = program(weights, nodes=["a"], fidelity=Fidelity.STATISTICAL)
    many = program(weights, nodes=[str(n) for n in range(500)], fidelity=Fidelity.STATISTICAL)

    assert many.cells.shape == few.cells.shape == (1, 3, 128, 30)
    assert torch.equal(many.cells, few.cells)


def test_statistical_errors_differ_by_node_and_by_read_and_repeat_with_the_read_number():
    layer = program(gaussian(30, 300), fidelity=Fidelity.STATISTICAL)
    codes = codes_for(PRESET, 1, 1, 300).expand(2, 3, 300)
    numbers = torch.tensor([[5, 6, 5]] * 2)

    first, other, again = layer.mvm(codes, reads=numbers).unbind(dim=1)

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("driven", [slice(0, 128), slice(128, 140)], ids=["full tile", "part of a tile"])
def test_statistical_errors_have_the_deviation_that_the_models_predict(driven):
    models = DeviceModels(ConstantProgrammingError(2.0), read_noise=ReadNoise(1.0))
    options = {"models": models, "adc_step": 60, "full_scale_weight": 10.0}
    layer = program(gaussian(200, 140) / 10, fidelity=Fidelity.STATISTICAL, **options)
    codes = torch.zeros(2, 50, 140, dtype=torch.int32)
    codes[:, :, driven] = codes_for(PRESET, 1, 1, 140)[:, :, driven]

    error = layer.mvm(codes).double()
    deviation = (error - error.mean(dim=(0, 1))).std()

    # 2 uS and 1 uS on the cell and a quarter of the variance again on the mean of four reference cells
    levels = ((2.0**2 + 1.0**2) * 1.25) ** 0.5 / 0.0625
    expected = levels * codes[0, 0].double().norm() / 60
    assert deviation.item() == pytest.approx(expected.item(), rel=0.03)


def test_statistical_errors_age_as_those_of_chips_do():
    neurram = load_preset("130nm-neurram")
    weights, codes = gaussian(40, 300), codes_for(neurram, len(NODES), 25, 300)
    chips = program(weights, neurram, NODES)
    statistics = program(weights, neurram, NODES, fidelity=Fidelity.STATISTICAL)

    first, last = (relative_error(statistics.at_age(age), codes) for age in (1.0, 86_400.0))

    assert last > 1.2 * first
    assert last == pytest.approx(relative_error(chips.at_age(86_400.0), codes), rel=0.06)


def test_the_step_of_a_plane_of_bits_goes_with_that_of_whole_codes():
    layer = program(gaussian(30, 300), fidelity=Fidelity.BIT_SERIAL, adc_step=3000, input_rms=60)

    assert layer.adc.step == plane_adc_step(3000, PRESET, 60) == 36  # 3000 sqrt(1/2) / 60, rounded up
    assert plane_adc_step(1, PRESET) == 1


@pytest.mark.parametrize("fidelity", list(Fidelity))
def test_the_level_of_detail_does_not_change_what_the_hardware_costs(fidelity):
    ledger = EnergyLedger(2)
    layer = program(gaussian(30, 300), fidelity=fidelity, ledger=ledger)
    programmed = ledger.total()
    layer.mvm(codes_for(PRESET, 2, 4, 300), ledger=ledger)

    assert programmed == cost.program_cells(PRESET, cost.crossbar_cells(PRESET, 300, 30))
    assert layer.cell_writes.tolist() == [programmed.cell_writes] * 2
    read = ledger.total().energy_j - programmed.energy_j
    assert read == pytest.approx(cost.crossbar_mvm(PRESET, 300, 30, vectors=4).energy_j)


def test_cells_and_codes_of_one_node_are_the_same_alone_and_among_others_at_every_level():
    weights, codes = gaussian(30, 300), codes_for(PRESET, 3, 4, 300)
    noisy = replace(DeviceModels.of(PRESET), read_noise=ReadNoise(0.8))
    for fidelity in (Fidelity.STATISTICAL, Fidelity.TILE_ACCURATE, Fidelity.BIT_SERIAL):
        together = program(weights, nodes=["a", "b", "c"], models=noisy, fidelity=fidelity).mvm(codes)
        alone = program(weights, nodes=["b"], models=noisy, fidelity=fidelity).mvm(codes[1:2])

        assert torch.equal(together[1:2], alone)
