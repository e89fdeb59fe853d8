"""Digits: private classes as the real fleet keeps them, learnt by two nodes each and added up as integers.

Per seed: four chips hold the backbone; each private class is learnt by two of them, each from half of the
images. Images are drawn by what each of the two learnt itself, and on all four chips by the mean of both,
which is what a revision carries. The judge is that of `images`.

`python -m tests.bench.workloads.federated_images [--seeds N]` prints one JSON line per seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from reram_fleet.v1.types_pb2 import SUBJECT_ADAPTER_KIND_TRAINED, SubjectAdapter
from torch import Tensor

from edge_node.generation.class_codes import ClassLayout
from edge_node.generation.class_fit import ClassRecipe, fit_class, free_label
from edge_node.generation.diffusion import Sampling, on_chips, sample
from edge_node.generation.generator import Generator
from edge_node.generation.training import BackboneRecipe
from edge_node.recognition.lora.branch import LoraBranch
from fleet.lab.fleets.image_fleet import ImageFleet, Size
from fleet.lab.fleets.running import print_runs
from hwmodel import Precision
from tests.bench.workloads.images import SEEDS, silent

#: Nodes that learn each class.
LEARNERS = 2


@dataclass(frozen=True)
class FederatedSize:
    """How much is done.

    Attributes
    ----------
    nodes
        Chips that draw; the first `LEARNERS` learn.
    backbone, subject, sampling
        Recipes.
    private_images
        Drawn of each class on each node.
    """

    nodes: int = 4
    backbone: BackboneRecipe = field(default_factory=BackboneRecipe)
    subject: ClassRecipe = field(default_factory=ClassRecipe)
    sampling: Sampling = field(default_factory=Sampling)
    private_images: int = 25


@dataclass(frozen=True)
class FederatedClass:
    """One private class.

    Attributes
    ----------
    label
        The class.
    own
        Share of images that show it, each learner drawing by its own codes.
    mean
        The same on all nodes, drawing by the mean of the codes.
    apart
        Distance of the two learners' codes, in lengths of the first.
    message_bytes
        Size of the class in a contribution or a revision.
    """

    label: int
    own: float
    mean: float
    apart: float
    message_bytes: int


@dataclass(frozen=True)
class FederatedImagesRun:
    """One seed; `learn_cpu_s` is process time of learning one class on one node."""

    classes: tuple[FederatedClass, ...]
    learn_cpu_s: float


def run(seed: int, size: FederatedSize | None = None, *, cache: Path | None = None) -> FederatedImagesRun:
    """Measure one seed.

    Parameters
    ----------
    seed
        Of roles, training, chips and noise.
    size
        How much is done; the full size if None.
    cache
        Folder of trained backbones, as for `cached_backbone`.
    """
    size = size if size is not None else FederatedSize()
    fleet = ImageFleet(seed, Size(nodes=size.nodes, backbone=size.backbone, sampling=size.sampling), silent, cache)
    chips = fleet.program()
    # The same seed: these are the first of the same chips.
    learners = replace(fleet, size=replace(fleet.size, nodes=LEARNERS)).program()
    layout = ClassLayout(fleet.backbone.base, seed, size.subject.rank, size.subject.alpha)
    classes, started = [], time.process_time()
    learnt = {label: _learn(fleet, learners, layout, label, size.subject) for label in fleet.task.private}
    cpu_s = time.process_time() - started
    for label, codes in learnt.items():
        noise = fleet.noise("federated", [label], size.private_images)
        own = _draw(learners, layout, codes, 1, noise[:LEARNERS], size.sampling)
        summed = codes.sum(dim=0, keepdim=True).expand(size.nodes, -1)
        mean = _draw(chips, layout, summed, LEARNERS, noise, size.sampling)
        classes.append(
            FederatedClass(
                label=label,
                own=fleet.judge.accuracy(own, label),
                mean=fleet.judge.accuracy(mean, label),
                apart=float((codes[0] - codes[1]).double().norm() / codes[0].double().norm()),
                message_bytes=SubjectAdapter(
                    subject_tag="0" * 32, count=LEARNERS, code_sum=summed[0].tolist(), kind=SUBJECT_ADAPTER_KIND_TRAINED
                ).ByteSize(),
            )
        )
    return FederatedImagesRun(tuple(classes), cpu_s / (LEARNERS * len(learnt)))


def _learn(fleet: ImageFleet, learners: Generator, layout: ClassLayout, label: int, recipe: ClassRecipe) -> Tensor:
    levels = fleet.task.images([label], test=False).levels
    parts = [levels[learner::LEARNERS] for learner in range(LEARNERS)]
    return fit_class(learners, layout, parts, f"class-{label}", fleet.seed, recipe).to(torch.int64)


def _draw(chips: Generator, layout: ClassLayout, sums: Tensor, count: int, noise: Tensor, sampling: Sampling) -> Tensor:
    """Return images of the class that these sums of codes are of, uint8 [N, B, 8, 8]."""
    branches = {
        name: LoraBranch(a, b, Precision.FP32, chips.chips.preset, chips.meter)
        for name, a, b in layout.factors(sums, torch.full((len(sums),), count))
    }
    asked = torch.full(noise.shape[:2], free_label(chips.backbone))
    with chips.attached(branches):
        return sample(on_chips(chips.chips), noise, asked, sampling)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds."""
    return print_runs(run, SEEDS, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
