"""Noise that every read of a layer adds anew."""

from dataclasses import replace

import pytest
import torch

from hwmodel import Crossbar, CrossbarError, DeviceModels, Fidelity, ReadNoise, keyed_normal, keyed_uint16, load_preset

PRESET = load_preset("180nm-1t1r")
NOISY = replace(DeviceModels.ideal(), read_noise=ReadNoise(0.8))


def program(inputs=300, outputs=40, nodes=("a", "b"), models=NOISY, preset=PRESET, **options):
    weights = keyed_normal(1, "weights", count=outputs * inputs).view(outputs, inputs)
    return Crossbar.program(weights, preset, fleet_seed=1, nodes=nodes, layer="layer", models=models, **options)


def codes_for(nodes, batch, inputs=300):
    return (keyed_uint16(1, "codes", count=nodes * batch * inputs) % 255 - 127).view(nodes, batch, inputs)


@pytest.mark.parametrize(
    ("changes", "cells_per_output"),
    [({}, 1.25), ({"tile.cells_per_weight": 2}, 2.0), ({"tile.reference_columns": 16}, 1 + 1 / 16)],
)
def test_partial_sums_scatter_with_the_driven_rows_and_the_cells_of_an_output(changes, cells_per_output):
    # Small weights, so that the ADC range holds the noise.
    options = {"preset": PRESET.with_values(changes), "full_scale_weight": 100.0, "adc_step": 600}
    layer = program(inputs=100, outputs=60, **options)
    codes = codes_for(1, 1, 100).expand(2, 80, 100)

    read = layer.mvm(codes).double()
    scatter = (read - read.mean(dim=1, keepdim=True)).std().item() * 600

    levels = 0.8 / 0.0625 * cells_per_output**0.5
    assert scatter == pytest.approx(levels * codes[0, 0].double().norm().item(), rel=0.03)


def test_a_row_that_is_not_driven_adds_no_noise():
    layer = program(adc_step=1)

    assert layer.mvm(torch.zeros(2, 5, 300, dtype=torch.int32)).abs().max() == 0


def test_two_reads_differ_and_the_count_of_a_crossbar_tells_them_apart():
    layer = program()
    codes = codes_for(2, 3)

    first, second = layer.mvm(codes), layer.mvm(codes)

    assert not torch.equal(first, second)
    assert layer.reads.tolist() == [6, 6]
    assert torch.equal(first, program().mvm(codes))
    assert torch.equal(second, layer.mvm(codes, reads=torch.tensor([[3, 4, 5]] * 2)))


def test_a_numbered_read_repeats_on_its_own_chip_only():
    layer, codes = program(), codes_for(1, 1).expand(2, 2, 300)
    numbers = torch.tensor([[9, 9]] * 2)

    result = layer.mvm(codes, reads=numbers)

    assert torch.equal(result[:, 0], result[:, 1])
    assert not torch.equal(result[0], result[1])
    assert not torch.equal(result, program(epoch=1).mvm(codes, reads=numbers))


def test_bit_planes_are_read_one_after_the_other_with_noise_of_their_own():
    noisy = program(fidelity=Fidelity.BIT_SERIAL, adc_step=5000)
    quiet = program(fidelity=Fidelity.BIT_SERIAL, adc_step=5000, models=DeviceModels.ideal())
    codes = torch.full((2, 40, 300), 3)  # planes 0 and 1 are alike

    off = (noisy.mvm(codes) - quiet.mvm(codes)).double()

    # one unit of noise per plane: were it shared, 1 + 2 = 3 of them; apart, sqrt(1 + 4)
    sigma = 0.8 / 0.0625 * (1.25 * 300) ** 0.5 / noisy.adc.step
    assert off.std().item() == pytest.approx(5**0.5 * sigma, rel=0.1)


def test_noise_is_off_where_the_preset_has_none():
    layer = Crossbar.program(torch.eye(3), PRESET, fleet_seed=1, nodes=["a"], layer="l")
    codes = codes_for(1, 1, 3)

    assert torch.equal(layer.mvm(codes), layer.mvm(codes))
    assert layer.reads.tolist() == [2]


@pytest.mark.parametrize(
    "reads", [torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64)]
)
def test_read_numbers_of_another_shape_or_type_are_refused(reads):
    layer = program()

    with pytest.raises(CrossbarError, match=r"takes reads int64 \[2, 3\]; got"):
        layer.mvm(codes_for(2, 3), reads=reads)
    assert layer.reads.tolist() == [0, 0]
