"""The paper's images: a class relabelled in a backbone that knows it, and one that it never knew."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edge_node.generation import judge
from edge_node.generation.class_fit import ClassRecipe
from edge_node.generation.diffusion import Sampling, keyed_noise, on_chips, sample
from edge_node.generation.dit import prompts_of
from edge_node.generation.generator import Generator
from edge_node.generation.image_generator import task_backbone
from edge_node.tasks.images import IMAGES
from fleet.lab.paper import images
from fleet.lab.paper.images import PRESET, SHAPE, PictureCounts, Relabelling, relabelled
from fleet.lab.paper.methods import Descent
from fleet.lab.paper.stacked_lora import StackedNetwork
from hwmodel import load_preset

TASK = replace(IMAGES, recipe=replace(IMAGES.recipe, subject=ClassRecipe(steps=3, batch=4), sampling=Sampling(steps=2)))
BRIEF = Relabelling(Descent(steps=3, learning_rate=3e-2), batch=4)


@pytest.fixture(scope="module")
def measured():
    told = []
    with pytest.MonkeyPatch.context() as patch:
        # What the judge sees decides little here, and it learns for seconds.
        patch.setattr(judge, "_JUDGE_STEPS", 100)
        return images.run(1, told.append, task=TASK, relabelling=BRIEF, counts=PictureCounts(2, 1, 1)), told


def test_published_erases_a_class_that_the_backbone_knows_and_honest_one_that_it_does_not(measured):
    figures, _ = measured

    assert figures.published.label in TASK.public
    assert figures.honest.label in TASK.private
    assert figures.published.trained_on
    assert not figures.honest.trained_on


def test_stripping_brings_a_relabelled_class_back_as_it_was(measured):
    figures, _ = measured

    assert figures.published.as_programmed
    assert figures.published.stripped == figures.published.known > 0


def test_class_that_the_backbone_never_saw_leaves_a_chip_that_never_knew_it(measured):
    figures, _ = measured

    assert figures.honest.as_programmed
    assert figures.published.cell_writes == figures.honest.cell_writes == 0


def test_progress_names_the_work(measured):
    figures, told = measured

    names = [images.CLASS_NAMES[arm.label] for arm in (figures.published, figures.honest)]
    assert told[1:] == [f"relabelling {names[0]}", f"learning {names[1]}"]


def test_relabelling_is_the_papers_shape_and_changes_what_is_drawn():
    public = TASK.images(TASK.public, test=False)
    chip = Generator.program(task_backbone(TASK), load_preset(PRESET), 1, ["chip-0"], examples=public)
    network, label = StackedNetwork(chip.chips), TASK.public[0]
    asked = torch.full((1, 2), label), torch.zeros(1, 2, dtype=torch.int64)

    def drawn():
        noise = keyed_noise(1, "test", count=2)[None]
        return sample(on_chips(chip.chips), noise, prompts_of(*asked), TASK.recipe.sampling)

    before = drawn()
    adapter = relabelled(network, public.where(public.labels != label), label, 1, BRIEF)
    network.install(SHAPE, adapter)

    assert all("fc" in layer for layer in SHAPE.layers)
    assert (SHAPE.rank, SHAPE.alpha, len(SHAPE.layers)) == (4, 8.0, 6)
    assert all(part.any() for part in adapter)
    assert not torch.equal(drawn(), before)
    with network.stripped(SHAPE.name):
        assert torch.equal(drawn(), before)
