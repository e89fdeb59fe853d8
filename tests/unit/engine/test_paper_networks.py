"""The paper's two small networks: sizes as published, dynamics as written down."""

import pytest
import torch
from torch import nn

from edge_node.errors import EngineError
from fleet.lab.paper.networks import FaceMixer, SpikingLsm
from fleet.lab.paper.networks.mixer import patches
from hwmodel import load_network


def matrices(network):
    return [layer.weight.shape for layer in network.modules() if isinstance(layer, nn.Linear)]


def test_the_mixer_has_the_parameters_of_the_paper():
    assert sum(p.numel() for p in FaceMixer(6).parameters()) == 5_148


@pytest.mark.parametrize(
    ("network", "name", "crossbar_weights"),
    [(FaceMixer(6), "face-mixer", 5_048), (SpikingLsm(5), "speaker-lsm", 336_384)],
)
def test_layers_are_those_of_the_specification_in_its_order(network, name, crossbar_weights):
    layers = load_network(name).layers

    assert matrices(network) == [(layer.outputs, layer.inputs) for layer in layers]
    assert sum(rows * columns for rows, columns in matrices(network)) == crossbar_weights


@pytest.mark.parametrize(
    ("network", "name", "inputs"),
    [(FaceMixer(6), "face-mixer", torch.rand(1, 16, 16)), (SpikingLsm(5), "speaker-lsm", torch.ones(1, 10, 140))],
)
def test_layers_are_used_as_often_as_the_specification_says(network, name, inputs):
    uses = {}

    def count(layer, vectors):
        uses[layer] = uses.get(layer, 0) + vectors[0].numel() // layer.in_features

    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_pre_hook(count)
    network(inputs)

    assert list(uses.values()) == [layer.uses for layer in load_network(name).layers]


def test_a_patch_holds_the_pixels_of_one_square():
    image = torch.arange(256.0).reshape(1, 16, 16)

    tokens = patches(image)

    assert tokens.shape == (1, 16, 16)
    assert tokens[0, 0].reshape(4, 4).tolist() == image[0, :4, :4].tolist()
    assert tokens[0, 6].reshape(4, 4).tolist() == image[0, 4:8, 8:12].tolist()


def test_scores_of_an_image_do_not_depend_on_the_rest_of_the_batch():
    torch.manual_seed(3)
    mixer, images = FaceMixer(6), torch.randn(4, 16, 16)

    torch.testing.assert_close(mixer(images)[2:3], mixer(images[2:3]))


@pytest.fixture
def neuron():
    """One neuron that hears one channel with weight 0.2, and itself with weight 0."""
    lsm = SpikingLsm(2, channels=1, neurons=1)
    with torch.no_grad():
        for parameter in lsm.parameters():
            parameter.zero_()
        lsm.fc1.weight.fill_(0.2)
    return lsm.requires_grad_(False)


def test_a_membrane_decays_by_half_and_is_emptied_by_a_spike(neuron):
    # 0.2, 0.3 (not above the threshold), 0.35: spike; emptied; 0.2, 0.3, 0.35: spike.
    shares = [float(neuron.features(torch.ones(1, steps, 1))) for steps in range(1, 7)]

    assert shares == pytest.approx([0, 0, 1 / 3, 1 / 4, 1 / 5, 2 / 6])


def test_a_spike_reaches_the_other_neurons_one_step_later(neuron):
    neuron.fc1.weight.fill_(0.4)
    neuron.fc1h.weight.fill_(-1.0)

    # 0.4: spike; 0.4 - 1.0: none, and -0.3 + 0.4 = 0.1: none; 0.45: spike.
    assert float(neuron.features(torch.ones(1, 4, 1))) == pytest.approx(2 / 4)


def test_gradients_pass_only_where_the_membrane_is_near_the_threshold(neuron):
    near, far = torch.tensor([[[1.0]]], requires_grad=True), torch.tensor([[[9.0]]], requires_grad=True)

    neuron.features(near).sum().backward()
    neuron.features(far).sum().backward()

    assert near.grad.item() == pytest.approx(0.2 / 0.5)
    assert far.grad.item() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FaceMixer(1), "two classes"),
        (lambda: SpikingLsm(1), "two classes"),
        (lambda: FaceMixer(3)(torch.zeros(2, 8, 8)), r"\[2, 8, 8\]"),
        (lambda: SpikingLsm(3)(torch.zeros(2, 10, 12)), r"\[2, 10, 12\]"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(EngineError, match=message):
        call()
