"""Chips of the 180 nm preset are regenerated, never stored: they must stay what they were, to the bit."""

import hashlib

import pytest
import torch

from hwmodel import Crossbar, keyed_normal, keyed_uint16, load_preset

PRESET = load_preset("180nm-1t1r")
DIFFERENTIAL = PRESET.with_values({"tile.cells_per_weight": 2})


def ramp():
    return (torch.arange(-480, 480) / 480).view(6, 160)


def gaussian(outputs, inputs):
    return keyed_normal(1, "weights", count=outputs * inputs).view(outputs, inputs)


def signs(outputs, inputs):
    bits = keyed_uint16(1, "backbone.recurrent", count=outputs * inputs) & 1
    return (2.0 * bits - 1.0).view(outputs, inputs)


def digest(values):
    return hashlib.sha256(values.to(torch.int32).numpy().astype("<i4").tobytes()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("weights", "preset", "options", "cells", "codes", "step", "scale"),
    [
        pytest.param(
            ramp(),
            PRESET,
            {},
            "1d793472c899211df5410b0265679870",
            "efda651bd66bcc42b306ae224365577b",
            10926,
            22.7625,
            id="every level",
        ),
        pytest.param(
            gaussian(130, 257),
            PRESET,
            {},
            "675b7bdde59292f19376f0eae71949c0",
            "1bc973de0be5e82d9dbd39916d65e2d2",
            3549,
            31.977370158107565,
            id="several tiles",
        ),
        pytest.param(
            gaussian(40, 150),
            PRESET,
            {"epoch": 3, "full_scale_weight": 2.0, "input_rms": 32.0},
            "ab9672ceb57be4c7440be16badff6b42",
            "96d77e091758f6bdcbeb0aca06ee4b6c",
            2827,
            11.779166666666667,
            id="later epoch and chosen scale",
        ),
        pytest.param(
            signs(512, 512),
            PRESET,
            {"input_rms": 70.0},
            "4131f0fcfe93f8c03f409bb278e5a4f2",
            "0d7ec8946e46ca4d5b818ea9f81ece0d",
            11973,
            24.94375,
            id="signs, as in the reservoir",
        ),
        pytest.param(
            gaussian(130, 257),
            DIFFERENTIAL,
            {},
            "f5f2a5faeb2b74ca71016113bfeedcb5",
            "3d99a4f442706bd965dc1f66d851370c",
            7098,
            31.977370158107565,
            id="differential",
        ),
        pytest.param(
            gaussian(5, 7),
            PRESET,
            {"adc_step": 900},
            "c7008a8ddc4d73f4e1a61a0c7905cb89",
            "75665fba31b550f43cdf8a345f1b0987",
            900,
            5.8763027734670725,
            id="less than a tile",
        ),
    ],
)
def test_a_chip_never_changes_between_releases_and_machines(weights, preset, options, cells, codes, step, scale):
    """A change of these digests makes every fleet's captured codes worthless: it needs a new preset."""
    chips = Crossbar.program(weights, preset, fleet_seed=1, nodes=["a", "b"], layer="layer", **options)
    count = 2 * 6 * weights.shape[1]
    inputs = (keyed_uint16(1, "codes", count=count) % 255 - 127).view(2, 6, -1)

    assert (chips.adc.step, chips.scale) == (step, scale)
    assert digest(chips.cells) == cells
    assert digest(chips.mvm(inputs)) == codes
