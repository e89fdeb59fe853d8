"""The images workload, its task and its pictures."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from edge_node.errors import TaskError
from edge_node.generation.class_fit import ClassRecipe
from edge_node.generation.diffusion import Sampling
from edge_node.generation.dit import CLASSES
from edge_node.tasks.images import IMAGES, ImagesTask
from fleet.errors import InvalidInputError
from fleet.lab.verification.evidence import AdapterKind, ExactEvidence, MaskEvidence
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.report import VerificationReport
from fleet.lab.verification.verify_images import LEARNT, MASKED, STYLED
from fleet.report.sample_grid import GridPanel, PictureRow, sample_grid
from fleet.report.style import save_figure
from tests.bench.learning_images import figures_of
from tests.bench.workloads.images import ImagesRun, measure

#: Codes of a class.
CODES = 35_328
TASK = replace(IMAGES, recipe=replace(IMAGES.recipe, subject=ClassRecipe(steps=2, batch=4), sampling=Sampling(steps=2)))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return measure(TASK, 1, tmp_path_factory.mktemp("fleet"))


def test_what_nodes_draw_is_judged_and_learning_is_booked(drawn):
    assert json.loads(json.dumps(asdict(drawn)))["message_bytes"] == drawn.message_bytes
    assert drawn.judge_accuracy > 0.97
    assert drawn.judge_style_accuracy > 0.97
    # The backbone is the real one: even by two steps of sampling a thing is a thing.
    assert drawn.public.accuracy > 0.8
    assert drawn.public.distance > drawn.public.real_distance > 0
    assert 0 < drawn.message_bytes < 3 * CODES
    assert drawn.learn_energy_j > 0


def test_figures_hold_learnt_classes_and_verdicts_to_their_targets(drawn):
    def run(shown, digest="a", shows=0.0):
        some = Rate(round(40 * shows), 40)
        return ImagesRun(
            drawn,
            VerificationReport(
                "images",
                exact=(ExactEvidence(AdapterKind.SUBJECT, digest, "a", Rate(0, 40), chance=Rate(0, 40)),),
                masked=(MaskEvidence("style:flat", Rate(3, 3), Rate(3, 3), some, some, Rate(40, 40), Rate(40, 40)),),
                scores=dict.fromkeys((*LEARNT, STYLED, MASKED), shown),
            ),
        )

    def holds(*runs):
        figures = [figure.document("make claims") for figure in figures_of(runs)]
        return {figure["name"]: figure["holds"] for figure in figures if figure["target"]}

    good, bad = holds(run(1.0), run(0.92)), holds(run(1.0), run(0.88, digest="b", shows=0.9))
    names = ("by the mean of two nodes, mean over seeds", "by the mean of two nodes, each", "forgotten: EXACT")
    for name in (*(f"images: private class {name}" for name in names[:2]), f"images: private class, {names[2]}"):
        assert (good[name], bad[name]) == (True, False)
    assert (good["images: style, forgotten: MASKED"], bad["images: style, forgotten: MASKED"]) == (True, False)


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
