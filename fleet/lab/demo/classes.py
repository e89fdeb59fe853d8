"""The classes of the demo that draws, the backbone that its nodes share, and the judge of what they draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from reram_fleet.v1.engine_pb2 import GenerateResponse

from edge_node.errors import TaskError
from edge_node.generation.diffusion import GREY_LEVELS
from edge_node.generation.dit import CLASSES
from edge_node.generation.image_generator import task_backbone
from edge_node.tasks import GenerationTask, load_task
from fleet.errors import InvalidInputError
from fleet.lab.demo.people import DemoPerson, person_samples
from fleet.lab.verification.image_scores import Judge
from fleet.lab.verification.intervals import clopper_pearson

if TYPE_CHECKING:
    from pathlib import Path


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

        Parameters
        ----------
        progress
            DemoResult the steps done and the steps in all, after every step.
        """
        task_backbone(self.task, progress)

    @cached_property
    def _judge(self) -> Judge:
        real = self.task.images(range(CLASSES), test=False)
        return Judge.train(real.levels, real.labels, self.task.seed)

    def hits(self, drawn: GenerateResponse, name: str) -> tuple[int, int]:
        """Return how many images show a class, as a classifier sees it that knows them all; and how many."""
        levels = torch.from_numpy(pictures(drawn))
        shown = self._judge.classes(levels) == self.task.label(name)
        return int(shown.sum()), len(levels)


def draws(task_name: str) -> bool:
    """Return whether nodes of a task draw, rather than recognise.

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
        If there is no such task, or it is not one that draws.
    """
    task = load_task(task_name) if draws(task_name) else None
    if not isinstance(task, GenerationTask):
        raise InvalidInputError(f"task {task_name} recognises: it has no classes to draw")
    people = task.load_people()
    private = tuple(
        DemoPerson(name, person_samples(people[name].train), person_samples(people[name].test))
        for name in task.split.enrolled
    )
    return DemoClasses(task, task.split.public, private)


def pictures(drawn: GenerateResponse) -> np.ndarray:
    """Return the images of an answer, grey levels 0 to 16, uint8 [count, rows, columns]."""
    flat = np.frombuffer(drawn.levels, np.uint8)
    return flat.reshape(-1, drawn.rows or 1, drawn.columns or 1).copy()


def rate_interval(hits: int, images: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a rate after so many hits."""
    interval = clopper_pearson(hits, images)
    return interval.low, interval.high


def same_rate_p(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Return how likely two samples (hits, images) of one rate differ so much: Fisher's exact test."""
    from scipy.stats import fisher_exact

    table = [[hits, images - hits] for hits, images in (one, other)]
    return float(fisher_exact(table).pvalue)


def save_samples(title: str, rows: Sequence[tuple[str, np.ndarray]], path: Path) -> None:
    """Draw rows of pictures, each with its label, into a file."""
    from fleet.report.sample_grid import GridPanel, PictureRow, sample_grid
    from fleet.report.style import save_figure

    panel = GridPanel("", [PictureRow(label, levels) for label, levels in rows])
    save_figure(sample_grid(title, [panel], white=GREY_LEVELS), path)
