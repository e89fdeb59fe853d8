"""The energy model's figures of a node's own network: from what its crossbars read, not from a table."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reram_fleet.v1.types_pb2 import PaperRatio, SharedLora

from edge_node.backbones.coding import InputCoding
from edge_node.backbones.filters import FilterBank
from edge_node.backbones.liquid import Liquid
from edge_node.backbones.reservoir import Reservoir
from edge_node.backbones.spectral import SpectralFilters
from edge_node.generation.image_generator import ImageGenerator
from edge_node.recognition.engine import Engine
from edge_node.recognition.training import logistic
from edge_node.tasks.images import IMAGES_BRIEF
from edge_node.testing import MemoryEngine
from hwmodel import EnergyLedger, Phase, load_preset
from hwmodel.cost.assumptions import Assumptions
from hwmodel.cost.breakdown import ANALOGUE
from hwmodel.cost.designs import Activity, Design, cost_breakdown
from hwmodel.cost.ratios import ratio_report
from tests.example_task.made_up_patterns import PATTERNS

from .test_filter_bank import photos
from .voices import voices

PRESET = load_preset("180nm-1t1r")
CODING = InputCoding(gains=(32,) * 4, offsets=(0,) * 4, min_frames=4, max_frames=50)
RATIOS = {PaperRatio.Value(f"PAPER_RATIO_{name}"): name for name in ("TRAINING", "DEPLOYMENT", "INFERENCE")}


def readings(count):
    return list(np.random.default_rng(4).normal(size=(count, 20, 4)).astype(np.float32))


@dataclass(frozen=True)
class MadeUpTask:
    """A backbone, and six public samples of three made-up people: all that an engine asks of a task."""

    program_of: object
    samples: tuple

    def program(self, preset, fleet_seed, node_ids, ledger):
        return self.program_of(preset, fleet_seed, node_ids, ledger)

    def public_samples(self):
        return {name: self.samples[2 * k : 2 * k + 2] for k, name in enumerate("abc")}


#: Recordings of one length, so that uses are whole numbers; what a plug-in brings is among them.
TASKS = {
    "reservoir": MadeUpTask(lambda *args: Reservoir.program(CODING, *args), tuple(readings(6))),
    "filters": MadeUpTask(FilterBank.program, tuple(photos(6))),
    "spectral": MadeUpTask(SpectralFilters.program, tuple(v[:1600] for v in voices(6))),
    "liquid": MadeUpTask(Liquid.program, tuple(v[:1600] for v in voices(6))),
    "plug-in": PATTERNS,
}


class CrossbarLedger(EnergyLedger):
    """What crossbars alone have spent."""

    def charge(self, phase, cost, node=None, *, by=None):
        if by is not None:
            super().charge(phase, cost, node, by=by)


def by_the_model(network):
    """Energy and seconds of one result on the crossbars, by the cost model."""
    without = Assumptions(with_digital_layers=False)
    parts = cost_breakdown(network, PRESET, Design.LORA, Activity.INFERENCE, without).parts
    analogue = [cost for component, cost in parts.items() if component in ANALOGUE]
    return sum(cost.energy_j for cost in analogue), sum(cost.seconds for cost in analogue)


@pytest.fixture(scope="module", params=TASKS)
def built(request):
    task = TASKS[request.param]
    return task, Engine.build(task, PRESET, 5, ["north"])


def test_the_model_charges_a_sample_what_the_engine_does(built):
    task, engine = built
    samples = [sample for mine in task.public_samples().values() for sample in mine]
    engine.ledger = CrossbarLedger(1)

    engine.capture(samples)

    spent = engine.ledger.totals()[Phase.INFER]
    per_sample = (spent.energy_j / len(samples), spent.seconds / len(samples))
    assert per_sample == pytest.approx(by_the_model(engine.network(0)), rel=1e-9)


def test_spikes_are_sparse_and_nothing_else_is():
    densities = {
        name: [layer.input_density for layer in Engine.build(task, PRESET, 5, ["n"]).network(0).layers]
        for name, task in TASKS.items()
    }
    entry, recurrent, output = densities.pop("liquid")

    assert 0 < entry < 0.9
    assert 0 < recurrent < 0.5
    assert output == 1
    assert {density for found in densities.values() for density in found} == {1}


def test_the_model_charges_an_image_what_the_generator_does():
    generator = ImageGenerator.build(IMAGES_BRIEF, PRESET, 5, "north")

    spent = generator.generate_class("cat", "", 1, seed=3).costs[Phase.INFER]

    assert (spent.energy_j, spent.seconds) == pytest.approx(by_the_model(generator.network), rel=1e-9)
    learning, subject = generator.network.training, IMAGES_BRIEF.recipe.subject
    assert (learning.lora_steps, learning.batch) == (subject.steps, subject.batch)
    # A class is its B factors: what is left of a layer's LoRA without A is a part of its codes.
    layers = [layer for layer in generator.network.layers if layer.lora_rank]
    assert sum(layer.lora_rank * layer.outputs for layer in layers) == generator.features
    assert 0 < generator.wear < 1


def test_figures_are_those_of_the_interpretations_that_are_named(device):
    found = {RATIOS[band.ratio]: band for band in device.chip_figures(0).ratios}
    report = ratio_report([device.network(0)], PRESET, draws=1000)
    named = {
        "TRAINING": "whole training, gradient stops",
        "DEPLOYMENT": "int8 to SRAM",
        "INFERENCE": "equal digital unit",
    }
    expected = {
        result.ratio.name: (result.nominal, result.band.p5, result.band.p95)
        for ratio in report.ratios
        for result in ratio.interpretations
        if result.interpretation == named[ratio.ratio.name]
    }

    assert {name: (band.value, band.low, band.high) for name, band in found.items()} == expected
    assert all(low < value < high for value, low, high in expected.values())


def test_the_lora_is_the_active_one_and_has_a_row_for_each_person_on_the_node(device, adapters):
    before = device.network(0)
    for adapter in adapters.values():
        device.set_subject(0, adapter)
    tag = next(iter(adapters))
    lora = SharedLora()
    lora.shape.features, lora.shape.rank, lora.shape.alpha, lora.shape.scale_bits = device.features, 3, 3.0, 16
    lora.rows.add(subject_tag=tag, codes=[1, 2, 3])
    device.set_lora(0, lora)
    after = device.network(0)

    assert before.layers[:-1] == after.layers[:-1]
    assert (before.layers[-1].outputs, after.layers[-1].outputs) == (1, len(adapters))
    assert (before.layers[-1].lora_rank > 3, after.layers[-1].lora_rank) == (True, 3)
    assert after.training.lora_steps == logistic.STEPS
    assert after.training.batch == len(device.public_codes(0)[0])
    first, second = (device.chip_figures(0).ratios for _ in range(2))
    assert first == second
    device.set_lora(0, None)
    device.drop_subjects(0, list(adapters))
    assert device.chip_figures(0).ratios != first


def test_what_is_left_of_the_endurance_is_that_of_the_most_worn_crossbar():
    def worn_engine(epoch_of_entry):
        held = []

        def program(*args):
            held.append(Reservoir.program(CODING, *args))
            held[-1].entry.epoch = epoch_of_entry
            return held[-1]

        engine = Engine.build(MadeUpTask(program, TASKS["reservoir"].samples), PRESET, 5, ["north", "east"])
        worn = [float(crossbar.wear[1]) for crossbar in (held[0].recurrent, held[0].entry)]
        return engine, worn

    engine, worn = worn_engine(0)

    assert engine.chip_figures(1).endurance_left == pytest.approx(1 - max(worn), abs=1e-15)
    assert worn[0] != worn[1]
    # Programmed a thousand times before, the smaller one would be the first to fail.
    assert worn_engine(999)[0].chip_figures(1).endurance_left == pytest.approx(1 - 1000 * worn[1])
    assert worn_engine(10**9)[0].chip_figures(1).endurance_left == 0


def test_an_engine_without_crossbars_has_no_ratio():
    silent = SimpleNamespace(features=8, cell_writes=torch.zeros(1, dtype=torch.int64), capture=_without_a_chip)
    bare = Engine.build(MadeUpTask(lambda *_: silent, TASKS["reservoir"].samples), PRESET, 5, ["north"])

    assert (bare.network(0), MemoryEngine().network(0)) == (None, None)
    assert (list(bare.chip_figures(0).ratios), bare.chip_figures(0).endurance_left) == ([], 1)


def _without_a_chip(samples, ledger, phase):
    return torch.from_numpy(np.rint([sample[:2].ravel() * 100 for sample in samples]).astype(np.int32))[None]


def test_a_restarted_chip_has_the_same_figures(built):
    task, engine = built
    again = Engine.build(task, PRESET, 5, ["north"], saved_costs=[engine.ledger.totals()])

    assert again.network(0) == engine.network(0)
    assert again.chip_figures(0) == engine.chip_figures(0)
