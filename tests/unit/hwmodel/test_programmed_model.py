"""Any torch model on crossbars: `hwmodel.program`."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import nn

from hwmodel import (
    ConverterError,
    CrossbarError,
    DeviceModels,
    EnergyLedger,
    Fidelity,
    MappingError,
    Phase,
    cost,
    load_preset,
    program,
)

PRESET = "180nm-1t1r"
FLEET = ("attic", "cellar", "shed")


class Mixer(nn.Module):
    """Mixes tokens, then channels, as the paper's face mixer does; ReLU, so that every step is exact."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Linear(6, 6, bias=False)
        self.channels = nn.Linear(10, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        x = x + self.tokens(x.transpose(1, 2)).transpose(1, 2).relu()
        x = x + self.channels(x).relu()
        return self.head(x[:, 0])


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 5)), torch.rand(7, 12) - 0.5


def cnn():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 5),
    )
    return model, torch.rand(3, 1, 10, 10)


def mixer():
    torch.manual_seed(3)
    return Mixer(), torch.rand(4, 6, 10) - 0.5


MODELS = pytest.mark.parametrize("build", [mlp, cnn, mixer])


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


# --- errors


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
