"""DAC and ADC."""

import math

import pytest
import torch

from hwmodel import Adc, ConverterError, Dac
from hwmodel.converter import EXACT_FLOAT32


def test_dac_encodes_symmetrically_and_saturates():
    codes = Dac(8).encode(torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]), full_scale=1.0)

    assert codes.dtype == torch.int32
    assert codes.tolist() == [-127, -127, -64, 0, 64, 127, 127]


@pytest.mark.parametrize("values", [float("nan"), float("inf")])
def test_dac_refuses_values_that_are_not_finite(values):
    with pytest.raises(ConverterError, match="not finite"):
        Dac(8).encode(torch.tensor([values]), full_scale=1.0)


def test_dac_refuses_a_full_scale_of_zero():
    with pytest.raises(ConverterError, match="full_scale"):
        Dac(8).encode(torch.zeros(1), full_scale=0.0)


@pytest.mark.parametrize("codes", [torch.tensor([128]), torch.tensor([0, -128])])
def test_dac_refuses_codes_out_of_range(codes):
    with pytest.raises(ConverterError, match=r"-127 \.\.\. 127"):
        Dac(8).check(codes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_dac_refuses_what_is_not_an_integer(dtype):
    with pytest.raises(ConverterError, match="are integers"):
        Dac(8).check(torch.zeros(3, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64])
def test_bit_planes_hold_the_magnitude_bits_with_their_sign_and_add_up_to_the_codes(dtype):
    codes = torch.tensor([-7, -4, -1, 0, 3, 5, 7], dtype=dtype)

    planes = list(Dac(4).bit_planes(codes))

    assert [plane.tolist() for plane in planes] == [
        [-1, 0, -1, 0, 1, 1, 1],
        [-1, 0, 0, 0, 1, 0, 1],
        [-1, -1, 0, 0, 0, 1, 1],
    ]
    assert torch.equal(sum(plane << bit for bit, plane in enumerate(planes)), codes)


def test_adc_rounds_half_way_up_and_saturates():
    sums = torch.tensor([-15.0, -14.0, -6.0, -5.0, -4.0, 4.0, 5.0, 14.0, 15.0, 1e5, -1e5])

    assert Adc(8, step=10).quantise_(sums).tolist() == [-1, -1, -1, 0, 0, 0, 1, 1, 2, 127, -128]


@pytest.mark.parametrize("step", [0, -3, 131_073])
def test_adc_refuses_a_step_with_which_it_would_not_be_exact(step):
    with pytest.raises(ConverterError, match=r"1 \.\.\. 131072"):
        Adc(8, step)


@pytest.mark.parametrize("bits", [2, 4, 8, 10])
@pytest.mark.parametrize("share", [0, 0.01, 0.124, 0.126, 1])
def test_codes_are_those_of_whole_numbers_at_every_boundary_whatever_the_step(bits, share):
    step = max(1, round((EXACT_FLOAT32 >> (bits - 1)) * share))
    adc = Adc(bits, step)
    boundaries = torch.arange(adc.min_code - 2, adc.max_code + 3)[:, None] * step - step // 2
    largest = EXACT_FLOAT32 - step // 2 - 1
    ends = torch.tensor([[-largest, largest]])
    sums = torch.cat([(boundaries + torch.arange(-3, 4)).reshape(1, -1), ends], dim=1)
    sums = sums[sums.abs() <= largest]

    whole = torch.div(sums + step // 2, step, rounding_mode="floor").clamp(adc.min_code, adc.max_code)
    assert torch.equal(adc.quantise_(sums.float()), whole.float())
    tiles = sums.expand(1, 3, -1)
    assert torch.equal(adc.converted(tiles.float().clone()), 3 * whole.int()[None])


def test_vectors_are_encoded_by_their_own_largest_magnitude_and_refused_if_they_have_none():
    vectors = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 3.0, 1.0]])

    codes, unit = Dac(8).encode_each(vectors)

    assert codes.tolist() == [[64, -127, 32], [0, 0, 0], [-127, 127, 42]]
    assert unit.flatten().tolist() == [2 / 127, 1 / 127, 3 / 127]
    for bad in (math.nan, -math.inf):
        with pytest.raises(ConverterError, match="not finite"):
            Dac(8).encode_each(torch.tensor([[1.0, bad]]))
