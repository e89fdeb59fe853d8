"""Layers on crossbars: what they compute, what flows back through them, what can be added to them."""

import math

import pytest
import torch
from torch import nn

from hwmodel import AnalogConv2d, AnalogLinear, DeviceModels, program

PRESET = "180nm-1t1r"


def chip_of(layer, **options):
    return program(layer, PRESET, 1, **options)


def resolution(analog, vectors):
    """Return how far a product may lie from the ideal one, when nothing saturates.

    Half a DAC code of every input times its weight, half a level of every weight times its input, and half
    an ADC code of every row tile.
    """
    crossbar = analog.crossbar
    weight = analog.ideal_weight.double()
    unit = vectors.abs().amax(dim=-1, keepdim=True).double() / crossbar.dac.max_code
    level = crossbar.scale / crossbar.adc.step
    tiles = math.ceil(crossbar.in_features / crossbar.preset.tile.rows)
    return (
        unit / 2 * weight.abs().sum(dim=1)
        + level / 2 * (vectors.abs().double() + unit / 2).sum(dim=-1, keepdim=True)
        + unit * crossbar.scale / 2 * tiles
        + 1e-6
    )


@pytest.mark.parametrize("inputs", [3, 128, 300])
def test_linear_is_within_its_resolution(inputs):
    torch.manual_seed(inputs)
    layer = nn.Linear(inputs, 40)
    # Uniform inputs, as the default ADC range expects.
    x = torch.rand(5, inputs) * 2 - 1

    chip = chip_of(layer, models=DeviceModels.ideal())

    with torch.no_grad():
        error = (chip(x)[0] - layer(x)).abs()
    assert isinstance(chip.module, AnalogLinear)
    assert bool((error <= resolution(chip.module, x)).all())


@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": (1, 3), "padding": (2, 0)},
        {"dilation": 2, "padding": 2},
        {"padding": "same", "dilation": 2},
        {"padding": "valid"},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": "same", "padding_mode": "circular"},
    ],
)
@pytest.mark.parametrize("kernel", [3, (2, 4)])
def test_convolution_is_within_its_resolution(geometry, kernel):
    torch.manual_seed(1)
    layer = nn.Conv2d(3, 6, kernel, **geometry)
    x = torch.rand(2, 3, 9, 12) * 2 - 1

    chip = chip_of(layer, models=DeviceModels.ideal())

    with torch.no_grad():
        output, wanted = chip(x)[0], layer(x)
        patches = chip.module.geometry.vectors(x)
        bound = resolution(chip.module, patches).transpose(1, 2).view_as(wanted)
    assert isinstance(chip.module, AnalogConv2d)
    assert output.shape == wanted.shape
    assert bool(((output - wanted).abs() <= bound).all())


def test_leading_axes_are_further_vectors():
    layer = nn.Linear(6, 4)
    chip = chip_of(layer, nodes=["a", "b"])
    x = torch.rand(3, 5, 2, 6)

    with torch.no_grad():
        tokens = chip(x)
        flat = chip(x.reshape(30, 6))

    assert tokens.shape == (2, 3, 5, 2, 4)
    assert torch.equal(tokens.reshape(2, 30, 4), flat)


def test_gradient_of_the_input_is_that_of_the_ideal_weights():
    torch.manual_seed(1)
    layer = nn.Linear(6, 4)
    chip = chip_of(layer, nodes=["a", "b"])
    x, upstream = torch.rand(3, 6, requires_grad=True), torch.rand(2, 3, 4)

    (chip(x) * upstream).sum().backward()

    assert torch.allclose(x.grad, (upstream @ layer.weight.detach()).sum(dim=0), atol=1e-6)


def test_gradient_passes_a_convolution_as_if_it_were_ideal():
    torch.manual_seed(1)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    chip = chip_of(layer)
    x, upstream = torch.rand(2, 2, 8, 8), torch.rand(2, 3, 4, 4)
    through_chip, through_layer = x.clone().requires_grad_(), x.clone().requires_grad_()

    (chip(through_chip)[0] * upstream).sum().backward()
    (layer(through_layer) * upstream).sum().backward()

    assert torch.allclose(through_chip.grad, through_layer.grad, atol=1e-6)


def test_cells_have_no_gradient_and_digital_parameters_keep_theirs():
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    model[2].bias.requires_grad_(requires_grad=False)

    chip = chip_of(model)
    chip(torch.rand(4, 6)).sum().backward()

    trained = {name: p for name, p in chip.named_parameters() if p.requires_grad}
    assert set(trained) == {"module.0.bias", "module.1.weight", "module.1.bias"}
    assert all(p.grad is not None for p in trained.values())


class NodeLora(nn.Module):
    """A LoRA of each node's own."""

    def __init__(self, nodes, inputs, outputs, rank):
        super().__init__()
        self.a = nn.Parameter(torch.randn(nodes, inputs, rank) / inputs)
        self.b = nn.Parameter(torch.zeros(nodes, rank, outputs))

    def forward(self, vectors):
        return vectors @ self.a @ self.b


def test_lora_of_every_node_trains_through_its_chip():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).requires_grad_(requires_grad=False)
    chips = chip_of(model, nodes=["a", "b", "c"])
    for layer in chips.analog.values():
        layer.correction = NodeLora(3, layer.crossbar.in_features, layer.crossbar.out_features, 2)
    x = torch.rand(40, 6)
    with torch.no_grad():
        wanted = model(x) + 0.3

    optimiser = torch.optim.Adam([p for p in chips.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (chips(x) - wanted).square().mean(dim=(1, 2))
        loss.sum().backward()
        optimiser.step()
        losses.append(loss.detach())

    assert len([p for p in chips.parameters() if p.requires_grad]) == 4
    assert bool((losses[-1] < 0.2 * losses[0]).all())


@pytest.mark.parametrize(
    ("kind", "sizes", "inputs", "places"), [(nn.Linear, (6, 4), (3, 5, 6), 5), (nn.Conv2d, (1, 4, 2), (3, 1, 4, 4), 9)]
)
def test_correction_gets_vectors_by_node_and_is_added_to_the_output(kind, sizes, inputs, places):
    torch.manual_seed(1)
    layer, x = kind(*sizes), torch.rand(inputs)
    chips = chip_of(layer, nodes=["a", "b"])
    with torch.no_grad():
        plain = chips(x)
    seen = []

    def one_more(vectors):
        seen.append(vectors.shape)
        return torch.ones(2, vectors.shape[1], 4)

    chips.analog["layer"].correction = one_more

    with torch.no_grad():
        # The layer adds its bias after the correction, so an output near 0 has the rounding of its terms.
        torch.testing.assert_close(chips(x), plain + 1, rtol=0, atol=1e-6)
    assert seen == [(2, 3 * places, chips.layers[0].inputs)]


def test_correction_survives_a_change_of_age():
    chips = program(nn.Linear(6, 4), "130nm-neurram", 1, nodes=["a", "b"])
    chips.analog["layer"].correction = NodeLora(2, 6, 4, 1)

    old = chips.at_age(86_400.0)

    assert {name for name, _ in old.named_parameters()} == {name for name, _ in chips.named_parameters()}
    assert old.analog["layer"].correction is not chips.analog["layer"].correction
