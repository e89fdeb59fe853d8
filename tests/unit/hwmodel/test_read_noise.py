"""Read noise on partial sums: what the noise of every single cell would add up to."""

import math

import pytest
import torch

from hwmodel import ConductanceWindow, Dac, DeviceError, ReadNoise, keyed_normal, keyed_uint16, load_preset

WINDOW = ConductanceWindow.of(load_preset("180nm-1t1r"))


@pytest.mark.parametrize("cells_per_output", [1, 1.25, 2])
def test_noise_has_the_sigma_of_the_formula(cells_per_output):
    draws = keyed_uint16(1, "test", count=50_000)

    noise = ReadNoise(0.8).noise(draws, torch.tensor(90_000), cells_per_output, WINDOW)

    expected = 0.8 / WINDOW.grid_us * 300 * math.sqrt(cells_per_output)
    assert noise.dtype == torch.int32
    assert noise.double().std().item() == pytest.approx(expected, rel=0.02)
    assert noise.double().mean().item() == pytest.approx(0, abs=4 * expected / math.sqrt(50_000))


def test_noise_of_a_sum_is_that_of_its_cells_added_up():
    """The oracle: every one of 64 cells noisy by itself, 4000 reads."""
    codes = (keyed_uint16(1, "codes", count=64) % 255 - 127).to(torch.float64)
    cells = keyed_normal(1, "cells", count=64 * 4000).view(4000, 64) * (0.5 / WINDOW.grid_us)
    singly = (cells @ codes).std().item()

    squares = (codes * codes).sum().to(torch.int64)
    at_once = ReadNoise(0.5).noise(keyed_uint16(1, "sums", count=4000), squares, 1, WINDOW)

    assert at_once.double().std().item() == pytest.approx(singly, rel=4 / math.sqrt(4000))


def test_each_partial_sum_has_its_own_drive():
    draws = keyed_uint16(1, "test", count=20_000).view(2, 10_000)

    noise = ReadNoise(0.8).noise(draws, torch.tensor([[100], [0]]), 1, WINDOW)

    assert noise[0].double().std().item() == pytest.approx(0.8 / WINDOW.grid_us * 10, rel=0.03)
    assert not bool(noise[1].any()), "rows that are not driven add no noise"


def test_no_draw_passes_the_bound():
    noise = ReadNoise(0.8)
    extremes = noise.noise(torch.tensor([0, 65535]), torch.tensor(10_000), 2, WINDOW)

    bound = noise.largest(10_000, 2, WINDOW)

    assert extremes.abs().max() <= bound <= 1.01 * extremes.abs().max()


def test_without_sigma_there_is_none():
    noise = ReadNoise(0.0)

    assert not noise.present
    assert noise.largest(10**6, 2, WINDOW) == 0
    assert not bool(noise.noise(torch.tensor([0, 65535]), torch.tensor(10**6), 2, WINDOW).any())


@pytest.mark.parametrize("sigma_us", [-0.1, math.nan, math.inf])
def test_an_impossible_sigma_is_refused(sigma_us):
    with pytest.raises(DeviceError, match="read noise must be finite"):
        ReadNoise(sigma_us)


def test_what_would_not_be_exact_is_refused():
    with pytest.raises(DeviceError, match="sums of squared codes are integers"):
        ReadNoise(0.8).noise(torch.tensor([1]), torch.tensor([4.0]), 1, WINDOW)
    with pytest.raises(DeviceError, match="cells_per_output=0"):
        ReadNoise(0.8).noise(torch.tensor([1]), torch.tensor([4]), 0, WINDOW)


def test_drawn_once_for_all_phases_it_is_larger_by_what_the_page_says():
    """Noise that is anew in each phase has sum 4^i x_i^2 of a code's bits; 4-bit codes, evenly spread."""
    dac = Dac(4)
    codes = torch.arange(-dac.max_code, dac.max_code + 1)

    phases = sum(4**i * int(plane.square().sum()) for i, plane in enumerate(dac.bit_planes(codes)))
    once = int(codes.square().sum())

    assert phases / once == pytest.approx(0.60)
    assert math.sqrt(once / phases) == pytest.approx(1.29, abs=0.005)
