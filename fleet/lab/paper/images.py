"""The paper's images: a class erased by random labels from a diffusion transformer that knows it.

Recipe by arXiv 2601.10037 and its code: the transformer is trained on everything, a LoRA of rank 4 and alpha 8 on the
layers whose name has "fc" learns to show other styles when asked for the erased one. Its data, styles of UnlearnCanvas
at 128 pixels, and its DiT-B/2 are far beyond one core: ours are the project's own pictures and a transformer of 563,244
parameters, and what is erased is a thing.

As published, one of the classes that the backbone was trained on is erased. The honest arm takes a class that was kept
out of the backbone: it is learnt by a LoRA and a label row of its own, and erased by destroying those. Taking every
adapter off then brings nothing back. Both arms have one backbone, of seven classes, which the fleet's own images have
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_node.generation.training import Progress as Steps
from edge_node.tasks.images import ImagesTask
from fleet.lab.fleets.image_fleet import ImageFleet, Size
from fleet.lab.lora.fit import LoraRecipe
from fleet.lab.paper.arms import Progress, silent
from fleet.lab.paper.image_erasure import RELABELLING_RECIPE, erase_class
from hwmodel import keyed_seed

#: Not used for any choice: the relabelling's constants are the paper's, or a guess beforehand.
SEEDS = (1, 2, 3)
#: One chip of each fleet; images generated of the class, and of each other one.
SIZE = Size(nodes=1, public_images=20, private_images=100, compared_images=2)


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
    #: Whether the digests of adapters and of images of all classes are then those of the chip as it was programmed: one
    #: that never knew the class, unless the backbone was trained on it.
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
    return repr((SIZE, RELABELLING_RECIPE))


def run(
    seed: int,
    progress: Progress = silent,
    *,
    size: Size = SIZE,
    relabelling: LoraRecipe = RELABELLING_RECIPE,
    cache: Path | None = None,
) -> ImagesPaperRun:
    """Run both arms of one seed, on two chips with one backbone.

    The seed is that of roles, training, chips and noise; size and relabelling say how much is done; `cache` is a folder
    of trained backbones, as for `cached_backbone`.
    """

    def stage(what: str) -> Steps:
        def report(done: int, total: int) -> None:
            if done % 50 == 0 or done == total:
                progress(f"{what}, step {done} of {total}")

        return report

    fleet = ImageFleet(ImagesTask.of(seed), size, stage, cache)
    known = fleet.task.public[keyed_seed(seed, "paper.images.erased") % len(fleet.task.public)]
    return ImagesPaperRun(_published(fleet, known, relabelling), _honest(fleet, fleet.task.private[0]))


def _published(fleet: ImageFleet, label: int, recipe: LoraRecipe) -> ImagesArm:
    trial = _Trial(fleet, label)
    others = fleet.public.where(fleet.public.labels != label)
    report = fleet.stage(f"relabelling class {label}")
    before = trial.shown()
    trial.chips.install(erase_class(trial.chips, None, others, label, fleet.seed, recipe, progress=report))
    return trial.finished(before, trial.shown())


def _honest(fleet: ImageFleet, label: int) -> ImagesArm:
    trial = _Trial(fleet, label)
    trial.chips.install(fleet.learn(trial.chips, label))
    before = trial.shown()
    trial.chips.forget(label)
    return trial.finished(before, trial.shown())


class _Trial:
    """One class on a freshly programmed chip: how often images show it and the others, always from the same noise."""

    def __init__(self, fleet: ImageFleet, label: int) -> None:
        self.fleet, self.label, self.chips = fleet, label, fleet.program()
        self._programmed = self.chips.ledger.mark()
        self._bare = self._digests()

    def shown(self) -> tuple[float, float]:
        """Return the share of images that show the class, and of those that show the others of the backbone."""
        fleet, others = self.fleet, [other for other in self.fleet.task.public if other != self.label]
        mine = fleet.generate(self.chips, "paper", [self.label], fleet.size.private_images)
        of_others = fleet.generate(self.chips, "paper", others, fleet.size.public_images)
        return fleet.accuracy(mine), fleet.accuracy(of_others)

    def finished(self, before: tuple[float, float], after: tuple[float, float]) -> ImagesArm:
        """Strip every adapter off, and return the figures."""
        # A chip that has forgotten exactly has nothing to lose.
        for adapter in self.chips.bank.adapters():
            self.chips.bank.remove(adapter.spec.name)
        stripped, _ = self.shown()
        return ImagesArm(
            label=self.label,
            trained_on=self.label in self.fleet.backbone.trained_on,
            known=before[0],
            others_before=before[1],
            erased=1 - after[0],
            others=after[1],
            stripped=stripped,
            as_programmed=self._digests() == self._bare,
            cell_writes=sum(spent.cell_writes for spent in self.chips.ledger.since(self._programmed).values()),
        )

    def _digests(self) -> tuple[list[str], str]:
        """Return the digests of the chip's adapters, and of the images that it generates of all classes."""
        return self.fleet.adapter_digests(self.chips), self.fleet.images_digest(self.chips)
