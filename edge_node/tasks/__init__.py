"""Tasks: which people, which samples, and what a node may read by itself.

A task is data, never code that touches a network. Only the *public* people's samples are ever read by a
node by itself, to calibrate its chip; samples of everybody else come in through EngineService.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_node.backbones import Backbone
from edge_node.errors import TaskError
from hwmodel import EnergyLedger, Preset


@dataclass(frozen=True)
class Person:
    """One real person of a task.

    Attributes
    ----------
    name : str
        Public name inside the data set, for example "s01". Never travels to a coordinator.
    train, test : tuple of ndarray
        float32 [frames, channels] each.
    """

    name: str
    train: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Split:
    """Roles of a task's people: disjoint names."""

    public: tuple[str, ...]
    enrolled: tuple[str, ...]
    strangers: tuple[str, ...]


#: Names of the tasks; each is a constant of its name in capitals, in the module here of its first word.
TASKS = ("faces", "speakers", "fsdd", "images", "images-brief")


class Task(Protocol):
    """Who is in a task, and in which role."""

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


class RecognitionTask(Task, Protocol):
    """A task whose backbone turns samples into feature codes: what an `Engine` runs."""

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> Backbone:
        """Program the task's backbone into every node's crossbars; charged to `Phase.PROGRAM`."""


def load_task(name: str) -> Task:
    """Return the task called `name`.

    Raises
    ------
    TaskError
        If there is no such task.
    """
    if name not in TASKS:
        raise TaskError(f"there is no task {name!r}; known: {', '.join(TASKS)}")
    # Imported by name: a node loads the code and the data of its own task only.
    module = importlib.import_module(f"edge_node.tasks.{name.partition('-')[0]}")
    task: Task = getattr(module, name.upper().replace("-", "_"))
    return task
