"""Image generator of a node: learns classes and generates images, which take long, and never under the node's lock.

A forget must not wait until a class is learnt or an image is generated. So the generator has chips, locks and ledgers
of its own; the node takes its lock before, to look up what may be used, and after, to see whether it still may: what
was learnt or generated of somebody who was forgotten meanwhile is thrown away. There is one chip; that it is simulated
twice, once to learn and once to generate, lets it serve while it learns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import Eraser, SubjectAdapter
from torch import Tensor

from edge_node.errors import EngineError, TaskError
from edge_node.generation.backbone_cache import cached_backbone
from edge_node.generation.class_codes import ClassLayout
from edge_node.generation.class_fit import fit_class, free_label, generation_network
from edge_node.generation.diffusion import keyed_noise, on_chips, sample
from edge_node.generation.dit import IMAGE_SHAPE, prompts_of
from edge_node.generation.eraser import added
from edge_node.generation.eraser_rounds import EraserRequest, EraserTrainer, concepts_of
from edge_node.generation.generator import Generator
from edge_node.generation.training import Progress, TrainedBackbone
from edge_node.recognition.lora.branch import LoraBranch
from edge_node.recognition.training.rounds import RoundResult
from edge_node.tasks import GenerationTask
from hwmodel import Cost, Phase, Precision, Preset
from hwmodel.nn import Correction

#: Images of one request: about ten seconds of one small core.
MAX_IMAGES = 256


def task_backbone(task: GenerationTask, progress: Progress | None = None) -> TrainedBackbone:
    """Return the frozen transformer of a task, trained on its public classes, from the cache if it is there.

    All nodes of a machine share one training: the cache is the user's (`cached_backbone`), and its key is a
    digest of images, recipe, seed and torch build.
    """
    public = task.images(task.public, test=False)
    return cached_backbone(public, task.seed, task.recipe.backbone, progress=progress)


@dataclass(frozen=True)
class LearntClass:
    """Class as this node learnt it: codes, int32 [features], and what that took."""

    codes: np.ndarray
    costs: Mapping[Phase, Cost]


@dataclass(frozen=True)
class GeneratedImages:
    """Images: colour levels 0 to 255, uint8 [count, 24, 24, 3], and what they took."""

    levels: np.ndarray
    costs: Mapping[Phase, Cost]


@dataclass(eq=False)
class _LockedChip:
    """Chip that one thing at a time is done on, made when it is first needed, under the lock."""

    make: Callable[[], Generator]
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def generator(self) -> Generator:
        """The chip."""
        return self.make()


class ImageGenerator:
    """One device's chip that generates, made by `ImageGenerator.build`.

    Attributes
    ----------
    features
        Codes of a class.
    programming, wear
        What programming the chip took, and the share of endurance that this took of its most worn layer.
    network
        What is on the chip, with a class's LoRA.
    concepts
        Names of what the backbone knows, of which erasers can be trained.
    """

    def __init__(self, task: GenerationTask, fleet_seed: int, chip: Callable[[], Generator]) -> None:
        serving = chip()
        self._task, self._recipe = task, task.recipe
        subject = task.recipe.subject
        self._layout = ClassLayout(serving.backbone.base, task.seed, subject.rank, subject.alpha)
        self._fleet_seed = fleet_seed
        self._trainer = EraserTrainer(task, self._layout, fleet_seed)
        self.concepts = concepts_of(task)
        self._serving, self._learning = _LockedChip(lambda: serving), _LockedChip(chip)
        self._free = free_label(serving.backbone)
        self.features = self._layout.length
        self.programming: Cost = serving.ledger.totals()[Phase.PROGRAM]
        self.wear = max(float(layer.crossbar.wear) for layer in serving.chips.analog.values())
        self.network = generation_network(serving.backbone, task.recipe)

    @classmethod
    def build(cls, task: GenerationTask, preset: Preset, fleet_seed: int, node_id: str) -> ImageGenerator:
        """Train or read the backbone and program it; the same chip for the same seed and node."""
        public, backbone = task.images(task.public, test=False), task_backbone(task)

        def chip() -> Generator:
            return Generator.program(backbone, preset, fleet_seed, [node_id], examples=public)

        return cls(task, fleet_seed, chip)

    def learn(self, subject_tag: str, levels: np.ndarray, progress: Progress | None = None) -> LearntClass:
        """Learn a class from colour levels, integers [samples, 1728]; a pure function of chip, tag and images.

        `EngineError` if learning diverges; what `progress`, called after every step, raises ends the learning.
        """
        images = torch.from_numpy(levels.astype(np.uint8)).view(-1, *IMAGE_SHAPE)
        with self._learning.lock:
            generator = self._learning.generator
            mark = generator.ledger.mark()
            seed, recipe = self._fleet_seed, self._recipe.subject
            codes = fit_class(generator, self._layout, [images], subject_tag, seed, recipe, progress=progress)
            return LearntClass(codes[0].numpy(), generator.ledger.since(mark))

    def run_rounds(self, requests: Sequence[EraserRequest]) -> list[RoundResult]:
        """Run rounds of a job that trains an eraser, one after the other.

        `RoundError` or `EngineError` if one is malformed, or diverges.
        """
        with self._learning.lock:
            return [self._trainer.run(self._learning.generator, request) for request in requests]

    def generate_subject(
        self, adapter: SubjectAdapter, style: str, count: int, seed: int, erasers: Sequence[Eraser] = ()
    ) -> GeneratedImages:
        """Generate a private class by its adapter, in a style of the task, or in any if it is ``""``.

        `EngineError` if there is no such style, or it is not 1 to `MAX_IMAGES` images. `erasers` act beside it.
        """
        return self._generate(self._free, style, count, seed, adapter, erasers)

    def generate_class(
        self, name: str, style: str, count: int, seed: int, erasers: Sequence[Eraser] = ()
    ) -> GeneratedImages:
        """Generate a class of the task by the backbone and erasers alone, whether it was trained on it or not.

        `EngineError` if there is no such class or style, or it is not 1 to `MAX_IMAGES` images.
        """
        try:
            label = self._task.label(name)
        except TaskError as error:
            raise EngineError(str(error)) from error
        return self._generate(label, style, count, seed, None, erasers)

    def _generate(
        self,
        label: int,
        style: str,
        count: int,
        seed: int,
        adapter: SubjectAdapter | None,
        erasers: Sequence[Eraser],
    ) -> GeneratedImages:
        try:
            styles = torch.full((1, count), self._task.style(style))
        except TaskError as error:
            raise EngineError(str(error)) from error
        if not 1 <= count <= MAX_IMAGES:
            raise EngineError(f"one request generates 1 to {MAX_IMAGES} images; got {count}")
        noise = keyed_noise(seed, "images.generate", count=count)[None]
        prompts = prompts_of(torch.full((1, count), label), styles)
        with self._serving.lock:
            generator = self._serving.generator
            mark = generator.ledger.mark()
            own = self._branches(generator, adapter) if adapter is not None else {}
            branches = added(own, self._trainer.branches(generator, erasers))
            with generator.chips.charging(Phase.INFER), generator.attached(branches):
                levels: Tensor = sample(on_chips(generator.chips), noise, prompts, self._recipe.sampling)
            return GeneratedImages(levels[0].numpy(), generator.ledger.since(mark))

    def _branches(self, generator: Generator, adapter: SubjectAdapter) -> Mapping[str, Correction]:
        sums = torch.tensor([list(adapter.code_sum)], dtype=torch.int64)
        counts = torch.tensor([adapter.count])
        return {
            name: LoraBranch(a, b, Precision.FP32, generator.chips.preset, generator.meter)
            for name, a, b in self._layout.factors(sums, counts)
        }
