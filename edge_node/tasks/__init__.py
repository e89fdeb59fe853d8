"""Tasks: which people, which samples, and what a node may read by itself.

A task is a plug-in (docs/adr/0016): an object of a protocol of this module, at an entry point of the group
`reram_fleet.tasks`. It is data, never code that touches a network. Only the *public* people's samples are ever read by
a node by itself, to calibrate its chip; samples of everybody else come in through EngineService.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from reram_fleet import tasks
from reram_fleet.tasks import TaskPluginError

from edge_node.errors import TaskError

if TYPE_CHECKING:
    # For annotations only: a module that gives a task and its code range stays light enough for a coordinator.
    from edge_node.backbones import Backbone
    from edge_node.generation.class_fit import GenerationRecipe
    from edge_node.generation.labelled_images import LabelledImages
    from hwmodel import EnergyLedger, Preset


@dataclass(frozen=True)
class Person:
    """One real person of a task."""

    #: Public name inside the data set, for example "s01". Never travels to a coordinator.
    name: str
    #: float32 [frames, channels] each.
    train: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Split:
    """Roles of a task's people: disjoint names."""

    public: tuple[str, ...]
    enrolled: tuple[str, ...]
    strangers: tuple[str, ...]


class Task(Protocol):
    """People of a task, and their roles."""

    @property
    def name(self) -> str:
        """Name on the command line and in GetStatus."""

    @property
    def split(self) -> Split:
        """Who is public, who gets enrolled in demos, who never is."""

    def load_people(self) -> Mapping[str, Person]:
        """Return everybody, by name."""

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return the calibration samples: public people only."""


@runtime_checkable
class RecognitionTask(Task, Protocol):
    """A task whose backbone turns samples into feature codes: what an `Engine` runs."""

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> Backbone:
        """Program the task's backbone into every node's crossbars; charged to `Phase.PROGRAM`."""


@runtime_checkable
class GenerationTask(Task, Protocol):
    """A task whose nodes generate images of its classes: what an `ImageGenerator` runs.

    A person of it is a class; public classes train the backbone, enrolled ones it never sees.
    """

    @property
    def seed(self) -> int:
        """Of roles, of which images test, and of the backbone's training."""

    @property
    def recipe(self) -> GenerationRecipe:
        """How the backbone is trained, classes are learnt, and images are generated."""

    @property
    def public(self) -> tuple[int, ...]:
        """Labels of the classes that the backbone is trained on."""

    @property
    def private(self) -> tuple[int, ...]:
        """Labels of the others."""

    def label(self, name: str) -> int:
        """Return the label of the class of a name; `TaskError` if there is none."""

    def style(self, name: str) -> int:
        """Return the style of a name, or the one that says nothing for ``""``; `TaskError` if there is none."""

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the styles, all of them public."""

    def images(self, labels: Collection[int], *, test: bool) -> LabelledImages:
        """Return the training or the test images of some classes, class after class."""


@runtime_checkable
class SharedPreparation(Protocol):
    """Part of a task that has something to make once for all nodes of a machine."""

    def prepare(self, progress: Callable[[int, int], None]) -> None:
        """Make it, unless it was made before; `progress` is told the steps done and in all, after each."""


@runtime_checkable
class SeededTask(Protocol):
    """Part of a task whose roles are drawn by a seed, for experiments over several splits."""

    def with_seed(self, seed: int) -> Self:
        """Return the task with the roles that a seed draws."""


def load_task(name: str, seed: int | None = None) -> RecognitionTask | GenerationTask:
    """Return the task called `name`; a node loads the code and the data of its own task only.

    `TaskError` if there is no such task, or it cannot be used.

    Parameters
    ----------
    seed
        Draws the roles, of a task that has them drawn; those of demos and fleets if None.
    """
    try:
        task: RecognitionTask | GenerationTask = tasks.load_task(name, RecognitionTask, GenerationTask)
    except TaskPluginError as error:
        raise TaskError(str(error)) from error
    if task.name != name:
        raise TaskError(f"task {name!r} calls itself {task.name!r}: both are its name, in `fleet status` too")
    return task.with_seed(seed) if seed is not None and isinstance(task, SeededTask) else task
