"""The paper's faces: a mixer on five Olivetti people, gradient ascent, then a sixth person.

Recipe by arXiv 2601.10037 and its code: 16x16 pixels, thirty augmented views of every photo, a mixer of 5,148
parameters trained for 200 full-batch epochs by Adam, LoRA of rank 6 and alpha 4 on channel mixing and output,
cross-entropy with a weight of -0.5 on the forgotten class for 16 full-batch epochs, and a second LoRA of rank 8 for the
sixth person. The code divides views, not photos: views of one photo are learnt from and tested on. The honest arm holds
two photos of every person out before any view is made.

Not given by what we have of the paper, and so ours: how views are made, each image at mean 0 and mean square 1, the
temperature of the loss that forgets, alpha and epochs of the second LoRA, and a fifth of all views to test on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from edge_node.tasks.faces import olivetti_photos
from fleet.lab.paper.arms import CLASSES, KNOWN, Arm, DividedPeople, Progress, silent
from fleet.lab.paper.classifier import ClassifierRecipe, PeopleRun, run_both_arms
from fleet.lab.paper.methods import Descent, GradientAscent
from fleet.lab.paper.networks import FaceMixer
from fleet.lab.paper.networks.inputs import normalised, shrunk
from fleet.lab.paper.networks.mixer import BLOCKS, IMAGE_SIDE
from fleet.lab.paper.stacked_lora import LoraShape
from hwmodel import keyed_generator

#: Not used for any choice: constants were chosen on seeds 0 to 4.
SEEDS = (410, 411, 412, 413, 414)
VIEWS = 30
#: Photos of each person that the honest arm tests on.
HELD_OUT_PHOTOS = 2
#: Largest turn, shift and change of brightness of a view; chance of a mirrored one; pixel noise, in standard
#: deviations of the photos.
TURN_DEGREES, SHIFT_PIXELS, BRIGHTNESS, MIRRORED, PIXEL_NOISE = 10.0, 1.0, 0.2, 0.5, 0.05

_LAYERS = tuple(
    sorted([f"blocks.{block}.channel_mixing.{fc}" for block in range(BLOCKS) for fc in ("fc1", "fc2")] + ["readout"])
)
#: A weight of -0.5 on one class of five as large: on the means over classes that is an eighth of the ascent.
_ASCENT = 0.5 / (KNOWN - 1)
#: Of the loss that forgets; not known of the paper. At 1 a person who is recognised for certain has a tiny gradient at
#: first, and that of a chip's few errors on the others, up to eighty times as large, sets Adam's moments at the first
#: step: of 16 epochs too few are left. Chosen on seeds 0 to 4.
_TEMPERATURE = 4.0

RECIPE = ClassifierRecipe(
    task="faces",
    make=FaceMixer,
    epochs=200,
    batch=None,
    learning_rate=0.01,
    method=GradientAscent(_ASCENT, Descent(steps=16, learning_rate=0.01, falling=False)),
    forgetting=LoraShape("forget", _LAYERS, rank=6, alpha=4.0),
    learning=LoraShape("learn", _LAYERS, rank=8, alpha=4.0),
    continual=Descent(steps=40, learning_rate=0.01),
    temperature=_TEMPERATURE,
)


def settings() -> str:
    """Return everything that the figures depend on beside the seed."""
    return repr((RECIPE, VIEWS, HELD_OUT_PHOTOS, TURN_DEGREES, SHIFT_PIXELS, BRIGHTNESS, MIRRORED, PIXEL_NOISE))


def run(seed: int, progress: Progress = silent) -> PeopleRun:
    """Run both arms of one seed; raises `TaskError` if the photos are not here."""
    photos = shrunk(olivetti_photos()[:CLASSES])
    data = f"Olivetti, ids 0 to {len(photos) - 1}, {photos.shape[1]} photos each"
    return run_both_arms(RECIPE, data, lambda arm: divided(photos, arm, seed), seed, progress)


def divided(photos: Tensor, arm: Arm, seed: int) -> DividedPeople:
    """Make views of photos, float32 ``[people, photos, 16, 16]``, and divide them.

    `Arm.PUBLISHED` divides all views at random; `Arm.HONEST` holds photos out. The views are the same.
    """
    people, count = photos.shape[:2]
    views = normalised(views_of(photos.flatten(0, 1), seed))
    sources = torch.arange(people * count).repeat_interleave(VIEWS)
    labels = sources // count
    draws = keyed_generator(seed, "paper.faces.division")
    tested = torch.zeros(len(sources), dtype=torch.bool)
    if arm is Arm.PUBLISHED:
        share = HELD_OUT_PHOTOS / count
        tested[torch.randperm(len(sources), generator=draws)[: round(share * len(sources))]] = True
    else:
        held = torch.stack([torch.randperm(count, generator=draws)[:HELD_OUT_PHOTOS] for _ in range(people)])
        tested = torch.isin(sources, (held + count * torch.arange(people)[:, None]).flatten())
    return DividedPeople.by(views, labels, sources, tested)


def views_of(photos: Tensor, seed: int) -> Tensor:
    """Return thirty views of each photo, float32 ``[B x 30, 16, 16]``, one photo's after the other.

    Turned, shifted, mirrored, brighter or darker, with a bit of pixel noise.
    """
    draws = keyed_generator(seed, "paper.faces.views")
    repeated = photos.repeat_interleave(VIEWS, dim=0)
    count = len(repeated)

    def within(limit: float, *shape: int) -> Tensor:
        return limit * (2 * torch.rand(count, *shape, generator=draws) - 1)

    turn = within(math.radians(TURN_DEGREES))
    mirror = torch.where(torch.rand(count, generator=draws) < MIRRORED, -1.0, 1.0)
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 0, 1] = turn.cos() * mirror, -turn.sin()
    affine[:, 1, 0], affine[:, 1, 1] = turn.sin() * mirror, turn.cos()
    affine[:, :, 2] = within(2 * SHIFT_PIXELS / IMAGE_SIDE, 2)
    grid = functional.affine_grid(affine, [count, 1, IMAGE_SIDE, IMAGE_SIDE], align_corners=False)
    moved = functional.grid_sample(repeated[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    noise = PIXEL_NOISE * photos.std() * torch.randn(moved.shape, generator=draws)
    return moved * (1 + within(BRIGHTNESS, 1, 1)) + noise
