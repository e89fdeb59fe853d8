"""Three designs of an adapting chip: what they take, against the figures they were derived from."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hwmodel import CostError, NetworkSpec, TrainingFacts, cost, load_network, load_preset, network_names, sample_preset
from hwmodel.cost.assumptions import Assumptions, Fetch, Optimiser, Origin
from hwmodel.cost.breakdown import Component, CostBreakdown
from hwmodel.cost.designs import Activity, Design, adaptation_steps, cost_breakdown, design_report

PRESET = load_preset("180nm-1t1r")
MATRICES = Assumptions(with_digital_layers=False)

#: Section 4 of the reference: image inference, updates, deployment (int8) and inference by the networks.
REFERENCE = {
    "face-mixer": {"updates": 109, "deploy": 297, "dram": 6.2, "inference": 3.15},
    "speaker-lsm": {"updates": 54, "deploy": 2071, "dram": 43},
    "image-dit": {"updates": 666, "deploy": 22634, "dram": 472, "inference": 38.3},
}


def energy(network, design, activity, assumptions=MATRICES, technology=PRESET):
    return cost_breakdown(network, technology, design, activity, assumptions).total.energy_j


def network_of(*layers, lora=True, training=True):
    return NetworkSpec.model_validate(
        {
            "name": "test",
            "title": "Test",
            "source": "test",
            "layers": layers,
            "lora": {"alpha": 1, "source": "test"} if lora else None,
            "density": {"source": "test"},
            "training": TrainingFacts(full_steps=3, lora_steps=2, batch=5, source="test") if training else None,
        }
    )


LAYER = {"name": "fc", "inputs": 200, "outputs": 100, "uses": 4, "lora_rank": 8}
SMALL = network_of(LAYER)


@pytest.mark.parametrize("name", REFERENCE)
def test_updates_cost_as_much_more_in_analogue_cells_as_the_reference_says(name):
    network = load_network(name)
    steps = adaptation_steps(network, Design.ANALOGUE) / adaptation_steps(network, Design.LORA)

    ratio = energy(network, Design.ANALOGUE, Activity.UPDATE) / energy(network, Design.LORA, Activity.UPDATE)

    assert ratio * steps == pytest.approx(REFERENCE[name]["updates"], rel=0.02)


@pytest.mark.parametrize("name", REFERENCE)
def test_deploying_a_lora_saves_as_much_as_the_reference_says(name):
    network = load_network(name)
    rewritten = energy(network, Design.ANALOGUE, Activity.DEPLOY)
    from_dram = replace(MATRICES, lora_bytes=4, origin=Origin.DRAM)

    assert rewritten / energy(network, Design.LORA, Activity.DEPLOY) == pytest.approx(
        REFERENCE[name]["deploy"], rel=0.02
    )
    assert rewritten / energy(network, Design.LORA, Activity.DEPLOY, from_dram) == pytest.approx(
        REFERENCE[name]["dram"], rel=0.02
    )


@pytest.mark.parametrize("name", ["face-mixer", "image-dit"])
def test_inference_gains_on_an_equal_digital_unit_as_the_reference_says(name):
    """Within 5 %: the reference leaves the reference columns and their reads out."""
    network = load_network(name)

    gain = energy(network, Design.DIGITAL, Activity.INFERENCE) / energy(network, Design.LORA, Activity.INFERENCE)

    assert gain == pytest.approx(REFERENCE[name]["inference"], rel=0.05)


def test_speaker_inference_gains_less_than_the_reference_says_since_only_one_factor_is_spared_by_spikes():
    """33.4 in the reference scales both factors by the root of the density; 24 if B stays dense, as it is."""
    network = load_network("speaker-lsm")
    gated = replace(MATRICES, adapter_skips_zeros=True)
    analogue = energy(network, Design.ANALOGUE, Activity.INFERENCE)
    per_mac = PRESET.digital.mac_int8_j + PRESET.digital.sram_j_per_byte
    by_the_root = sum(layer.lora_macs * math.sqrt(layer.input_density) for layer in network.layers) * per_mac

    gain = energy(network, Design.DIGITAL, Activity.INFERENCE) / energy(network, Design.LORA, Activity.INFERENCE, gated)

    assert gain == pytest.approx(24.0, rel=0.02)
    assert network.macs * per_mac / (analogue + by_the_root) == pytest.approx(33.4, rel=0.05)


@pytest.mark.parametrize(
    ("name", "reference", "tolerance"),
    [("face-mixer", 13.0, 0.15), ("speaker-lsm", 1.5, 0.1), ("image-dit", 2.0, 0.05)],
)
def test_whole_training_gains_little_since_gradients_cross_the_frozen_layers(name, reference, tolerance):
    """The reference counts 3 M_L in the backward pass, this model 2 M_L: only the mixer notices."""
    network = load_network(name)

    gain = energy(network, Design.ANALOGUE, Activity.ADAPTATION) / energy(network, Design.LORA, Activity.ADAPTATION)

    assert gain == pytest.approx(reference, rel=tolerance)


@pytest.mark.parametrize(("name", "left"), [("face-mixer", 2500), ("speaker-lsm", 1225), ("image-dit", 5)])
def test_cells_last_for_as_many_adaptations_as_the_reference_says(name, left):
    network = load_network(name)
    analogue = design_report(network, PRESET, Design.ANALOGUE)

    assert analogue.adaptations_left == left
    assert analogue.rewrites_left == pytest.approx(118_000, rel=0.01)
    for design in (Design.LORA, Design.DIGITAL):
        report = design_report(network, PRESET, design)
        assert report.adaptations_left == report.rewrites_left == math.inf
        assert all(part.total.cell_writes == 0 for part in report.costs.values())


@pytest.mark.parametrize("design", Design)
@pytest.mark.parametrize("name", network_names())
def test_a_preset_and_a_sample_of_one_value_agree(name, design):
    network = load_network(name)
    sample = sample_preset(PRESET, 3, seed=5)
    exact = PRESET.with_values({path: float(values[1]) for path, values in sample.drawn.items()})

    drawn, alone = design_report(network, sample, design), design_report(network, exact, design)

    assert drawn.costs.keys() == alone.costs.keys() == set(Activity)
    for activity in Activity:
        assert drawn.costs[activity].parts.keys() == alone.costs[activity].parts.keys()
        one, other = drawn.costs[activity].total[1], alone.costs[activity].total
        assert one.energy_j == pytest.approx(other.energy_j)
        assert one.seconds == pytest.approx(other.seconds)
        assert one.cell_writes == pytest.approx(other.cell_writes)


def test_the_parts_of_a_product_are_those_of_the_crossbar():
    parts = cost_breakdown(SMALL, PRESET, Design.ANALOGUE, Activity.INFERENCE).parts

    assert set(parts) == {Component.ARRAY, Component.DAC, Component.ADC}
    whole = cost.crossbar_mvm(PRESET, 200, 100, 4)
    assert sum(part.energy_j for part in parts.values()) == pytest.approx(whole.energy_j)
    assert sum(part.seconds for part in parts.values()) == pytest.approx(whole.seconds)


def test_a_lora_adds_its_macs_and_their_reads_to_the_crossbar():
    analogue = energy(SMALL, Design.ANALOGUE, Activity.INFERENCE)
    macs = 4 * 8 * 300

    assert energy(SMALL, Design.LORA, Activity.INFERENCE) - analogue == pytest.approx(
        macs * (PRESET.digital.mac_int8_j + PRESET.digital.sram_j_per_byte)
    )
    once = replace(MATRICES, adapter_fetch=Fetch.ONCE)
    assert energy(SMALL, Design.LORA, Activity.INFERENCE, once) - analogue == pytest.approx(
        macs * PRESET.digital.mac_int8_j + 8 * 300 * PRESET.digital.sram_j_per_byte
    )


def test_absent_spikes_spare_rows_in_every_design_that_skips_them():
    sparse = network_of(LAYER | {"input_density": 0.25})
    skipping = replace(MATRICES, baseline_skips_zeros=True)

    dense_j = energy(sparse, Design.DIGITAL, Activity.INFERENCE)
    assert energy(sparse, Design.DIGITAL, Activity.INFERENCE, skipping) == pytest.approx(dense_j / 4)
    parts = cost_breakdown(sparse, PRESET, Design.ANALOGUE, Activity.INFERENCE).parts
    full = cost_breakdown(SMALL, PRESET, Design.ANALOGUE, Activity.INFERENCE).parts
    assert parts[Component.DAC].energy_j == pytest.approx(full[Component.DAC].energy_j / 4)
    assert parts[Component.ADC].energy_j == pytest.approx(full[Component.ADC].energy_j)


def test_a_training_step_is_forward_backward_and_one_update():
    macs, lora_macs, mac_j = SMALL.macs, SMALL.lora_macs, PRESET.digital.mac_fp32_j
    forward = energy(SMALL, Design.ANALOGUE, Activity.INFERENCE)
    expected = {
        Design.ANALOGUE: 5 * (forward + 2 * macs * mac_j),
        Design.LORA: 5 * (forward + (lora_macs + macs + 2 * lora_macs) * mac_j),
        Design.DIGITAL: 5 * 3 * macs * mac_j,
    }

    for design, before_update in expected.items():
        step = energy(SMALL, design, Activity.TRAINING_STEP)
        assert step == pytest.approx(before_update + energy(SMALL, design, Activity.UPDATE))
        steps = 2 if design is Design.LORA else 3
        assert energy(SMALL, design, Activity.ADAPTATION) == pytest.approx(steps * step)


def test_a_gradient_that_stops_spares_the_layers_in_front_of_the_first_adapter():
    plain, adapted = LAYER | {"lora_rank": 0}, LAYER | {"name": "second"}
    network = network_of(plain, adapted, LAYER | {"name": "third", "lora_rank": 0})
    stopping = replace(MATRICES, gradient_stops=True)
    mac_j = PRESET.digital.mac_fp32_j

    spared = energy(network, Design.LORA, Activity.TRAINING_STEP) - energy(
        network, Design.LORA, Activity.TRAINING_STEP, stopping
    )

    # First layer, second layer's input, and what A would pass on.
    assert spared == pytest.approx(5 * (2 * 4 * 200 * 100 + 4 * 8 * 200) * mac_j)


def test_an_adapter_on_a_digital_layer_learns_though_no_gradient_crosses_the_crossbars():
    rows = {"name": "rows", "inputs": 100, "outputs": 3, "uses": 1, "digital": True, "lora_rank": 8}
    network = network_of(LAYER | {"lora_rank": 0}, rows)
    stopping = replace(MATRICES, gradient_stops=True)
    step = cost_breakdown(network, PRESET, Design.LORA, Activity.TRAINING_STEP, stopping).parts

    # Forward, own gradient, and what B passes on to A.
    macs = 8 * (100 + 3) + 8 * (100 + 3) + 8 * 3
    assert step[Component.MAC].energy_j == pytest.approx(5 * macs * PRESET.digital.mac_fp32_j)
    assert network.crossbar_weights == 200 * 100
    assert network.tiles(PRESET) == network_of(LAYER).tiles(PRESET)


def test_adam_moves_three_times_the_bytes_of_sgd_and_keeps_twice_the_values():
    adam = replace(MATRICES, optimiser=Optimiser.ADAM)

    assert energy(SMALL, Design.LORA, Activity.UPDATE, adam) == pytest.approx(
        3 * energy(SMALL, Design.LORA, Activity.UPDATE)
    )
    assert design_report(SMALL, PRESET, Design.LORA, MATRICES).sram_training_bytes == 2 * 4 * 2400
    assert design_report(SMALL, PRESET, Design.LORA, adam).sram_training_bytes == 4 * 4 * 2400


def test_layers_that_stay_digital_cost_the_same_in_every_design():
    depthwise = {"name": "depthwise", "inputs": 49, "outputs": 1, "groups": 100, "uses": 4}
    network = network_of(LAYER, depthwise)
    macs = 49 * 100 * 4
    expected = macs * (PRESET.digital.mac_int8_j + PRESET.digital.sram_j_per_byte)

    for design in Design:
        with_them = energy(network, design, Activity.INFERENCE, Assumptions())
        assert with_them - energy(network, design, Activity.INFERENCE) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("origin", "component", "targets", "parameters"),
    [(Origin.DRAM, Component.DRAM, 20_000 * 2, 2_400), (Origin.RADIO, Component.RADIO, 20_000 * 2, 2_400)],
)
def test_what_comes_from_elsewhere_is_charged_on_both_sides(origin, component, targets, parameters):
    assumed = replace(MATRICES, origin=origin)

    assert cost_breakdown(SMALL, PRESET, Design.ANALOGUE, Activity.DEPLOY, assumed).parts[component].bytes == targets
    assert cost_breakdown(SMALL, PRESET, Design.LORA, Activity.DEPLOY, assumed).parts[component].bytes == parameters


@pytest.mark.parametrize(
    ("name", "serves", "trains"),
    [("face-mixer", True, True), ("speaker-lsm", True, False), ("image-dit", False, False)],
)
def test_whether_adapters_fit_into_the_sram_of_64_kilobytes(name, serves, trains):
    report = design_report(load_network(name), PRESET, Design.LORA)

    assert report.sram_bytes == 65536
    assert (report.fits_serving, report.fits_training) == (serves, trains)


def test_tiles_are_those_of_the_analogue_designs():
    assert design_report(load_network("speaker-lsm"), PRESET, Design.LORA).tiles == 28
    assert design_report(load_network("speaker-lsm"), PRESET, Design.DIGITAL).tiles == 0


def test_a_network_without_training_facts_has_no_training_in_its_report():
    network = network_of(LAYER, training=False)
    report = design_report(network, PRESET, Design.ANALOGUE)

    assert set(report.costs) == {Activity.DEPLOY, Activity.UPDATE, Activity.INFERENCE}
    assert report.adaptations_left is None
    for activity in (Activity.TRAINING_STEP, Activity.ADAPTATION):
        with pytest.raises(CostError, match=r"has no \[training\]"):
            cost_breakdown(network, PRESET, Design.DIGITAL, activity)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(CostError, match="has no LoRA: give a layer a lora_rank"):
        cost_breakdown(network_of(LAYER | {"lora_rank": 0}, lora=False), PRESET, Design.LORA, Activity.DEPLOY)
    depthwise = {"name": "depthwise", "inputs": 49, "outputs": 1, "groups": 100, "uses": 4}
    with pytest.raises(CostError, match="no layer for a crossbar"):
        design_report(network_of(depthwise, lora=False), PRESET, Design.DIGITAL)
    with pytest.raises(CostError, match="lora_bytes must be at least 1; got 0"):
        Assumptions(lora_bytes=0)


def test_bills_add_by_component_and_are_never_empty():
    one = CostBreakdown({Component.SRAM: cost.sram_read(PRESET, 10)})
    other = CostBreakdown({Component.ADC: cost.crossbar_mvm(PRESET, 8, 8), Component.SRAM: cost.sram_read(PRESET, 5)})

    both = one + other * 2

    assert list(both.parts) == [Component.ADC, Component.SRAM]
    assert both.parts[Component.SRAM] == cost.sram_read(PRESET, 20)
    assert other.digital().total == cost.sram_read(PRESET, 5)
    with pytest.raises(CostError, match="at least one part"):
        CostBreakdown({Component.ADC: cost.crossbar_mvm(PRESET, 8, 8)}).digital()


@pytest.mark.parametrize("design", Design)
def test_a_deep_network_is_priced_in_every_draw(design):
    report = design_report(load_network("image-dit"), sample_preset(PRESET, 50, seed=1), design)

    for breakdown in report.costs.values():
        assert breakdown.total.energy_j.shape == (50,)
        assert np.all(breakdown.total.energy_j > 0)
