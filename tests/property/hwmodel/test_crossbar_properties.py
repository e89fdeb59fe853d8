"""Properties of every crossbar, whatever its shape and however it is asked."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodel import (
    Adc,
    ConductanceWindow,
    Crossbar,
    Dac,
    DeviceModels,
    Fidelity,
    ReadNoise,
    combined_slices,
    cost,
    keyed_normal,
    keyed_uint16,
    load_preset,
    mapping_of,
    normal_quantiles,
    preset_names,
)
from hwmodel.crossbar import layer as layer_module
from hwmodel.crossbar.mapping import weight_levels

OFFSET = load_preset("180nm-1t1r")
DIFFERENTIAL = OFFSET.with_values({"tile.cells_per_weight": 2})
SLICED = {"tile.weight_slices": 2, "tile.bits_per_slice": 4}
NODES = ("a", "b", "c")
#: As the preset has it, and with the read noise that it leaves out.
MODELS = (DeviceModels.of(OFFSET), replace(DeviceModels.of(OFFSET), read_noise=ReadNoise(0.8)))

shapes = st.tuples(st.integers(1, 140), st.integers(1, 300))  # out, in: up to two column and three row tiles
seeds = st.integers(0, 2**31)
presets = st.sampled_from([OFFSET, DIFFERENTIAL, OFFSET.with_values(SLICED), DIFFERENTIAL.with_values(SLICED)])
all_presets = st.sampled_from(
    [load_preset(name).with_values(changes) for name in preset_names() for changes in ({}, SLICED)]
)
models = st.sampled_from(MODELS)
#: Levels whose codes are integers.
fidelities = st.sampled_from([Fidelity.STATISTICAL, Fidelity.TILE_ACCURATE, Fidelity.BIT_SERIAL])


def make(shape, seed, preset=OFFSET, nodes=NODES, **options):
    weights = keyed_normal(seed, "weights", count=shape[0] * shape[1]).view(shape)
    return Crossbar.program(weights, preset, fleet_seed=seed, nodes=nodes, layer="l", **options)


def codes_of(layer, batch, seed):
    shape = (len(layer.nodes), batch, layer.in_features)
    draws = keyed_uint16(seed, "codes", count=torch.Size(shape).numel())
    return (draws % (2 * layer.dac.max_code + 1) - layer.dac.max_code).view(shape)


def quantised(sums, adc):
    """The ADC's rule in whole numbers."""
    return (sums + adc.step // 2).div(adc.step, rounding_mode="floor").clamp(adc.min_code, adc.max_code)


@settings(max_examples=25, deadline=None)
@given(shapes, seeds, all_presets)
def test_codes_equal_integer_arithmetic_done_one_tile_and_one_read_at_a_time(shape, seed, preset):
    """The oracle: int64, with the noise of each read drawn under its own key."""
    layer = make(shape, seed, preset)
    codes, (_, tiles, rows, columns) = codes_of(layer, 5, seed), layer.cells.shape
    grid = preset.cell.conductance_grid_us
    per_output = {1: 1 + 1 / max(1, preset.tile.reference_columns), 2: 2}[preset.tile.cells_per_weight]

    expected = torch.zeros(3, 5, columns, dtype=torch.int64)
    for n, read in ((n, read) for n in range(3) for read in range(5)):
        draws = keyed_uint16(seed, "crossbar.read", NODES[n], "l", 0, 0, read, count=tiles * columns)
        for tile in range(tiles):
            part = codes[n, read, tile * rows : (tile + 1) * rows].to(torch.int64)
            sums = part @ layer.cells[n, tile, : len(part)].to(torch.int64)
            if preset.cell.read_noise_us > 0:
                z = normal_quantiles(draws[tile * columns : (tile + 1) * columns])
                per_root = preset.cell.read_noise_us / grid * per_output**0.5
                sums += (z * (part.square().sum().double().sqrt() * per_root)).round().to(torch.int64)
            expected[n, read] += quantised(sums, layer.adc)

    assert torch.equal(layer.mvm(codes).to(torch.int64), combined_slices(expected, mapping_of(preset).slice_factors))


@settings(max_examples=20, deadline=None)
@given(shapes, seeds, presets)
def test_bit_serial_codes_equal_planes_converted_one_at_a_time(shape, seed, preset):
    layer = make(shape, seed, preset, fidelity=Fidelity.BIT_SERIAL)
    codes = codes_of(layer, 4, seed)

    expected = torch.zeros(3, 4, shape[0], dtype=torch.int64)
    for bit, plane in enumerate(Dac(preset.converter.dac_bits).bit_planes(codes)):
        columns = quantised(layer.partial_sums(plane).to(torch.int64), layer.adc).sum(dim=1)
        expected += combined_slices(columns, mapping_of(preset).slice_factors) << bit

    assert torch.equal(layer.mvm(codes).to(torch.int64), expected)


@settings(max_examples=40, deadline=None)
@given(shapes, seeds, models, fidelities, st.data())
def test_codes_are_the_same_for_any_batch_split_order_and_subset_of_nodes(shape, seed, models, fidelity, data):
    options = {"models": models, "fidelity": fidelity}
    layer = make(shape, seed, **options)
    codes = codes_of(layer, 8, seed)
    reads = torch.arange(8).expand(3, 8) + 100 * torch.arange(3).unsqueeze(1)
    whole = layer.mvm(codes, reads=reads)

    cut = data.draw(st.integers(0, 8))
    parts = [slice(0, cut), slice(cut, 8)]
    split = torch.cat([layer.mvm(codes[:, p], reads=reads[:, p]) for p in parts], dim=1)
    order = torch.tensor(data.draw(st.permutations(range(8))))
    shuffled = layer.mvm(codes[:, order], reads=reads[:, order])
    chosen = data.draw(st.lists(st.sampled_from(range(3)), min_size=1, unique=True))
    few = make(shape, seed, nodes=[NODES[n] for n in chosen], **options)
    fewer = few.mvm(codes[chosen], reads=reads[chosen])
    singly = [layer.mvm(codes[:, i : i + 1], reads=reads[:, i : i + 1]) for i in range(8)]

    assert torch.equal(whole, split)
    assert torch.equal(whole[:, order], shuffled)
    assert torch.equal(whole[chosen], fewer)
    assert torch.equal(whole, torch.cat(singly, dim=1))


@pytest.mark.parametrize("shape", [(256, 525), (9, 64), (130, 257)])
@pytest.mark.parametrize("models", MODELS, ids=["no read noise", "read noise"])
@pytest.mark.parametrize("fidelity", [Fidelity.STATISTICAL, Fidelity.TILE_ACCURATE, Fidelity.BIT_SERIAL])
def test_codes_are_the_same_for_any_number_of_threads_and_any_chunk(shape, models, fidelity, monkeypatch):
    layer = make(shape, seed=3, models=models, fidelity=fidelity)
    codes, reads = codes_of(layer, 10, seed=3), torch.arange(10).expand(3, 10)
    before = torch.get_num_threads()
    answers = []
    try:
        for threads, scratch in ((1, 1 << 22), (2, 1 << 22), (1, 1), (1, 30_000)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(layer_module, "_SCRATCH_ELEMENTS", scratch)
            answers.append(layer.mvm(codes, reads=reads))
    finally:
        torch.set_num_threads(before)

    assert all(torch.equal(answers[0], answer) for answer in answers[1:])


@settings(max_examples=40, deadline=None)
@given(shapes, seeds, all_presets)
def test_without_noise_the_result_is_ideal_within_the_resolution_of_adc_and_grid(shape, seed, preset):
    """Half an ADC step per conversion times its slice's factor, half a weight level per input code."""
    largest = float(Dac(preset.converter.dac_bits).max_code)
    layer = make(shape, seed, preset, models=DeviceModels.ideal(), input_rms=largest)
    codes = codes_of(layer, 6, seed)
    saturated = (layer.partial_sums(codes).abs() > layer.adc.max_code * layer.adc.step).any(dim=1)
    saturated = saturated.view(3, 6, -1, shape[0]).any(dim=2)

    off = (layer.mvm(codes) * layer.scale - layer.mvm_ideal(codes)).abs()

    mapping = mapping_of(preset)
    per_unit = mapping.levels_per_unit(ConductanceWindow.of(preset))
    weight_per_level = layer.scale / layer.adc.step * per_unit
    adc_error = 0.5 * layer.cells.shape[1] * sum(mapping.slice_factors) * layer.scale
    grid_error = 0.5 * weight_per_level * codes.abs().sum(dim=2, keepdim=True)
    assert bool(((off <= adc_error + grid_error + 1e-9) | saturated).all())


@settings(max_examples=60, deadline=None)
@given(shapes, seeds, all_presets)
def test_a_mapping_gives_every_weight_back_within_half_a_level(shape, seed, preset):
    weights = keyed_normal(seed, "weights", count=shape[0] * shape[1]).view(shape)
    window, mapping = ConductanceWindow.of(preset), mapping_of(preset)
    levels, per_level = weight_levels(weights, mapping.full_scale(window), None)

    planes = mapping.planes(levels, window, preset.tile.columns)
    columns = sum(p.sign * p.expanded(p.targets, shape[0] * len(mapping.slice_factors)) for p in planes)
    restored = combined_slices(columns // mapping.levels_per_unit(window), mapping.slice_factors)

    assert torch.equal(columns, mapping.column_levels(levels, window))
    assert torch.equal(restored, levels)
    assert bool(((restored.t().double() * per_level - weights).abs() <= per_level * (0.5 + 1e-9)).all())


@settings(max_examples=200, deadline=None)
@given(st.integers(4, 10), st.data())
def test_adc_is_exact_for_every_sum_and_step(bits, data):
    step = data.draw(st.integers(1, 1 << (25 - bits)))
    limit = (1 << 24) - 1 - step // 2
    near = data.draw(st.integers(-(1 << bits), 1 << bits)) * step + data.draw(st.integers(-2, 2)) - step // 2
    sums = [max(-limit, min(limit, value)) for value in (near, data.draw(st.integers(-limit, limit)))]
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    codes = Adc(bits, step).quantise_(torch.tensor(sums, dtype=torch.float32))

    assert codes.tolist() == [max(low, min(high, (s + step // 2) // step)) for s in sums]


@settings(max_examples=25, deadline=None)
@given(shapes, seeds, presets)
def test_partial_sums_stay_exact_in_float32(shape, seed, preset):
    layer = make(shape, seed, preset)

    worst = torch.where(layer.cells[0, :, :, 0] < 0, -127, 127).reshape(-1)[: shape[1]].to(torch.int32)
    sums = layer.partial_sums(worst.expand(3, 1, shape[1]))

    assert sums.abs().max() < 2**24
    assert sums[0, :, 0, 0].sum().item() == (layer.cells[0, :, :, 0].abs().to(torch.int64).sum() * 127).item()


@settings(max_examples=25, deadline=None)
@given(shapes, all_presets)
def test_the_cost_model_counts_the_cells_that_the_mapping_takes(shape, preset):
    outputs, inputs = shape
    levels = torch.zeros(inputs, outputs, dtype=torch.int32)

    planes = mapping_of(preset).planes(levels, ConductanceWindow.of(preset), preset.tile.columns)

    assert sum(p.targets.numel() for p in planes) == cost.crossbar_cells(preset, inputs, outputs)
