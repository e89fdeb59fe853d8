"""The paper's images: a class relabelled in a backbone that knows it, and one that it never knew."""

from __future__ import annotations

import pytest
import torch

from edge_node.errors import EngineError
from edge_node.generation.diffusion import Sampling
from edge_node.generation.lora_fit import LoraRecipe
from edge_node.generation.relabelling import LAYERS, relabel_class
from edge_node.generation.training import BackboneRecipe
from edge_node.tasks.images import CLASSES
from fleet.lab.paper import images
from fleet.lab.paper.images import KnowingFleet
from fleet.lab.workloads.image_fleet import ImageFleet, Size

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
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture(scope="module")
def measured(cache):
    told = []
    return images.run(SEED, told.append, size=TINY, relabelling=RELABELLING, cache=cache), told


def test_same_class_is_erased_where_the_backbone_knows_it_and_where_it_does_not(measured):
    figures, _ = measured

    assert figures.published.label == figures.honest.label
    assert figures.published.trained_on
    assert not figures.honest.trained_on


def test_stripping_brings_a_relabelled_class_back_as_it_was(measured):
    figures, _ = measured

    assert figures.published.stripped == figures.published.known
    assert not figures.published.as_never_known


def test_class_that_the_backbone_never_saw_leaves_a_chip_that_never_knew_it(measured):
    figures, _ = measured

    assert figures.honest.as_never_known
    assert figures.honest.stripped == 1 - figures.honest.erased
    assert figures.published.cell_writes == figures.honest.cell_writes == 0


def test_progress_names_the_arm_and_the_step(measured):
    _, told = measured

    assert any(text.startswith("as published") for text in told)
    assert any(text.startswith("honest") for text in told)


def test_relabelling_changes_what_is_drawn_by_the_papers_layers_alone(cache):
    fleet = KnowingFleet(SEED, TINY, silent, cache)
    chips = fleet.program()
    before = fleet.images_digest(chips)
    kept = fleet.public.labels != 3
    adapter = relabel_class(
        chips, (fleet.public.levels[kept], fleet.public.labels[kept]), 3, SEED, RELABELLING
    )

    chips.install(adapter)

    assert adapter.spec.layers == tuple(sorted(LAYERS))
    assert all("fc" in layer for layer in adapter.spec.layers)
    assert fleet.images_digest(chips) != before


@pytest.mark.parametrize("case", ["unknown class", "its own images", "no images"])
def test_what_cannot_be_relabelled_is_refused(cache, case):
    fleet = ImageFleet(SEED, TINY, silent, cache)
    chips, levels, labels = fleet.program(), fleet.public.levels, fleet.public.labels
    known, private = fleet.task.public[0], fleet.task.private[0]
    others = labels != known
    label, images_of = {
        "unknown class": (private, (levels, labels)),
        "its own images": (known, (levels, labels)),
        "no images": (known, (levels[others][:0], labels[others][:0])),
    }[case]

    with pytest.raises(
        EngineError, match="destroy its adapter" if case == "unknown class" else "other classes only"
    ):
        relabel_class(chips, images_of, label, SEED, RELABELLING)
    assert 0 <= label < CLASSES
