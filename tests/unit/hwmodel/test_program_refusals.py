"""Models, inputs and nodes that `hwmodel.program` refuses."""

import math

import pytest
import torch
from torch import nn

from hwmodel import ConverterError, CrossbarError, MappingError, program
from tests.unit.hwmodel.small_models import mlp

PRESET = "180nm-1t1r"
FLEET = ("attic", "cellar", "shed")


def test_model_with_nothing_to_program_is_refused():
    with pytest.raises(CrossbarError, match=r"nothing to program.*LayerNorm"):
        program(nn.Sequential(nn.LayerNorm(4), nn.ReLU()), PRESET, 1)


def test_layer_of_unknown_shape_is_refused():
    with pytest.raises(CrossbarError, match=r"'0' has no weights yet"):
        program(nn.Sequential(nn.LazyLinear(4)), PRESET, 1)


def test_layer_of_zeros_is_named():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.zeros_(model[1].weight)

    with pytest.raises(MappingError, match=r"layer '1'.*zero"):
        program(model, PRESET, 1)


def test_calibration_that_misses_a_layer_is_refused():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(ConverterError, match="never reach idle"):
        program(Half(), PRESET, 1, calibration=torch.ones(2, 4))


def test_calibration_with_zeros_is_refused():
    model, _ = mlp()

    with pytest.raises(ConverterError, match=r"cannot calibrate layer '0'"):
        program(model, PRESET, 1, calibration=torch.zeros(2, 12))


@pytest.mark.parametrize("calibrated", [False, True])
def test_inputs_that_are_not_finite_are_refused(calibrated):
    model, inputs = mlp()
    chip = program(model, PRESET, 1, calibration=inputs if calibrated else None)

    with pytest.raises(ConverterError, match="not finite"):
        chip(torch.full((1, 12), math.nan))


def test_node_axis_of_another_fleet_is_refused():
    model, inputs = mlp()

    with pytest.raises(CrossbarError, match=r"\[3, B, ...\]"):
        program(model, PRESET, 1, nodes=FLEET)(inputs[:2].expand(2, 2, 12), node_axis=True)


def test_model_that_loses_the_batch_axis_is_refused():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return x + self.layer(torch.ones(1, 4))

    with pytest.raises(CrossbarError, match="first axis"):
        program(Constant(), PRESET, 1, nodes=FLEET)(torch.ones(1, 4))


def test_batch_norm_may_not_mix_nodes():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    chips = program(model, PRESET, 1, nodes=FLEET)
    assert chips(torch.rand(2, 4)).shape == (3, 2, 4)

    chips.train()

    with pytest.raises(CrossbarError, match=r"1 normalises over the batch"):
        chips(torch.rand(2, 4))


def test_string_is_not_a_sequence_of_nodes():
    with pytest.raises(CrossbarError, match="sequence of ids"):
        program(nn.Linear(4, 4), PRESET, 1, nodes="attic")


def test_ids_of_nodes_that_are_not_strings_are_refused():
    with pytest.raises(CrossbarError, match=r"ids of nodes are strings; got \(1, 2\)"):
        program(mlp()[0], PRESET, 1, nodes=[1, 2])
