"""Calibration LoRA: what it brings back, what it costs, what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from edge_node.errors import AdapterError
from fleet.lab.chip.calibration.fit import calibrate_chip, reduced_rank_regression
from fleet.lab.paper.networks import SpikingLsm
from hwmodel import ConstantProgrammingError, DeviceModels, Phase, Precision, StuckCells, load_preset, program

NODES = ("north", "east", "south")


@pytest.fixture(scope="module")
def preset():
    return load_preset("180nm-1t1r")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 6))
    return layers.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def public():
    return torch.randn(200, 12, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def others():
    """Inputs of the same kind that nothing is fitted on."""
    return torch.randn(100, 12, generator=torch.Generator().manual_seed(3))


def chips(network, preset, public, *, sigma_us=5.0, nodes=NODES, stuck=0.0):
    models = replace(
        DeviceModels.of(preset),
        programming_error=ConstantProgrammingError(sigma_us),
        stuck_cells=StuckCells(stuck / 2, stuck / 2),
    )
    return program(network, preset, 7, nodes=nodes, models=models, calibration=public)


def error(chip, network, inputs):
    """Return each node's distance from the network, relative to its outputs."""
    with torch.no_grad():
        wanted = network(inputs)
        return ((chip(inputs) - wanted).square().sum(dim=(1, 2)) / wanted.square().sum()).sqrt()


class TestReducedRankRegression:
    def test_finds_a_map_of_that_rank_again(self):
        generator = torch.Generator().manual_seed(4)
        x = torch.randn(2, 50, 8, generator=generator)
        true = torch.randn(2, 8, 2, generator=generator) @ torch.randn(2, 2, 5, generator=generator)

        a, b = reduced_rank_regression(x, x @ true, rank=2, ridge=1e-12)

        torch.testing.assert_close((b @ a).mT, true.double(), atol=1e-5, rtol=1e-5)

    def test_is_the_best_of_its_rank(self):
        generator = torch.Generator().manual_seed(5)
        x = torch.randn(60, 8, generator=generator).double() @ torch.diag(torch.arange(1.0, 9.0).double())
        r = torch.randn(60, 5, generator=generator).double()
        ridge = 0.05
        penalty = ridge * x.square().sum() / 8

        def loss(w):
            return (r - x @ w).square().sum() + penalty * w.square().sum()

        a, b = reduced_rank_regression(x[None], r[None], rank=2, ridge=ridge)
        # The same problem as one of plain least squares, solved by singular values of the fitted part.
        stacked = torch.cat([x, penalty.sqrt() * torch.eye(8).double()])
        full = torch.linalg.lstsq(stacked, torch.cat([r, torch.zeros(8, 5).double()])).solution
        _, _, vh = torch.linalg.svd(stacked @ full)
        best = full @ vh[:2].T @ vh[:2]

        assert float(loss((b[0] @ a[0]).T)) == pytest.approx(float(loss(best)), rel=1e-9)

    def test_leaves_inputs_that_are_never_driven_alone(self):
        x = torch.randn(1, 30, 4, generator=torch.Generator().manual_seed(6))
        x[..., 2] = 0

        a, _ = reduced_rank_regression(x, x[..., :3] * 2, rank=3, ridge=1e-3)

        assert float(a[..., 2].abs().max()) < 1e-12

    def test_of_nothing_but_zeros_is_zero(self):
        a, b = reduced_rank_regression(torch.zeros(1, 5, 4), torch.zeros(1, 5, 3), rank=2, ridge=1e-3)

        assert float((b @ a).abs().max()) == 0


class TestRestoring:
    @pytest.mark.parametrize(("sigma_us", "stuck"), [(1.0, 0.0), (5.0, 0.0), (1.0, 0.05)])
    def test_brings_outputs_of_held_out_inputs_back(self, network, preset, public, others, sigma_us, stuck):
        chip = chips(network, preset, public, sigma_us=sigma_us, stuck=stuck)
        before = error(chip, network, others)

        calibrate_chip(chip, network, public, rank=6)

        assert bool((error(chip, network, others) < before / 2).all())

    def test_more_rank_brings_back_more_up_to_what_the_converters_leave(self, network, preset, public, others):
        chip = chips(network, preset, public, sigma_us=2.0)
        errors = []
        for rank in (1, 4, 24):
            calibrate_chip(chip, network, public, rank=rank, storage=Precision.FP32)
            errors.append(float(error(chip, network, others).max()))
        ideal = program(network, preset, 7, models=DeviceModels.ideal(), calibration=public)

        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 2 * float(error(ideal, network, others))

    def test_every_node_gets_what_it_would_get_alone(self, network, preset, public, others):
        together = chips(network, preset, public)
        alone = chips(network, preset, public, nodes=NODES[1:2])
        for chip in (together, alone):
            calibrate_chip(chip, network, public, rank=4, storage=Precision.FP32)

        torch.testing.assert_close(together(others)[1], alone(others)[0], atol=1e-3, rtol=1e-3)

    def test_int8_factors_do_about_as_well_as_floats_in_a_third_of_the_bytes(self, network, preset, public, others):
        chip = chips(network, preset, public)
        calibrations, errors = {}, {}
        for storage in Precision:
            calibrations[storage] = calibrate_chip(chip, network, public, rank=8, storage=storage)
            errors[storage] = float(error(chip, network, others).mean())

        assert errors[Precision.INT8] < 1.1 * errors[Precision.FP32]
        assert 3 * calibrations[Precision.INT8].sram_bytes < 1.5 * calibrations[Precision.FP32].sram_bytes

    def test_later_layers_make_good_what_earlier_ones_left(self, network, preset, public, others):
        last = chips(network, preset, public)
        before = error(last, network, others)

        calibration = calibrate_chip(last, network, public, rank=6, layers=["4"])

        assert list(calibration.branches) == ["4"]
        assert last.analog["0"].correction is None
        assert bool((error(last, network, others) < before).all())

    def test_a_convolution_is_calibrated_too(self, preset):
        torch.manual_seed(8)
        network = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3))
        network.requires_grad_(False).eval()
        images = torch.randn(80, 2, 4, 4)
        chip = chips(network, preset, images)
        before = error(chip, network, images)

        calibration = calibrate_chip(chip, network, images, rank=6)

        assert calibration.branches["0"].a.shape == (3, 6, 18)
        assert bool((error(chip, network, images) < before / 2).all())

    def test_a_recurrent_network_is_calibrated_on_its_own_inputs(self, preset):
        torch.manual_seed(9)
        network = SpikingLsm(3, channels=20, neurons=40).requires_grad_(False)
        spikes = (torch.rand(60, 10, 20) < 0.4).float()
        chip = chips(network, preset, spikes)

        def feature_error():
            wanted = network.features(spikes)
            got = chip.module.features(spikes.repeat(3, 1, 1)).unflatten(0, (3, -1))
            return (got - wanted).square().mean(dim=(1, 2)).sqrt()

        before = feature_error()
        calibration = calibrate_chip(chip, network, spikes, rank=8)

        assert list(calibration.branches) == ["fc1", "fc1h", "readout"]
        assert bool((feature_error() < before / 1.5).all())

    def test_the_network_that_was_programmed_is_left_as_it_was(self, network, preset, public):
        before = [parameter.clone() for parameter in network.parameters()]

        calibrate_chip(chips(network, preset, public), network, public, rank=2)

        assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
        assert not any(module._forward_pre_hooks for module in network.modules())


class TestCost:
    def test_fitting_is_training_and_writes_no_cell(self, network, preset, public):
        chip = chips(network, preset, public)
        mark = chip.ledger.mark()

        calibration = calibrate_chip(chip, network, public, rank=4)

        spent = chip.ledger.since(mark)
        assert spent[Phase.TRAIN].energy_j > 0
        assert spent[Phase.TRAIN].cell_writes == 0
        assert spent[Phase.TRAIN].bytes >= calibration.sram_bytes
        assert spent[Phase.INFER].energy_j == 0

    def test_every_later_product_pays_for_the_branch(self, network, preset, public, others):
        chip = chips(network, preset, public)
        mark = chip.ledger.mark()
        chip(others)
        plain = chip.ledger.since(mark)[Phase.INFER].energy_j
        calibration = calibrate_chip(chip, network, public, rank=4)

        mark = chip.ledger.mark()
        chip(others)

        branches = sum(b.use_cost.energy_j for b in calibration.branches.values()) * len(others)
        assert chip.ledger.since(mark)[Phase.INFER].energy_j == pytest.approx(plain + branches)

    def test_bytes_are_codes_and_a_scale_per_row(self, network, preset, public):
        calibration = calibrate_chip(chips(network, preset, public), network, public, rank=4)

        assert calibration.parameters == 4 * (12 + 24 + 24 + 16 + 16 + 6)
        assert calibration.sram_bytes == calibration.parameters + 4 * (3 * 4 + 24 + 16 + 6)

    def test_a_layer_never_gets_more_than_its_full_rank(self, network, preset, public):
        calibration = calibrate_chip(chips(network, preset, public), network, public, rank=99)

        assert [branch.rank for branch in calibration.branches.values()] == [12, 16, 6]


class TestAttaching:
    def test_the_same_chip_made_again_is_brought_back_by_what_was_fitted_before(self, network, preset, public, others):
        fitted = chips(network, preset, public)
        calibration = calibrate_chip(fitted, network, public, rank=6)
        again = chips(network, preset, public)

        calibration.attach(again)

        assert torch.equal(again(others), fitted(others))
        assert again.energy()[Phase.INFER].energy_j == pytest.approx(fitted.energy()[Phase.INFER].energy_j)

    def test_what_was_fitted_for_other_nodes_or_layers_is_refused(self, network, preset, public):
        calibration = calibrate_chip(chips(network, preset, public), network, public, rank=2)

        with pytest.raises(AdapterError, match=r"layer '0' has \(nodes, inputs, outputs\) = \(1, 12, 24\)"):
            calibration.attach(chips(network, preset, public, nodes=NODES[:1]))
        with pytest.raises(AdapterError, match="no layer '0'"):
            calibration.attach(program(nn.Linear(3, 3), preset, 7, nodes=NODES))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "at least 1"),
        ({"rank": 2, "ridge": 0.0}, "ridge"),
        ({"rank": 2, "layers": ["0", "9"]}, "no layer 9"),
        ({"rank": 2, "public": torch.zeros(0, 12)}, "got none"),
    ],
)
def test_what_cannot_be_fitted_is_refused_and_changes_nothing(network, preset, public, options, message):
    chip = chips(network, preset, public)

    with pytest.raises(AdapterError, match=message):
        calibrate_chip(chip, network, **({"public": public} | options))

    assert all(layer.correction is None for layer in chip.analog.values())


def test_a_layer_that_no_input_reaches_is_named(preset, public):
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(12, 3), nn.Linear(12, 3)

        def forward(self, x):
            return self.used(x)

    network = Idle().requires_grad_(False)

    with pytest.raises(AdapterError, match="no public input reaches layer idle"):
        calibrate_chip(program(network, preset, 7), network, public, rank=2)
