"""The transformer that comes with the package: it is that of the task as it is, small, and good on a chip."""

from __future__ import annotations

import pytest
import torch

from edge_node.generation.backbone_cache import SHIPPED, cached_backbone
from edge_node.generation.diffusion import keyed_noise, on_chips, sample
from edge_node.generation.dit import STYLES, prompts_of
from edge_node.generation.generator import Generator
from edge_node.generation.judge import Judge
from edge_node.tasks.images import IMAGES
from hwmodel import load_preset

PUBLIC = IMAGES.images(IMAGES.public, test=False)


def shipped(folder):
    def trained(done, steps):
        pytest.fail("pictures, network or recipe are not those of the weights in the package: run `make weights`")

    return cached_backbone(PUBLIC, IMAGES.seed, IMAGES.recipe.backbone, folder=folder, progress=trained)


def test_weights_of_the_task_are_in_the_package_and_small(tmp_path):
    backbone = shipped(tmp_path)

    assert backbone.trained_on == set(IMAGES.public)
    assert not list(tmp_path.iterdir())
    (file,) = SHIPPED.iterdir()
    assert file.stat().st_size < 2_000_000


def test_chip_generates_public_things_in_the_style_that_is_asked_for(tmp_path):
    judge = Judge.train(IMAGES.images(range(10), test=False), 1)
    chip = Generator.program(shipped(tmp_path), load_preset("180nm-1t1r"), 3, ["attic"], examples=PUBLIC)
    labels = torch.tensor(IMAGES.public).repeat_interleave(STYLES)
    styles = torch.arange(STYLES).repeat(len(IMAGES.public))
    noise = keyed_noise(3, "test", count=len(labels))[None]

    levels = sample(on_chips(chip.chips), noise, prompts_of(labels, styles)[None], IMAGES.recipe.sampling)[0]

    assert judge.accuracy(levels, labels) >= 0.95
    assert judge.style_accuracy(levels, styles) >= 0.95
