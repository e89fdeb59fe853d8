"""People of the demo: real recordings of an embedded task, as the wire carries them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reram_fleet.v1.engine_pb2 import Sample

from edge_node.errors import TaskError
from edge_node.tasks import load_task
from fleet.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class DemoPerson:
    """One person: what a node may learn from, and what it is tested on."""

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]


@dataclass(frozen=True)
class DemoPeople:
    """Who gets enrolled, and who never is."""

    enrolled: tuple[DemoPerson, ...]
    strangers: tuple[DemoPerson, ...]


def load_demo_people(task_name: str = "speakers") -> DemoPeople:
    """Return the people of a task by their role in its split.

    Raises
    ------
    InvalidInputError
        If there is no such task, or its data are not here.
    """
    try:
        task = load_task(task_name)
        people = task.load_people()
    except TaskError as error:
        raise InvalidInputError(str(error)) from error
    if not task.split.strangers:
        raise InvalidInputError(
            f"the split of task {task_name} has no strangers, whom the demo compares the forgotten with: "
            "take speakers or faces"
        )

    def of(names: Iterable[str]) -> tuple[DemoPerson, ...]:
        return tuple(
            DemoPerson(name, person_samples(people[name].train), person_samples(people[name].test)) for name in names
        )

    return DemoPeople(enrolled=of(task.split.enrolled), strangers=of(task.split.strangers))


def person_samples(arrays: Iterable[np.ndarray]) -> tuple[Sample, ...]:
    """Return recordings, float32 [frames, channels] each, as the wire carries them."""
    return tuple(
        Sample(frames=array.shape[0], channels=array.shape[1], values=array.astype("<f4").tobytes()) for array in arrays
    )
