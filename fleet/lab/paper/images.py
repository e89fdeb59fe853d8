"""The paper's images: a class erased by random labels from a diffusion transformer that knows it.

Recipe by arXiv 2601.10037 and its code: the transformer is trained on everything, a LoRA of rank 4 and alpha 8 on the
layers whose name has "fc" learns to show other styles when asked for the erased one. Its data, styles of UnlearnCanvas
at 128 pixels, and its DiT-B/2 are far beyond one core: ours are the project's own pictures and a transformer of 563,244
parameters, and what is erased is a thing.

As published, one of the classes that the backbone was trained on is erased. The honest arm takes a class that was kept
out of the backbone: a device learns it as those of a fleet do, and it is erased by destroying its adapter. Taking every
adapter off then brings nothing back. Both arms have one backbone, of seven classes.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from reram_fleet.v1.types_pb2 import SUBJECT_ADAPTER_KIND_TRAINED, SubjectAdapter
from torch import Tensor

from edge_node.generation.class_fit import ClassRecipe
from edge_node.generation.diffusion import (
    STEPS,
    denoising_loss,
    from_colour_levels,
    keyed_noise,
    noised,
    on_chips,
    sample,
)
from edge_node.generation.dit import CLASSES, IMAGE_SHAPE, NULL_LABEL, prompts_of
from edge_node.generation.generator import BLOCK_LAYERS, Generator
from edge_node.generation.image_generator import GeneratedImages, ImageGenerator, task_backbone
from edge_node.generation.judge import Judge
from edge_node.generation.labelled_images import LabelledImages
from edge_node.tasks.images import CLASS_NAMES, ImagesTask
from fleet.lab.paper.arms import PRESET, Progress, silent
from fleet.lab.paper.methods import Adapter, Descent
from fleet.lab.paper.stacked_lora import LoraShape, StackedNetwork
from hwmodel import Cost, Phase, keyed_generator, keyed_seed, load_preset

#: Not used for any choice: the relabelling's constants are the paper's, or a guess beforehand.
SEEDS = (1, 2, 3)
#: What the paper changes: the layers whose name has "fc".
SHAPE = LoraShape("erase", tuple(sorted(name for name in BLOCK_LAYERS if "fc" in name)), rank=4, alpha=8.0)
_DESCENT = Descent(steps=300, learning_rate=3e-3)
#: Draws so many pictures of a class in a style from the noise of a seed: uint8 ``[count, 24, 24, 3]``.
Draw = Callable[[str, str, int, int], Tensor]


@dataclass(frozen=True)
class Relabelling:
    """Recipe by random labels.

    Attributes
    ----------
    descent, batch
        Steps and rate; and pictures per step, of which half are relabelled.
    withheld_share
        Of the others, those whose label is withheld.
    """

    descent: Descent = _DESCENT
    batch: int = 16
    withheld_share: float = 0.2


@dataclass(frozen=True)
class PictureCounts:
    """Numbers of pictures in each style: of the class, of each other one, and of every class to compare chips by."""

    own: int = 25
    others: int = 5
    compared: int = 1


@dataclass(frozen=True)
class ImagesArm:
    """Outcome of one arm of one seed: shares of generated images that show what was asked for."""

    #: The erased class, and whether the backbone was trained on it.
    label: int
    trained_on: bool
    #: Of the class, and of the others that the backbone knows, before.
    known: float
    others_before: float
    #: *Not* shown any more of the class, once it is erased; of the others then.
    erased: float
    others: float
    #: Of the class, once every adapter is taken off, from the same noise as `known`.
    stripped: float
    #: Whether images of all classes are then those of the chip as it was programmed: one that never knew the class,
    #: unless the backbone was trained on it.
    as_programmed: bool
    #: Pulses to cells of a chip after programming.
    cell_writes: int


@dataclass(frozen=True)
class ImagesPaperRun:
    """One seed, on a chip for each arm."""

    published: ImagesArm
    honest: ImagesArm


def settings() -> str:
    """Return everything that the figures depend on beside the seed."""
    return repr((PictureCounts(), Relabelling(), SHAPE, ClassRecipe()))


def run(
    seed: int,
    progress: Progress = silent,
    *,
    task: ImagesTask | None = None,
    relabelling: Relabelling = Relabelling(),
    counts: PictureCounts = PictureCounts(),
) -> ImagesPaperRun:
    """Run both arms of one seed, on two chips with one backbone.

    The seed is that of roles, training, chips and noise; `task`, if it is another one than that seed's, relabelling and
    counts say how much is done.
    """
    task = task or ImagesTask.of(seed)
    progress("training the judge")
    judge = Judge.train(task.images(range(CLASSES), test=False), task.seed)
    public, private = task.split.public, task.split.enrolled[0]
    known = public[keyed_seed(seed, "paper.images.erased") % len(public)]
    progress(f"relabelling {known}")
    published = _published(_Trial(task, judge, known, counts), relabelling)
    progress(f"learning {private}")
    return ImagesPaperRun(published, _honest(_Trial(task, judge, private, counts)))


@dataclass(frozen=True, eq=False)
class _Trial:
    """One class that is erased: how often pictures show it and the others, always from the same noise."""

    task: ImagesTask
    judge: Judge
    name: str
    counts: PictureCounts

    def shown(self, mine: Draw, others: Draw) -> tuple[float, float]:
        """Return the share of pictures that show the class, and of those that show the others of the backbone."""
        names = [name for name in self.task.split.public if name != self.name]
        shares = [self._share(others, name, self.counts.others) for name in names]
        return self._share(mine, self.name, self.counts.own), sum(shares) / len(shares)

    def digest(self, draw: Draw) -> bytes:
        """Return the digest of pictures of all classes."""
        pictures = [self._drawn(draw, name, self.counts.compared) for name in CLASS_NAMES]
        return hashlib.sha256(torch.cat(pictures).numpy().tobytes()).digest()

    def arm(
        self,
        before: tuple[float, float],
        after: tuple[float, float],
        stripped: float,
        spent: Mapping[Phase, Cost],
        *,
        as_programmed: bool,
    ) -> ImagesArm:
        """Return the figures."""
        return ImagesArm(
            label=self.task.label(self.name),
            trained_on=self.name in self.task.split.public,
            known=before[0],
            others_before=before[1],
            erased=1 - after[0],
            others=after[1],
            stripped=stripped,
            as_programmed=as_programmed,
            cell_writes=sum(cost.cell_writes for cost in spent.values()),
        )

    def _share(self, draw: Draw, name: str, count: int) -> float:
        return self.judge.accuracy(self._drawn(draw, name, count), self.task.label(name))

    def _drawn(self, draw: Draw, name: str, count: int) -> Tensor:
        task = self.task
        seeds = {style: keyed_seed(task.seed, "paper.images", name, style) for style in task.styles}
        return torch.cat([draw(name, style, count, seed) for style, seed in seeds.items()])


def _published(trial: _Trial, recipe: Relabelling) -> ImagesArm:
    task = trial.task
    public = task.images(task.public, test=False)
    chip = Generator.program(task_backbone(task), load_preset(PRESET), task.seed, ["chip-0"], examples=public)
    network, denoise, programmed = StackedNetwork(chip.chips), on_chips(chip.chips), chip.ledger.mark()

    def draw(name: str, style: str, count: int, seed: int) -> Tensor:
        asked = prompts_of(torch.full((1, count), task.label(name)), torch.full((1, count), task.style(style)))
        noise = keyed_noise(seed, "images.generate", count=count)[None]
        levels: Tensor = sample(denoise, noise, asked, task.recipe.sampling)[0]
        return levels

    bare, before = trial.digest(draw), trial.shown(draw, draw)
    label = task.label(trial.name)
    network.install(SHAPE, relabelled(network, public.where(public.labels != label), label, task.seed, recipe))
    after = trial.shown(draw, draw)
    with network.stripped(SHAPE.name):
        stripped, _ = trial.shown(draw, draw)
        same = trial.digest(draw) == bare
    return trial.arm(before, after, stripped, chip.ledger.since(programmed), as_programmed=same)


def relabelled(network: StackedNetwork, others: LabelledImages, label: int, seed: int, recipe: Relabelling) -> Adapter:
    """Return a LoRA that draws pictures of other classes when it is asked for a class; they are learnt on as they are.

    `EngineError` if training diverges.
    """
    images, denoise, steps = from_colour_levels(others.levels), on_chips(network.chips), itertools.count()
    mine = torch.arange(recipe.batch) < recipe.batch // 2

    def loss(adapter: Adapter) -> Tensor:
        draws = keyed_generator(seed, "paper.images.step", next(steps))
        picked = torch.randint(len(images), (1, recipe.batch), generator=draws)
        times = torch.randint(1, STEPS + 1, (1, recipe.batch), generator=draws)
        noise = torch.randn(1, recipe.batch, *IMAGE_SHAPE, generator=draws)
        withheld = torch.rand(1, recipe.batch, generator=draws) < recipe.withheld_share
        labels = torch.where(mine, label, torch.where(withheld, NULL_LABEL, others.labels[picked]))
        with network.training(SHAPE, adapter):
            clean = denoise(noised(images[picked], times, noise), times, prompts_of(labels, others.styles[picked]))
        return denoising_loss(clean, images[picked], times)[None]

    return recipe.descent.run(loss, network.start(SHAPE, seed))


def _honest(trial: _Trial) -> ImagesArm:
    task = trial.task
    chip = ImageGenerator.build(task, load_preset(PRESET), task.seed, "chip-0")
    spent = [dict.fromkeys(Phase, Cost())]

    def levels(found: GeneratedImages) -> Tensor:
        spent.append(dict(found.costs))
        return torch.from_numpy(found.levels)

    def draw(name: str, style: str, count: int, seed: int) -> Tensor:
        return levels(chip.generate_class(name, style, count, seed))

    def draw_learnt(name: str, style: str, count: int, seed: int) -> Tensor:
        return levels(chip.generate_subject(adapter, style, count, seed))

    bare, own = trial.digest(draw), task.images([task.label(trial.name)], test=False).levels
    learnt = chip.learn(trial.name, own.flatten(1).numpy())
    spent.append(dict(learnt.costs))
    adapter = SubjectAdapter(
        subject_tag=trial.name, count=1, code_sum=learnt.codes.tolist(), kind=SUBJECT_ADAPTER_KIND_TRAINED
    )
    before = trial.shown(draw_learnt, draw)
    # Its adapter is destroyed, and nothing else knew the class: there is nothing left to strip off.
    after = trial.shown(draw, draw)
    total = {phase: sum((part[phase] for part in spent), start=Cost()) for phase in Phase}
    return trial.arm(before, after, after[0], total, as_programmed=trial.digest(draw) == bare)
