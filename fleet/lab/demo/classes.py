"""Classes of the demo whose nodes generate, the backbone that these share, and the judge of their images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from reram_fleet.v1.engine_pb2 import GenerateResponse

from edge_node.errors import TaskError
from edge_node.generation.dit import CLASSES
from edge_node.generation.image_generator import task_backbone
from edge_node.tasks import GenerationTask, load_task
from fleet.errors import InvalidInputError
from fleet.lab.demo.people import DemoPerson, person_samples
from fleet.lab.verification.image_scores import Judge


@dataclass(frozen=True)
class DemoClasses:
    """The classes of a task by their role.

    Attributes
    ----------
    public
        Names of classes that the backbone is trained on.
    private
        Classes that it never sees, with the images that nodes learn them from.
    """

    task: GenerationTask
    public: tuple[str, ...]
    private: tuple[DemoPerson, ...]

    def prepare_backbone(self, progress: Callable[[int, int], None]) -> None:
        """Train the frozen transformer once for all nodes, unless that was done before.

        `progress` is told the steps done and the steps in all, after every step.
        """
        task_backbone(self.task, progress)

    @cached_property
    def _judge(self) -> Judge:
        real = self.task.images(range(CLASSES), test=False)
        return Judge.train(real.levels, real.labels, self.task.seed)

    def hits(self, answer: GenerateResponse, name: str) -> tuple[int, int]:
        """Return how many images show a class, as a classifier sees it that knows them all; and how many."""
        if not answer.levels:
            return 0, 0
        levels = torch.from_numpy(pictures(answer))
        shown = self._judge.classes(levels) == self.task.label(name)
        return int(shown.sum()), len(levels)


def generates(task_name: str) -> bool:
    """Return whether nodes of a task generate, rather than recognise.

    Raises
    ------
    InvalidInputError
        If there is no such task.
    """
    try:
        return isinstance(load_task(task_name), GenerationTask)
    except TaskError as error:
        raise InvalidInputError(str(error)) from error


def load_demo_classes(task_name: str) -> DemoClasses:
    """Return the classes of a task.

    Raises
    ------
    InvalidInputError
        If there is no such task, or its nodes do not generate.
    """
    task = load_task(task_name) if generates(task_name) else None
    if not isinstance(task, GenerationTask):
        raise InvalidInputError(f"task {task_name} recognises: it has no classes to generate")
    people = task.load_people()
    private = tuple(
        DemoPerson(name, person_samples(people[name].train), person_samples(people[name].test))
        for name in task.split.enrolled
    )
    return DemoClasses(task, task.split.public, private)


def pictures(answer: GenerateResponse) -> np.ndarray:
    """Return the images of an answer, grey levels 0 to 16, uint8 [count, rows, columns]."""
    flat = np.frombuffer(answer.levels, np.uint8)
    return flat.reshape(-1, answer.rows or 1, answer.columns or 1).copy()
