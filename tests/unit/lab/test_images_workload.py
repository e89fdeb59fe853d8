"""The images workload, its task and its pictures."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from edge_node.errors import TaskError
from edge_node.generation.diffusion import Sampling
from edge_node.generation.dit import CLASSES, STYLES
from edge_node.generation.judge import Judge
from edge_node.generation.training import BackboneRecipe
from edge_node.tasks.images import ImagesTask
from fleet.errors import InvalidInputError
from fleet.lab.fleets.image_fleet import ImageFleet, Size
from fleet.lab.lora.fit import LoraRecipe
from fleet.report.sample_grid import GridPanel, PictureRow, sample_grid
from fleet.report.style import save_figure
from tests.bench.workloads import images
from tests.bench.workloads.images import PrivateClass, measure

TINY = Size(
    nodes=2,
    backbone=BackboneRecipe(steps=16, hardening_steps=4, batch=8, learning_rate=8e-3, warm_up=2),
    subject=LoraRecipe(rank=2, steps=2, batch=4, learning_rate=1e-2),
    erasure=LoraRecipe(rank=2, steps=2, batch=4, learning_rate=1e-2),
    sampling=Sampling(steps=2),
    public_images=2,
    private_images=2,
    compared_images=1,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture(scope="module")
def measured(cache):
    told = []

    def stage(what):
        return lambda done, total: told.append((what, done, total))

    return measure(ImageFleet(ImagesTask.of(50), TINY, stage, cache)), told


def test_forgotten_classes_leave_chips_that_never_had_them(measured):
    figures, _ = measured

    assert [c.label for c in figures.private] == list(ImagesTask.of(50).private)
    assert all(c.exact for c in figures.private)
    assert all(c.forgotten == c.never_enrolled for c in figures.private)
    assert figures.cell_writes_after_programming == 0


def test_digests_differ_while_a_class_is_enrolled(cache):
    fleet = ImageFleet(ImagesTask.of(50), TINY, images.silent, cache)
    chips = fleet.program()
    adapters, drawn = fleet.adapter_digests(chips), fleet.images_digest(chips)

    chips.install(fleet.learn(chips, fleet.task.private[0]))

    assert all(now != before for now, before in zip(fleet.adapter_digests(chips), adapters, strict=True))
    assert fleet.images_digest(chips) != drawn


def test_taking_the_erasure_off_brings_the_class_back_as_it_was(measured):
    erased = measured[0].erased

    assert erased.label in ImagesTask.of(50).public
    assert erased.stripped == erased.before


def test_figures_are_plain_numbers_and_energy_is_booked(measured):
    figures, _ = measured

    assert json.loads(json.dumps(dataclasses.asdict(figures)))["erased"]["label"] == figures.erased.label
    assert figures.judge_accuracy > 0.97
    assert figures.judge_style_accuracy > 0.97
    assert figures.public.distance > figures.public.real_distance > 0
    assert figures.learn_energy_j > 0


def test_progress_of_each_training_is_told_to_its_end(measured):
    private = ImagesTask.of(50).private
    told = measured[1]

    assert ("training the backbone", 20, 20) in told
    assert {what for what, done, total in told if done == total} == {
        "training the backbone",
        *(f"learning class {label}" for label in private),
        f"erasing class {measured[0].erased.label}",
    }


def test_interval_of_the_never_enrolled_is_exact():
    # Bright images show a 3, dark ones a 4.
    bright = Judge(nn.Linear(1728, 128), nn.Linear(128, CLASSES), nn.Linear(128, STYLES))
    nn.init.ones_(bright.hidden.weight)
    nn.init.zeros_(bright.output.weight)
    bright.output.weight.data[3] = 1
    bright.output.bias.data[:] = torch.eye(CLASSES)[4]
    fleet = ImageFleet(ImagesTask.of(50), TINY, images.silent)
    fleet.judge = bright
    without = torch.zeros(2, 10, 24, 24, 3, dtype=torch.uint8)
    without[1, 4] = 255
    none = torch.zeros_like(without)

    figures = images.forgotten_class(fleet, 3, without, without, without, none, exact=True)

    assert isinstance(figures, PrivateClass)
    assert figures.never_enrolled == figures.forgotten == 0.05
    # 1 of 20: the standard example of Clopper and Pearson's interval.
    assert figures.never_enrolled_low == pytest.approx(0.00126, abs=1e-5)
    assert (figures.forgotten_again, figures.again_p) == (0, 1)
    assert figures.never_enrolled_high == pytest.approx(0.24873, abs=1e-5)


def test_pictures_are_written(tmp_path):
    rows = [PictureRow(str(k), np.full((2, 8, 8, 3), k, np.uint8)) for k in range(3)]
    figure = sample_grid("Pictures", [GridPanel("few", rows), GridPanel("more", rows * 2)])

    written = save_figure(figure, tmp_path / "grid.png")

    assert written.read_bytes().startswith(b"\x89PNG")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["few", "more"]
    canvas = figure.axes[1].images[0].get_array()
    assert np.array_equal(canvas[9:17, :8], rows[1].pictures[0])
    assert np.array_equal(canvas[9:17, 9:17], rows[1].pictures[1])


def test_pictures_of_two_sizes_are_refused():
    rows = [PictureRow("a", np.zeros((2, 8, 8, 3))), PictureRow("b", np.zeros((2, 7, 7, 3)))]
    with pytest.raises(InvalidInputError, match="sizes"):
        sample_grid("Pictures", [GridPanel("mixed", rows)])


def test_roles_are_disjoint_and_drawn_by_the_seed():
    one, other = ImagesTask.of(1), ImagesTask.of(2)

    assert sorted(one.public + one.private) == list(range(CLASSES))
    assert (len(one.public), len(one.private)) == (7, 3)
    assert one.split != other.split
    assert ImagesTask.of(1).split == one.split


def test_test_images_train_nothing_and_private_images_are_nobodys():
    task = ImagesTask.of(1)

    for label in range(CLASSES):
        train, test = task.images([label], test=False), task.images([label], test=True)
        share = len(test.labels) / (len(train.labels) + len(test.labels))
        assert share == pytest.approx(0.3, abs=0.01)
    total = sum(len(task.images(range(CLASSES), test=test).labels) for test in (False, True))
    assert total == 10 * 4 * 120
    assert set(task.images(task.public, test=False).labels.tolist()) == set(task.public)
    assert set(map(task.label, task.public_samples())) == set(task.public)
    people = task.load_people()
    assert set(map(task.label, people)) == set(range(CLASSES))
    assert {(sample.dtype, sample.shape) for sample in people["cat"].train} == {(np.dtype(np.float32), (24, 72))}
    assert min(sample.min() for sample in people["cat"].train) >= 0
    assert max(sample.max() for sample in people["cat"].train) <= 1


@pytest.mark.parametrize("labels", [[], [10], [3, -1]])
def test_classes_that_do_not_exist_are_refused(labels):
    with pytest.raises(TaskError, match="classes are 0 to 9"):
        ImagesTask.of(1).images(labels, test=False)
    with pytest.raises(TaskError, match="whale"):
        ImagesTask.of(1).label("whale")
    with pytest.raises(TaskError, match="no style 'baroque'"):
        ImagesTask.of(1).style("baroque")
