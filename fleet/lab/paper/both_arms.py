"""Both arms of a task of people, on both kinds of hardware: one seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleet.lab.paper.arms import Arm, Hardware, Progress
from fleet.lab.paper.classifier import ClassifierArm, ClassifierRecipe, run_arm, train_backbone
from fleet.lab.paper.divided_people import KNOWN, DividedPeople


@dataclass(frozen=True)
class PeopleRun:
    """One seed: division, first weights and chip; the forgotten one goes round with the seeds.

    Attributes
    ----------
    data
        What the inputs are, for people.
    forgotten
        Which of the five.
    published, honest
        On a chip.
    published_noise_free, honest_noise_free
        The same backbones without errors.
    """

    data: str
    forgotten: int
    published: ClassifierArm
    honest: ClassifierArm
    published_noise_free: ClassifierArm
    honest_noise_free: ClassifierArm


def run_both_arms(
    recipe: ClassifierRecipe, data: str, divide: Callable[[Arm], DividedPeople], seed: int, progress: Progress
) -> PeopleRun:
    """Train a backbone for each arm, and run it on a chip and without errors.

    Parameters
    ----------
    recipe
        The task.
    data
        What the inputs are, for people.
    divide
        Returns the inputs of an arm.
    seed
        Of everything else.
    progress
        DemoResult what is being done.
    """
    forgotten = seed % KNOWN
    arms: dict[tuple[Arm, Hardware], ClassifierArm] = {}

    def under(heading: str) -> Progress:
        return lambda what: progress(f"{heading}: {what}")

    for arm in Arm:
        people = divide(arm)
        backbone = train_backbone(recipe, people, seed, under(arm.value))
        for hardware in Hardware:
            told = under(f"{arm.value}, {hardware.value}")
            arms[arm, hardware] = run_arm(recipe, people, backbone, forgotten, seed, hardware, told)
    return PeopleRun(
        data=data,
        forgotten=forgotten,
        published=arms[Arm.PUBLISHED, Hardware.CHIP],
        honest=arms[Arm.HONEST, Hardware.CHIP],
        published_noise_free=arms[Arm.PUBLISHED, Hardware.NOISE_FREE],
        honest_noise_free=arms[Arm.HONEST, Hardware.NOISE_FREE],
    )
