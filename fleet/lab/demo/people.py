"""People of the demo: real samples of a task, as the wire carries them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from reram_fleet.v1.engine_pb2 import Sample

from edge_node import tasks
from edge_node.errors import TaskError
from edge_node.tasks import GenerationTask, RecognitionTask
from edge_node.tasks.samples import encode_sample
from fleet.errors import InvalidInputError


@dataclass(frozen=True)
class DemoPerson:
    """One person, or class: what a node may learn from, and what it is tested on."""

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]


@dataclass(frozen=True)
class DemoPeople:
    """People who get enrolled, and people who never are."""

    enrolled: tuple[DemoPerson, ...]
    strangers: tuple[DemoPerson, ...]


def load_task(name: str) -> RecognitionTask | GenerationTask:
    """Return an installed task; `InvalidInputError` if there is none of that name."""
    try:
        return tasks.load_task(name)
    except TaskError as error:
        raise InvalidInputError(str(error)) from error


def load_demo_people(task_name: str = "speakers") -> DemoPeople:
    """Return the people of a task by their role in its split; `InvalidInputError` if its data are not here."""
    task = load_task(task_name)
    try:
        people = task.load_people()
    except TaskError as error:
        raise InvalidInputError(str(error)) from error

    def of(names: Iterable[str]) -> tuple[DemoPerson, ...]:
        return tuple(DemoPerson(name, _samples(people[name].train), _samples(people[name].test)) for name in names)

    return DemoPeople(enrolled=of(task.split.enrolled), strangers=of(task.split.strangers))


def _samples(arrays: Iterable[np.ndarray]) -> tuple[Sample, ...]:
    """Return recordings, float32 [frames, channels] each, as the wire carries them."""
    return tuple(encode_sample(array) for array in arrays)
