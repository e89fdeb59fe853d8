"""Tasks of a torch model and a folder: codes that depend on nothing else, and models that cannot be taken."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from reram_fleet.code_ranges import CodeRange
from torch import nn

from edge_node.errors import SampleError, TaskError
from edge_node.tasks import RecognitionTask, SeededTask
from edge_node.tasks.model_task import ModelTask, load_model
from edge_node.tasks.sample_folder import SampleFolder
from hwmodel import EnergyLedger, Phase, load_preset
from tests.drawn_people import SIDE, draw_people

PRESET = load_preset("130nm-neurram")  # with read noise
NODES = ("attic", "cellar", "shed")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A task of drawn people."""
    folder = draw_people(tmp_path_factory.mktemp("drawn") / "people", people=6, samples=4)
    samples = SampleFolder(str(folder), (1, SIDE, SIDE), ("p00", "p01", "p02"), 1)
    return ModelTask("drawn", "tests.drawn_people:model", samples, CodeRange(48, 2**14 - 1), 1024.0)


@pytest.fixture
def factory(monkeypatch):
    """Gives a module `made_models` whose `model` is a function, and returns its name as a task has it."""

    def given(make):
        module = ModuleType("made_models")
        module.model = make
        monkeypatch.setitem(sys.modules, "made_models", module)
        return "made_models:model"

    return given


def captured(task, nodes, samples, preset=PRESET):
    ledger = EnergyLedger(len(nodes))
    backbone = task.program(preset, 1, nodes, ledger)
    return backbone, backbone.capture(samples, ledger, Phase.TRAIN), ledger


def test_it_is_a_task_like_ours(task):
    assert isinstance(task, RecognitionTask)
    assert isinstance(task, SeededTask)
    assert set(task.load_people()) == {"p00", "p01", "p02", "p03", "p04", "p05"}
    assert {name: len(samples) for name, samples in task.public_samples().items()} == dict.fromkeys(
        ("p00", "p01", "p02"), 4
    )


def test_codes_are_the_same_for_any_batch_order_and_number_of_nodes(task):
    samples = task.load_people()["p04"].train + task.load_people()["p05"].train
    quiet = load_preset("180nm-1t1r")
    backbone, codes, _ = captured(task, NODES, samples, quiet)

    assert codes.dtype == torch.int32
    assert codes.shape == (3, len(samples), backbone.features)
    assert not torch.equal(codes[0], codes[1])
    _, alone, _ = captured(task, NODES[1:2], samples[::-1], quiet)
    assert torch.equal(alone[0].flip(0), codes[1])
    _, one, _ = captured(task, NODES[2:], samples[:1], quiet)
    assert torch.equal(one[0, 0], codes[2, 0])


def test_a_read_has_the_noise_of_its_number_whoever_else_reads(task):
    samples = task.load_people()["p04"].train
    _, together, _ = captured(task, NODES, samples)
    _, alone, _ = captured(task, NODES[1:2], samples)

    assert torch.equal(together[1:2], alone)


def test_chips_are_charged_alike_and_cells_are_written_once(task):
    samples = task.load_people()["p04"].train
    backbone, _, ledger = captured(task, NODES, samples)
    first = ledger.totals(0)

    assert all(ledger.totals(node) == first for node in range(3))
    assert int(backbone.cell_writes[0]) == first[Phase.PROGRAM].cell_writes > 0
    assert first[Phase.TRAIN].energy_j > 0
    assert first[Phase.INFER].energy_j == 0
    _, _, more = captured(task, NODES, samples[:1])
    assert first[Phase.TRAIN].energy_j == pytest.approx(2 * more.totals(0)[Phase.TRAIN].energy_j)


def test_codes_end_at_half_of_the_range_so_that_centred_ones_fit(task):
    loud = replace(task, gain=2.0**30)
    _, codes, _ = captured(loud, NODES[:1], task.load_people()["p04"].train)

    assert int(codes.abs().max()) == loud.codes.code_max // 2


@pytest.mark.parametrize(
    "sample",
    [
        np.zeros((SIDE, SIDE + 1), np.float32),
        np.zeros((1, SIDE, SIDE), np.float32),
        np.zeros((SIDE, SIDE), np.float64),
        np.full((SIDE, SIDE), np.nan, np.float32),
    ],
)
def test_samples_that_are_none_of_the_task_are_refused_before_anything_is_read(task, sample):
    ledger = EnergyLedger(1)
    backbone = task.program(PRESET, 1, NODES[:1], ledger)

    with pytest.raises(SampleError, match="a sample"):
        backbone.capture([*task.load_people()["p04"].train, sample], ledger, Phase.INFER)
    assert ledger.totals(0)[Phase.INFER].energy_j == 0


class FailsOnBright(nn.Module):
    """Fails on samples whose first pixel is bright, as a model with a bug would."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(SIDE * SIDE, 8)

    def forward(self, x):
        if float(x[0, 0, 0, 0]) > 0.99:
            raise RuntimeError("too bright")
        return self.layer(x.flatten(1))


def test_a_model_that_fails_on_a_sample_says_so(task, factory):
    broken = replace(task, model=factory(FailsOnBright), codes=CodeRange(8, 99))
    backbone = broken.program(PRESET, 1, NODES[:1], EnergyLedger(1))

    with pytest.raises(SampleError, match=r"the model fails on a sample \[1, 12, 12\] \(RuntimeError: too bright\)"):
        backbone.capture([np.ones((SIDE, SIDE), np.float32)], EnergyLedger(1), Phase.INFER)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nn.ReLU, "nothing to program"),
        (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4)), "1.weight would stay digital"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 6), nn.GRU(6, 4)),
            "weight_ih_l0 would stay digital .GRU has no form on a crossbar",
        ),
        (
            lambda: nn.ModuleDict({"used": nn.Flatten(), "unused": nn.Linear(3, 3)}),
            "the model fails on public samples .NotImplementedError",
        ),
    ],
)
def test_models_that_crossbars_cannot_take_are_refused(task, factory, make, says):
    with pytest.raises(TaskError, match=says):
        replace(task, model=factory(make)).program(PRESET, 1, NODES[:1], EnergyLedger(1))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tests.drawn_people", "names no model: write package.module:factory"),
        ("no_such_package:model", "cannot be imported .ModuleNotFoundError.* PYTHONPATH"),
        ("tests.drawn_people:no_such", "cannot be imported .AttributeError"),
        ("tests.drawn_people:draw_people", "cannot be made .TypeError"),
        ("builtins:dict", "made dict, expected a torch.nn.Module"),
    ],
)
def test_factories_that_make_no_model_are_told_apart(name, says):
    with pytest.raises(TaskError, match=says):
        load_model(name)


def test_random_weights_are_the_same_in_every_process_and_move_no_other_stream():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    models = [load_model("tests.drawn_people:model").state_dict() for _ in range(2)]

    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
