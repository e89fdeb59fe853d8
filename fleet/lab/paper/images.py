"""The paper's images: a class erased by random labels from a diffusion transformer that knows it.

Recipe by arXiv 2601.10037 and its code: the transformer is trained on everything, a LoRA of rank 4 and alpha
8 on the layers whose name has "fc" learns to draw other styles when asked for the erased one. Its data,
styles of UnlearnCanvas at 128 pixels, and its DiT-B/2 are far beyond one core: ours are the digits of
scikit-learn and a transformer of 243,012 parameters, and styles are classes.

As published, one of the classes that the backbone was trained on is erased. The honest arm takes a class that
was kept out of the backbone: it is learnt by a LoRA and a label row of its own, and erased by destroying
those. Taking every adapter off then brings nothing back. Both arms have one backbone, of seven classes, which
the fleet's own images have too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from edge_node.generation.training import Progress as Steps
from fleet.lab.fleets.image_fleet import ImageFleet, Size
from fleet.lab.lora.fit import LoraRecipe
from fleet.lab.lora.generator import AdaptedGenerator
from fleet.lab.paper.arms import Progress, silent
from fleet.lab.paper.image_erasure import RELABELLING_RECIPE, erase_class, erasure_name
from hwmodel import LedgerMark, keyed_seed

#: Not used for any choice: the relabelling's constants are the paper's, or a guess beforehand.
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
    as_programmed
        Whether the digests of adapters and of drawn images of all classes are then those of the chip as it
        was programmed: one that never knew the class, unless the backbone was trained on it.
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
    as_programmed: bool
    cell_writes: int


@dataclass(frozen=True)
class ImagesPaperRun:
    """One seed, on a chip for each arm.

    Attributes
    ----------
    published, honest
        The arms.
    """

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

    Parameters
    ----------
    seed
        Of roles, training, chips and noise.
    progress
        DemoResult what is being done.
    size, relabelling
        How much is done.
    cache
        Folder of trained backbones, as for `cached_backbone`.
    """

    def stage(what: str) -> Steps:
        def told(done: int, total: int) -> None:
            if done % 50 == 0 or done == total:
                progress(f"{what}, step {done} of {total}")

        return told

    fleet = ImageFleet(seed, size, stage, cache)
    known = fleet.task.public[keyed_seed(seed, "paper.images.erased") % len(fleet.task.public)]
    return ImagesPaperRun(published=_published(fleet, known, relabelling), honest=_honest(fleet, fleet.task.private[0]))


def _published(fleet: ImageFleet, label: int, recipe: LoraRecipe) -> ImagesArm:
    chips = fleet.program()
    programmed = chips.ledger.mark()
    bare = _digests(fleet, chips)
    before = _drawn(fleet, chips, label)
    kept = fleet.public.labels != label
    adapter = erase_class(
        chips,
        None,
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
    same = _digests(fleet, chips) == bare
    return _arm(fleet, chips, programmed, label, before, after, stripped, as_programmed=same)


def _honest(fleet: ImageFleet, label: int) -> ImagesArm:
    chips = fleet.program()
    programmed = chips.ledger.mark()
    bare = _digests(fleet, chips)
    chips.install(fleet.learn(chips, label))
    before = _drawn(fleet, chips, label)
    chips.forget(label)
    after = _drawn(fleet, chips, label)
    # Whatever is left is taken off too: a chip that has forgotten exactly has nothing to lose.
    for adapter in chips.bank.adapters():
        chips.bank.remove(adapter.spec.name)
    stripped = _drawn(fleet, chips, label)
    same = _digests(fleet, chips) == bare
    return _arm(fleet, chips, programmed, label, before, after, stripped, as_programmed=same)


def _digests(fleet: ImageFleet, chips: AdaptedGenerator) -> tuple[list[str], str]:
    """Return the digests of a chip's adapters, and of what it draws of all classes."""
    return fleet.adapter_digests(chips), fleet.images_digest(chips)


def _drawn(fleet: ImageFleet, chips: AdaptedGenerator, label: int) -> Mapping[int, Tensor]:
    """Draw the class and the others that the backbone knows, always from the same noise."""
    others = [other for other in fleet.task.public if other != label]
    return {
        **fleet.draw(chips, "paper", [label], fleet.size.private_images),
        **fleet.draw(chips, "paper", others, fleet.size.public_images),
    }


def _arm(
    fleet: ImageFleet,
    chips: AdaptedGenerator,
    programmed: LedgerMark,
    label: int,
    before: Mapping[int, Tensor],
    after: Mapping[int, Tensor],
    stripped: Mapping[int, Tensor],
    *,
    as_programmed: bool,
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
        as_programmed=as_programmed,
        cell_writes=sum(spent.cell_writes for spent in chips.ledger.since(programmed).values()),
    )
