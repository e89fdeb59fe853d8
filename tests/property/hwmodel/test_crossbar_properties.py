"""What holds for every crossbar, whatever its shape and however it is asked."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodel import (
    Adc,
    ConductanceWindow,
    ConstantProgrammingError,
    Crossbar,
    cost,
    keyed_normal,
    keyed_uint16,
    load_preset,
    mapping_of,
)
from hwmodel import crossbar as crossbar_module

OFFSET = load_preset("180nm-1t1r")
DIFFERENTIAL = OFFSET.with_values({"tile.cells_per_weight": 2})
NODES = ("a", "b", "c")

shapes = st.tuples(st.integers(1, 140), st.integers(1, 300))  # out, in: up to two column and three row tiles
seeds = st.integers(0, 2**31)
presets = st.sampled_from([OFFSET, DIFFERENTIAL])


def make(shape, seed, preset=OFFSET, nodes=NODES, **options):
    weights = keyed_normal(seed, "weights", count=shape[0] * shape[1]).view(shape)
    return Crossbar.program(weights, preset, fleet_seed=seed, nodes=nodes, layer="l", **options)


def codes_of(layer, batch, seed):
    shape = (len(layer.nodes), batch, layer.in_features)
    return (keyed_uint16(seed, "codes", count=torch.Size(shape).numel()) % 255 - 127).view(shape)


@settings(max_examples=25, deadline=None)
@given(shapes, seeds, presets)
def test_codes_equal_integer_arithmetic_done_one_tile_at_a_time(shape, seed, preset):
    """The oracle: int64, tile by tile, with the ADC's rule written in whole numbers."""
    layer = make(shape, seed, preset)
    codes = codes_of(layer, 5, seed)

    expected = torch.zeros(3, 5, shape[0], dtype=torch.int64)
    rows = layer.cells.shape[2]
    for tile in range(layer.cells.shape[1]):
        part = codes[:, :, tile * rows : (tile + 1) * rows].to(torch.int64)
        cells = layer.cells[:, tile, : part.shape[2]].to(torch.int64)
        sums = (part.unsqueeze(3) * cells.unsqueeze(1)).sum(dim=2)
        step = layer.adc.step
        expected += ((sums + step // 2).div(step, rounding_mode="floor")).clamp(-128, 127)

    assert torch.equal(layer.mvm(codes).to(torch.int64), expected)


@settings(max_examples=25, deadline=None)
@given(shapes, seeds, st.data())
def test_codes_are_the_same_for_any_batch_split_order_and_subset_of_nodes(shape, seed, data):
    layer = make(shape, seed)
    codes = codes_of(layer, 12, seed)
    whole = layer.mvm(codes)

    cut = data.draw(st.integers(0, 12))
    split = torch.cat([layer.mvm(codes[:, :cut]), layer.mvm(codes[:, cut:])], dim=1)
    order = torch.tensor(data.draw(st.permutations(range(12))))
    shuffled = layer.mvm(codes[:, order])
    chosen = data.draw(st.lists(st.sampled_from(range(3)), min_size=1, unique=True))
    fewer = make(shape, seed, nodes=[NODES[n] for n in chosen]).mvm(codes[chosen])
    singly = torch.cat([layer.mvm(codes[:, i : i + 1]) for i in range(12)], dim=1)

    assert torch.equal(whole, split)
    assert torch.equal(whole[:, order], shuffled)
    assert torch.equal(whole[chosen], fewer)
    assert torch.equal(whole, singly)


@pytest.mark.parametrize("shape", [(512, 525), (9, 64), (130, 257)])
def test_codes_are_the_same_for_any_number_of_threads_and_any_chunk(shape, monkeypatch):
    layer = make(shape, seed=3)
    codes = codes_of(layer, 40, seed=3)
    before = torch.get_num_threads()
    answers = []
    try:
        for threads, scratch in ((1, 1 << 23), (2, 1 << 23), (2, 1), (1, 1)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(crossbar_module, "_SCRATCH_ELEMENTS", scratch)
            answers.append(layer.mvm(codes))
    finally:
        torch.set_num_threads(before)

    assert all(torch.equal(answers[0], answer) for answer in answers[1:])


@settings(max_examples=25, deadline=None)
@given(shapes, seeds, presets)
def test_without_noise_the_result_is_ideal_within_the_resolution_of_adc_and_grid(shape, seed, preset):
    layer = make(shape, seed, preset, error=ConstantProgrammingError(0.0), input_rms=127.0)
    codes = codes_of(layer, 6, seed)
    row_tiles = layer.cells.shape[1]
    saturated = (layer.partial_sums(codes).abs() > 127 * layer.adc.step).any(dim=1)

    off = (layer.mvm(codes) * layer.scale - layer.mvm_ideal(codes)).abs()

    weight_per_level = layer.scale / layer.adc.step
    adc_error = 0.5 * row_tiles * layer.scale
    grid_error = 0.5 * weight_per_level * codes.abs().sum(dim=2, keepdim=True)
    assert bool(((off <= adc_error + grid_error + 1e-9) | saturated).all())


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
@given(shapes, presets)
def test_the_cost_model_counts_the_cells_that_the_mapping_takes(shape, preset):
    outputs, inputs = shape
    levels = torch.zeros(inputs, outputs, dtype=torch.int32)

    planes = mapping_of(preset).planes(levels, ConductanceWindow.of(preset), preset.tile.columns)

    assert sum(p.targets.numel() for p in planes) == cost.crossbar_cells(preset, inputs, outputs)
