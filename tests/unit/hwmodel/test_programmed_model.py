"""Any torch model on crossbars: `hwmodel.program`."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import nn

from hwmodel import (
    CrossbarError,
    DeviceModels,
    EnergyLedger,
    Fidelity,
    Phase,
    cost,
    load_preset,
    program,
)
from tests.unit.hwmodel.small_models import MODELS, cnn, mlp

PRESET = "180nm-1t1r"
FLEET = ("attic", "cellar", "shed")


def relative_error(output, wanted):
    return float((output - wanted).norm() / wanted.expand_as(output).norm())


@MODELS
@pytest.mark.parametrize("calibrated", [False, True])
def test_chip_without_errors_computes_the_model_within_its_resolution(build, calibrated):
    model, inputs = build()

    chip = program(model, PRESET, 1, models=DeviceModels.ideal(), calibration=inputs if calibrated else None)

    with torch.no_grad():
        assert relative_error(chip(inputs)[0], model(inputs)) < 0.05


@MODELS
@pytest.mark.parametrize("preset", ["180nm-1t1r", "130nm-neurram"])  # without and with read noise
def test_chips_differ_and_each_is_what_it_is_alone(build, preset):
    model, inputs = build()
    fleet = program(model, preset, 1, nodes=FLEET)

    with torch.no_grad():
        together = fleet(inputs)
        alone = [program(model, preset, 1, nodes=[node])(inputs)[0] for node in FLEET]

    assert together.shape == (3, *model(inputs).shape)
    assert not torch.equal(together[0], together[1])
    assert all(torch.equal(together[n], alone[n]) for n in range(3))


@MODELS
@pytest.mark.parametrize("preset", ["180nm-1t1r", "130nm-neurram"])  # without and with read noise
def test_a_node_that_runs_alone_is_what_it_is_among_others_and_pays_alone(build, preset):
    model, inputs = build()
    with torch.no_grad():
        together = program(model, preset, 1, nodes=FLEET)(inputs)
        fleet = program(model, preset, 1, nodes=FLEET)
        programmed = [fleet.ledger.total(node) for node in range(3)]
        alone = fleet(inputs, node=1)

    assert torch.equal(alone, together[1:2])
    assert [fleet.ledger.total(node) == programmed[node] for node in range(3)] == [True, False, True]
    assert all(layer.crossbar.reads[0] == layer.crossbar.reads[2] == 0 for layer in fleet.analog.values())
    with pytest.raises(CrossbarError, match="has nodes 0 to 2; got 3"):
        fleet(inputs, node=3)


def test_another_ledger_pays_inside_its_block_only():
    model, inputs = mlp()
    chips, other = program(model, PRESET, 1, nodes=FLEET), EnergyLedger(3)
    before = chips.ledger.total(1)

    with torch.no_grad(), chips.charging(Phase.VERIFY, other):
        chips(inputs)
    assert chips.ledger.total(1) == before
    assert other.totals(1)[Phase.VERIFY].energy_j > 0
    with torch.no_grad():
        chips(inputs)
    assert chips.ledger.totals(1)[Phase.INFER] == other.totals(1)[Phase.VERIFY]


def test_each_node_may_have_inputs_of_its_own():
    model, inputs = mlp()
    chips = program(model, PRESET, 1, nodes=FLEET)
    own = torch.stack([inputs, 2 * inputs, inputs.flip(0)])

    with torch.no_grad():
        outputs = chips(own, node_axis=True)
        shared = chips(inputs)

    assert torch.equal(outputs[0], shared[0])
    assert torch.equal(outputs[2].flip(0), shared[2])
    assert not torch.equal(outputs[1], shared[1])


def test_chip_is_regenerated_from_seed_node_and_epoch():
    model, inputs = mlp()

    def outputs(**key):
        with torch.no_grad():
            return program(model, PRESET, **({"seed": 1} | key))(inputs)

    assert torch.equal(outputs(), outputs())
    assert not torch.equal(outputs(), outputs(seed=2))
    assert not torch.equal(outputs(), outputs(epoch=1))
    assert not torch.equal(outputs(), outputs(nodes=["other"]))


@MODELS
def test_model_itself_is_not_changed(build):
    model, inputs = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()

    program(model, PRESET, 1, calibration=inputs)

    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_layer_that_is_used_in_two_places_is_one_crossbar():
    shared = nn.Linear(8, 8)
    model = nn.Sequential(shared, nn.ReLU(), shared)

    chip = program(model, PRESET, 1)

    assert [layer.name for layer in chip.layers] == ["0"]
    assert chip.module[0] is chip.module[2]


def test_single_layer_is_a_model_too():
    chip = program(nn.Linear(8, 3), PRESET, 1)

    assert [layer.name for layer in chip.layers] == ["layer"]
    assert chip(torch.rand(2, 8)).shape == (1, 2, 3)


@pytest.mark.parametrize("preset", ["180nm-1t1r", "130nm-neurram", "22nm"])
@pytest.mark.parametrize("fidelity", list(Fidelity))
def test_every_preset_and_fidelity_computes_the_model(preset, fidelity):
    model, inputs = mlp()

    chip = program(model, preset, 1, fidelity=fidelity, nodes=FLEET)

    with torch.no_grad():
        error = relative_error(chip(inputs), model(inputs))
    # Four-bit inputs at 130 nm are the coarsest; without cells and ADCs only the DAC is left.
    limits = {Fidelity.IDEAL: 0.15} if preset == "130nm-neurram" else {Fidelity.IDEAL: 0.01}
    assert 0 < error < limits.get(fidelity, 0.5)


# --- what is reported


def test_report_counts_what_is_on_crossbars_and_what_is_not():
    model, _ = cnn()

    chip = program(model, PRESET, 1)

    assert [(layer.kind, layer.inputs, layer.outputs) for layer in chip.layers] == [
        ("Conv2d", 9, 6),
        ("Conv2d", 54, 8),
        ("Linear", 128, 5),
    ]
    assert chip.weights == 9 * 6 + 54 * 8 + 128 * 5
    digital_parameters = sum(part.count for part in chip.digital)
    assert digital_parameters == 6 + 8 + 5
    assert chip.weights + digital_parameters == sum(p.numel() for p in model.parameters())
    assert chip.tiles == 3


def test_tiles_and_cells_are_those_of_the_cost_model():
    chip = program(nn.Linear(300, 200), PRESET, 1)

    (layer,) = chip.layers
    assert layer.tiles == 3 * 2
    assert layer.cells == cost.crossbar_cells(load_preset(PRESET), 300, 200)


def test_parameters_that_stay_digital_are_listed_with_the_reason():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.norm = nn.LayerNorm(8)
            self.depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
            self.out = nn.Linear(8, 2)

        def forward(self, x):
            return self.out(self.norm(self.attention(x, x, x)[0]))

    chip = program(Odd(), PRESET, 1)

    reasons = {part.name: part.reason for part in chip.digital}
    assert [layer.name for layer in chip.layers] == ["out"]
    assert "MultiheadAttention" in reasons["attention.in_proj_weight"]
    assert "MultiheadAttention" in reasons["attention.out_proj.weight"]
    assert "8 groups" in reasons["depthwise.weight"]
    assert "LayerNorm" in reasons["norm.weight"]
    assert "bias" in reasons["out.bias"]
    assert chip(torch.rand(2, 5, 8)).shape == (1, 2, 5, 2)


def test_fused_transformer_layer_does_not_bypass_the_crossbars():
    torch.manual_seed(4)
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    chip = program(block, PRESET, 1)
    x = torch.rand(2, 5, 8)

    with torch.no_grad():
        error = relative_error(chip(x)[0], block(x))

    assert chip.energy()[Phase.INFER].energy_j > 0
    assert 0 < error < 0.3


def test_weights_of_an_analogue_layer_cannot_be_used_past_its_crossbar():
    chip = program(nn.Linear(8, 3), PRESET, 1)

    with pytest.raises(AttributeError, match="ideal_weight"):
        chip.module.weight  # noqa: B018


# --- energy


def test_ledger_holds_the_closed_forms_of_programming_and_of_every_product():
    model, inputs = cnn()
    preset = load_preset(PRESET)
    ledger = EnergyLedger(2)
    shapes = ((9, 6, 100), (54, 8, 16), (128, 5, 1))

    chip = program(model, preset, 1, nodes=["a", "b"], ledger=ledger)
    with torch.no_grad():
        chip(inputs)

    programming = [cost.program_cells(preset, cost.crossbar_cells(preset, n, m)) for n, m, _ in shapes]
    reading = [cost.crossbar_mvm(preset, n, m, len(inputs) * places) for n, m, places in shapes]
    for node in (0, 1):
        spent = chip.energy(node)
        assert spent[Phase.PROGRAM].cell_writes == sum(c.cell_writes for c in programming)
        assert math.isclose(spent[Phase.PROGRAM].energy_j, sum(c.energy_j for c in programming))
        assert math.isclose(spent[Phase.INFER].energy_j, sum(c.energy_j for c in reading))
        assert math.isclose(spent[Phase.INFER].seconds, sum(c.seconds for c in reading))
    assert chip.ledger is ledger


def test_products_are_charged_to_the_phase_that_they_are_for():
    model, inputs = mlp()
    chip = program(model, PRESET, 1)

    with torch.no_grad(), chip.charging(Phase.TRAIN):
        chip(inputs)

    spent = chip.energy()
    assert spent[Phase.TRAIN].energy_j > 0
    assert spent[Phase.INFER].energy_j == 0


# --- age


def test_chip_at_another_age_is_the_same_chip_relaxed():
    model, inputs = mlp()
    fresh = program(model, "130nm-neurram", 1)
    old = fresh.at_age(86_400.0)
    old_at_once = program(model, "130nm-neurram", 1, age_s=86_400.0)

    assert old.age_s == 86_400.0
    assert torch.equal(old.analog["0"].crossbar.cells, old_at_once.analog["0"].crossbar.cells)
    assert not torch.equal(old.analog["0"].crossbar.cells, fresh.analog["0"].crossbar.cells)
    with torch.no_grad():
        assert old(inputs).shape == fresh(inputs).shape


def test_ages_of_a_chip_share_its_ledger():
    model, inputs = mlp()
    fresh = program(model, "130nm-neurram", 1)
    programmed = fresh.energy()[Phase.PROGRAM]

    old = fresh.at_age(3_600.0)
    with torch.no_grad():
        old(inputs)

    assert fresh.energy()[Phase.PROGRAM] == programmed
    assert fresh.energy()[Phase.INFER].energy_j > 0


# --- calibration


def test_calibration_fixes_full_scale_and_adc_step():
    model, inputs = mlp()

    dynamic, fixed = program(model, PRESET, 1), program(model, PRESET, 1, calibration=inputs)

    assert all(layer.dac_full_scale is None for layer in dynamic.layers)
    assert 0 < fixed.layers[0].dac_full_scale <= float(inputs.abs().max())
    assert fixed.layers[0].adc_step != dynamic.layers[0].adc_step


def test_inputs_beyond_a_fixed_full_scale_saturate():
    model = nn.Linear(12, 5, bias=False)
    calibrated = program(model, PRESET, 1, calibration=torch.ones(1, 12))
    dynamic = program(model, PRESET, 1)
    ones = torch.ones(1, 12)

    with torch.no_grad():
        assert torch.equal(calibrated(5 * ones), calibrated(ones))
        assert torch.allclose(dynamic(5 * ones), 5 * dynamic(ones))


def test_vector_of_zeros_gives_the_bias():
    model = nn.Linear(12, 5)

    with torch.no_grad():
        output = program(model, PRESET, 1)(torch.zeros(2, 12))[0]

    assert torch.equal(output, model.bias.expand(2, 5))


# --- shapes


def test_named_outputs_keep_their_names():
    class Both(NamedTuple):
        scores: torch.Tensor
        hidden: torch.Tensor

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            hidden = self.layer(x)
            return Both(hidden.relu(), hidden)

    outputs = program(Model(), PRESET, 1, nodes=FLEET)(torch.rand(2, 4))

    assert outputs.scores.shape == outputs.hidden.shape == (3, 2, 3)


def test_convolution_of_no_images_gives_none_and_other_channels_are_refused():
    model, images = cnn()
    chips = program(model[:1], PRESET, 1, nodes=FLEET)

    assert chips(images[:0]).shape == (3, 0, *model[:1](images).shape[1:])
    with pytest.raises(CrossbarError, match=r"takes images of 1 channels; got \[6, 2,"):
        chips(torch.rand(2, 2, 9, 9))
