"""The paper's images: a class erased by random labels from a diffusion transformer that knows it.

Recipe by arXiv 2601.10037 and its code: the transformer is trained on everything, a LoRA of rank 4 and alpha
8 on the layers whose name has "fc" learns to draw other styles when asked for the erased one. Its data,
styles of UnlearnCanvas at 128 pixels, and its DiT-B/2 are far beyond one core: ours are the digits of
scikit-learn and a transformer of 243,012 parameters, and styles are classes.

The honest arm keeps the class out of the backbone: it is learnt by a LoRA and a label row of its own, and
erased by destroying those. Taking every adapter off then brings nothing back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from edge_node.generation.erasure import erasure_name
from edge_node.generation.generator import Generator
from edge_node.generation.lora_fit import LoraRecipe
from edge_node.generation.relabelling import RECIPE, relabel_class
from edge_node.generation.scores import Judge
from edge_node.generation.training import Progress
from edge_node.tasks import Split
from edge_node.tasks.images import CLASSES, ImagesTask, class_name
from fleet.lab.paper.arms import Arm
from fleet.lab.workloads.image_fleet import ImageFleet, Size

#: Not used for any choice here: the relabelling was chosen on seed 50.
SEEDS = (1, 2, 3)
#: One chip of each fleet; images drawn of the class, and of each other one.
SIZE = Size(nodes=1, public_images=20, private_images=100, compared_images=2)


@dataclass(frozen=True)
class ImagesArm:
    """What one arm of one seed gave: shares of drawn images that show what was asked for.

    Attributes
    ----------
    label
        The erased class.
    trained_on
        Whether the backbone was trained on it.
    known, others_before
        Of the class, and of the others that the backbone knows, before.
    erased
        *Not* shown any more of the class, once it is erased.
    others
        Of the others then.
    stripped
        Of the class, once every adapter is taken off, from the same noise as `known`.
    as_never_known
        Whether adapters and drawn images of all classes are then, bit for bit, those of a chip that never had
        the class; False where the backbone was trained on it.
    cell_writes
        Pulses to cells of a chip after programming.
    """

    label: int
    trained_on: bool
    known: float
    others_before: float
    erased: float
    others: float
    stripped: float
    as_never_known: bool
    cell_writes: int


@dataclass(frozen=True)
class ImagesPaperRun:
    """One seed of chips, on a chip each.

    Attributes
    ----------
    published, honest
        The arms.
    """

    published: ImagesArm
    honest: ImagesArm


@dataclass(eq=False)
class KnowingFleet(ImageFleet):
    """Chips whose backbone was trained on all classes, as the paper's was.

    Attributes
    ----------
    eye
        What says which class an image shows; trained here if None.
    """

    eye: Judge | None = None

    @cached_property
    def task(self) -> ImagesTask:
        """Every class is public; the images that test are those of the other arm."""
        return ImagesTask(Split(tuple(map(class_name, range(CLASSES))), (), ()), self.seed)

    @cached_property
    def judge(self) -> Judge:
        """The given one."""
        return self.eye if self.eye is not None else super().judge


def silent(what: str) -> None:
    """Ignore progress."""


def settings() -> str:
    """Return everything that the figures depend on beside the seed."""
    return repr((SIZE, RECIPE))


def run(
    seed: int,
    progress: Callable[[str], None] = silent,
    *,
    size: Size = SIZE,
    relabelling: LoraRecipe = RECIPE,
    cache: Path | None = None,
) -> ImagesPaperRun:
    """Run both arms of one seed; the same class is erased in both.

    Parameters
    ----------
    seed
        Of roles, training, chips and noise.
    progress
        Told what is being done.
    size, relabelling
        How much is done.
    cache
        Folder of trained backbones, as for `cached_backbone`.
    """

    def stage_of(arm: Arm) -> Callable[[str], Progress]:
        def stage(what: str) -> Progress:
            def told(done: int, total: int) -> None:
                if done % 50 == 0:
                    progress(f"{arm.value}: {what}, step {done} of {total}")

            return told

        return stage

    honest = ImageFleet(seed, size, stage_of(Arm.HONEST), cache)
    knowing = KnowingFleet(seed, size, stage_of(Arm.PUBLISHED), cache, eye=honest.judge)
    label = honest.task.private[0]
    return ImagesPaperRun(published=_published(knowing, label, relabelling), honest=_honest(honest, label))


def _published(fleet: ImageFleet, label: int, recipe: LoraRecipe) -> ImagesArm:
    chips = fleet.program()
    programmed = chips.ledger.mark()
    before = _drawn(fleet, chips, label)
    kept = fleet.public.labels != label
    adapter = relabel_class(
        chips,
        (fleet.public.levels[kept], fleet.public.labels[kept]),
        label,
        fleet.seed,
        recipe,
        progress=fleet.stage(f"relabelling class {label}"),
    )
    chips.install(adapter)
    after = _drawn(fleet, chips, label)
    chips.bank.remove(erasure_name(label))
    stripped = _drawn(fleet, chips, label)
    return _arm(fleet, chips, programmed, label, before, after, stripped, as_never_known=False)


def _honest(fleet: ImageFleet, label: int) -> ImagesArm:
    chips = fleet.program()
    programmed = chips.ledger.mark()
    never = (fleet.adapter_digests(chips), fleet.images_digest(chips))
    chips.install(fleet.learn(chips, label))
    before = _drawn(fleet, chips, label)
    chips.forget(label)
    after = _drawn(fleet, chips, label)
    # Whatever is left is taken off too: a chip that has forgotten exactly has nothing to lose.
    for adapter in chips.bank.adapters():
        chips.bank.remove(adapter.spec.name)
    stripped = _drawn(fleet, chips, label)
    same = never == (fleet.adapter_digests(chips), fleet.images_digest(chips))
    return _arm(fleet, chips, programmed, label, before, after, stripped, as_never_known=same)


def _drawn(fleet: ImageFleet, chips: Generator, label: int) -> Mapping[int, Tensor]:
    """Draw the class and the others that the backbone knows, always from the same noise."""
    others = [other for other in fleet.task.public if other != label]
    return {
        **fleet.draw(chips, "paper", [label], fleet.size.private_images),
        **fleet.draw(chips, "paper", others, fleet.size.public_images),
    }


def _arm(
    fleet: ImageFleet,
    chips: Generator,
    programmed: object,
    label: int,
    before: Mapping[int, Tensor],
    after: Mapping[int, Tensor],
    stripped: Mapping[int, Tensor],
    *,
    as_never_known: bool,
) -> ImagesArm:
    def of_class(drawn: Mapping[int, Tensor]) -> float:
        return fleet.judge.accuracy(drawn[label], label)

    def of_others(drawn: Mapping[int, Tensor]) -> float:
        return fleet.accuracy({other: images for other, images in drawn.items() if other != label})

    return ImagesArm(
        label=label,
        trained_on=label in fleet.backbone.trained_on,
        known=of_class(before),
        others_before=of_others(before),
        erased=1 - of_class(after),
        others=of_others(after),
        stripped=of_class(stripped),
        as_never_known=as_never_known,
        cell_writes=sum(spent.cell_writes for spent in chips.ledger.since(programmed).values()),
    )
