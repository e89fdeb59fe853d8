"""Image fleet: chips that generate pictures, the judge of what they show, and what generating and learning took."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from edge_node.generation.backbone_cache import cached_backbone
from edge_node.generation.diffusion import Sampling, keyed_noise
from edge_node.generation.dit import CLASSES, STYLES, prompts_of
from edge_node.generation.judge import Judge
from edge_node.generation.labelled_images import LabelledImages
from edge_node.generation.training import BackboneRecipe, Progress, TrainedBackbone
from edge_node.tasks import GenerationTask
from fleet.lab.lora.adapter import LoraAdapter
from fleet.lab.lora.fit import LoraRecipe, learn_class
from fleet.lab.lora.generator import AdaptedGenerator
from fleet.lab.paper.image_erasure import GUIDANCE_RECIPE, erase_class
from hwmodel import load_preset

PRESET = "180nm-1t1r"

#: Called with what is being done; returns what is called after each of its steps.
Stage = Callable[[str], Progress]


@dataclass(frozen=True)
class Size:
    """Amount of work."""

    #: Chips.
    nodes: int = 4
    #: Recipes.
    backbone: BackboneRecipe = field(default_factory=BackboneRecipe)
    subject: LoraRecipe = field(default_factory=LoraRecipe)
    erasure: LoraRecipe = GUIDANCE_RECIPE
    sampling: Sampling = field(default_factory=Sampling)
    #: Generated of each public and of each private class on each node, to be judged.
    public_images: int = 13
    private_images: int = 25
    #: Generated of every class on each node, to compare chips that forgot with chips that never knew.
    compared_images: int = 2


@dataclass(eq=False)
class ImageFleet:
    """A task's classes, judge and backbone, and chips that hold it."""

    task: GenerationTask
    size: Size
    stage: Stage
    #: Folder of trained backbones, as for `cached_backbone`.
    cache: Path | None = None
    #: Joules of one node for each class that was learnt.
    learning_j: list[float] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """Of roles, training, chips and noise."""
        return self.task.seed

    @cached_property
    def public(self) -> LabelledImages:
        """Training images of public classes."""
        return self.task.images(self.task.public, test=False)

    @cached_property
    def judge(self) -> Judge:
        """Judge of which class an image shows, and in which style."""
        return Judge.train(self.task.images(range(CLASSES), test=False), self.seed)

    @cached_property
    def backbone(self) -> TrainedBackbone:
        """The transformer, trained on public classes only."""
        progress = self.stage("training the backbone")
        return cached_backbone(
            self.public,
            self.seed,
            self.size.backbone,
            folder=self.cache,
            progress=progress,
        )

    def program(self) -> AdaptedGenerator:
        """Return freshly programmed chips without adapters: the same ones every time."""
        return AdaptedGenerator.program(
            self.backbone,
            load_preset(PRESET),
            self.seed,
            [f"node-{node}" for node in range(self.size.nodes)],
            examples=self.public,
        )

    def learn(self, generator: AdaptedGenerator, label: int) -> LoraAdapter:
        """Return the adapter of a private class, trained on these chips."""
        images = self.task.images([label], test=False)
        progress = self.stage(f"learning class {label}")
        mark = generator.ledger.mark()
        learnt = learn_class(generator, images, label, self.seed, self.size.subject, progress=progress)
        self.learning_j.append(sum(cost.energy_j for cost in generator.ledger.since(mark).values()))
        return learnt

    def erase(self, generator: AdaptedGenerator, label: int) -> LoraAdapter:
        """Return the adapter that erases a public class, trained on these chips."""
        retain = self.public.where(self.public.labels != label)
        progress = self.stage(f"erasing class {label}")
        return erase_class(
            generator, self.public.of(label), retain, label, self.seed, self.size.erasure, progress=progress
        )

    def noise(self, purpose: str, labels: Sequence[int], count: int) -> Tensor:
        """Return what generation starts from, float32 ``[N, labels x count, 24, 24, 3]``, class after class."""

        def noise(node: int, label: int) -> Tensor:
            return keyed_noise(self.seed, "images.draw", purpose, node, label, count=count)

        return torch.stack([torch.cat([noise(n, label) for label in labels]) for n in range(self.size.nodes)])

    def generate(
        self, generator: AdaptedGenerator, purpose: str, labels: Sequence[int], count: int
    ) -> dict[int, Tensor]:
        """Generate `count` images of each class on each node, uint8 ``[N, count, 24, 24, 3]`` by class.

        Styles take turns; the noise is a function of seed, purpose, node and class.
        """
        asked = prompts_of(torch.tensor(labels).repeat_interleave(count), self.styles(count).repeat(len(labels)))
        images = generator.generate(asked, self.noise(purpose, labels, count), sampling=self.size.sampling)
        return dict(zip(labels, torch.split(images, count, dim=1), strict=True))

    def styles(self, count: int) -> Tensor:
        """Return the styles that so many images of a class are asked for in, int64 ``[count]``."""
        return torch.arange(count) % STYLES

    def style_accuracy(self, generated: Mapping[int, Tensor]) -> float:
        """Return the share of images that have the style that they were asked for in."""
        return sum(
            self.judge.style_accuracy(images, self.styles(images.shape[1])) for images in generated.values()
        ) / len(generated)

    def accuracy(self, generated: Mapping[int, Tensor]) -> float:
        """Return the share of images that show their class; all classes have as many."""
        return sum(self.judge.accuracy(images, label) for label, images in generated.items()) / len(generated)

    def images_digest(self, generator: AdaptedGenerator) -> str:
        """Return the SHA-256 over the colour levels of images of all classes, always from the same noise."""
        images = self.generate(generator, "compare", range(CLASSES), self.size.compared_images)
        return hashlib.sha256(b"".join(each.numpy().tobytes() for each in images.values())).hexdigest()

    def adapter_digests(self, generator: AdaptedGenerator) -> list[str]:
        """Return the digest of every node's active adapters."""
        return [generator.digest(node).hex() for node in range(self.size.nodes)]
