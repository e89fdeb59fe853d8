"""The paper's images: a class relabelled in a backbone that knows it, and one that it never knew."""

from __future__ import annotations

import pytest

from edge_node.errors import EngineError
from edge_node.generation import judge
from edge_node.generation.diffusion import Sampling
from edge_node.generation.dit import CLASSES
from edge_node.generation.training import BackboneRecipe
from edge_node.tasks.images import ImagesTask
from fleet.lab.fleets.image_fleet import ImageFleet, Size
from fleet.lab.lora.fit import LoraRecipe
from fleet.lab.paper import images
from fleet.lab.paper.image_erasure import RELABELLING_LAYERS, erase_class, erasure_name

SEED = 50
TINY = Size(
    nodes=1,
    backbone=BackboneRecipe(steps=16, hardening_steps=4, batch=8, learning_rate=8e-3, warm_up=2),
    subject=LoraRecipe(rank=2, steps=2, batch=4, learning_rate=1e-2),
    sampling=Sampling(steps=2),
    public_images=1,
    private_images=4,
    compared_images=1,
)
RELABELLING = LoraRecipe(rank=2, alpha=4.0, steps=3, batch=4, learning_rate=3e-2)


def silent(what):
    return lambda done, total: None


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture(scope="module")
def measured(cache):
    told = []
    with pytest.MonkeyPatch.context() as patch:
        # What the judge sees decides nothing here, and it learns for seconds.
        patch.setattr(judge, "_JUDGE_STEPS", 100)
        return images.run(SEED, told.append, size=TINY, relabelling=RELABELLING, cache=cache), told


def test_published_erases_a_class_that_the_backbone_knows_and_honest_one_that_it_does_not(measured):
    figures, _ = measured
    task = ImagesTask.of(SEED)

    assert figures.published.label in task.public
    assert figures.honest.label in task.private
    assert figures.published.trained_on
    assert not figures.honest.trained_on


def test_stripping_brings_a_relabelled_class_back_as_it_was(measured):
    figures, _ = measured

    assert figures.published.as_programmed
    assert figures.published.stripped == figures.published.known


def test_class_that_the_backbone_never_saw_leaves_a_chip_that_never_knew_it(measured):
    figures, _ = measured

    assert figures.honest.as_programmed
    assert figures.honest.stripped == 1 - figures.honest.erased
    assert figures.published.cell_writes == figures.honest.cell_writes == 0


def test_progress_names_the_work_and_the_step(measured):
    figures, told = measured

    assert f"relabelling class {figures.published.label}, step 3 of 3" in told
    assert f"learning class {figures.honest.label}, step 2 of 2" in told


@pytest.fixture(scope="module")
def chips_of_a_fleet(cache):
    fleet = ImageFleet(ImagesTask.of(SEED), TINY, silent, cache)
    return fleet, fleet.program()


def test_relabelling_changes_what_is_drawn_by_the_papers_layers_alone(chips_of_a_fleet):
    fleet, chips = chips_of_a_fleet
    before, known = fleet.images_digest(chips), fleet.task.public[0]
    others = fleet.public.where(fleet.public.labels != known)
    adapter = erase_class(chips, None, others, known, SEED, RELABELLING)

    chips.install(adapter)

    assert adapter.spec.layers == tuple(sorted(RELABELLING_LAYERS))
    assert all("fc" in layer for layer in adapter.spec.layers)
    assert fleet.images_digest(chips) != before
    chips.bank.remove(erasure_name(known))
    assert fleet.images_digest(chips) == before


@pytest.mark.parametrize("case", ["unknown class", "its own images", "no images"])
def test_what_cannot_be_relabelled_is_refused(chips_of_a_fleet, case):
    fleet, chips = chips_of_a_fleet
    known, private = fleet.task.public[0], fleet.task.private[0]
    label, images_of = {
        "unknown class": (private, fleet.public),
        "its own images": (known, fleet.public),
        "no images": (known, fleet.public.where(fleet.public.labels < 0)),
    }[case]

    with pytest.raises(EngineError, match="destroy its adapter" if case == "unknown class" else "other classes only"):
        erase_class(chips, None, images_of, label, SEED, RELABELLING)
    assert 0 <= label < CLASSES
