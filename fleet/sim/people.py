"""People of a simulated fleet: who they are to a chip, and where they show up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

import numpy as np
from reram_fleet.code_ranges import CodeRange
from reram_fleet.v1.types_pb2 import EnergyModel

from edge_node.testing import MemoryEngine
from edge_node.testing.nodes import ENERGY_MODEL, TASK, MakeEngine
from hwmodel import keyed_seed

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator
    from fleet.sim.chip_actors import ChipActors

#: Features of a made-up person, and how far their samples lie from them.
FEATURES = 32
_CODE, _NOISE = 300.0, 60.0
#: Samples that a person is asked with, to see whether they are known.
ASKED = 4


class Subjects(Protocol):
    """People of a task, and the chips that see them."""

    #: Range of the integers that the task's nodes send.
    codes: CodeRange
    #: Name of the task, as nodes and coordinator know it.
    task: str

    @property
    def count(self) -> int | None:
        """How many people there are; None: as many as one likes."""

    @property
    def energy_model(self) -> EnergyModel:
        """Name and version of what its joules are computed with."""

    def use(self, actors: ChipActors | None) -> None:
        """Have actors compute what is for many chips at once, from now on, or nobody else."""

    def make_engine(self, node: int) -> tuple[MakeEngine, int]:
        """Return what makes the engine of a node, by its number in the fleet, and its place on the node axis."""

    def image_generator(self, node: int) -> ImageGenerator | None:
        """Return what generates on a node's chip; None if the task recognises."""

    def samples(self, person: int, place: int, places: int) -> Sequence[np.ndarray]:
        """Return the samples that are captured of a person at one of so many nodes."""

    def asked(self, person: int) -> Sequence[np.ndarray]:
        """Return other samples of a person, to ask a node with."""

    def strangers(self) -> Sequence[np.ndarray]:
        """Return samples of people who never enrol."""


class MadeUpPeople:
    """People of integers that are drawn, for questions about the protocol; every chip reads them alike."""

    codes, task, energy_model = CodeRange(FEATURES, 2**16 - 1), TASK, ENERGY_MODEL

    def __init__(self, seed: int, samples: int) -> None:
        self._seed, self._samples = seed, samples

    @property
    def count(self) -> None:
        """None: as many as one likes."""

    def use(self, actors: ChipActors | None) -> None:
        """There are no chips."""

    def make_engine(self, node: int) -> tuple[MakeEngine, int]:
        """Return what makes an engine that knows people by their integers."""
        return _engine, 0

    def image_generator(self, node: int) -> None:
        """None: nobody generates."""

    def samples(self, person: int, place: int, places: int) -> Sequence[np.ndarray]:
        """Return the samples that are captured of a person at one of so many nodes."""
        return self._near(person, self._samples, "captured", place)

    def asked(self, person: int) -> Sequence[np.ndarray]:
        """Return other samples of a person."""
        return self._near(person, ASKED, "asked")

    def strangers(self) -> Sequence[np.ndarray]:
        """Return samples of four people who never enrol."""
        return [sample for person in range(-4, 0) for sample in self._near(person, 1, "stranger")]

    def _near(self, person: int, count: int, *what: str | int) -> list[np.ndarray]:
        centre = np.random.default_rng(keyed_seed(self._seed, "sim.person", person)).normal(0, _CODE, FEATURES)
        noise = np.random.default_rng(keyed_seed(self._seed, "sim.sample", person, *what))
        codes = np.rint(centre + noise.normal(0, _NOISE, (count, FEATURES)))
        # An engine's codes are the channel sums of a sample: here, of one frame.
        return list(codes[:, None].astype(np.float32))


def _engine(saved: object) -> MemoryEngine:
    return MemoryEngine(saved, features=FEATURES)  # type: ignore[arg-type]


@dataclass
class Person:
    """Somebody who is enrolled, or was."""

    number: int
    tag: str
    #: Numbers of the nodes that they show up at.
    places: tuple[int, ...]
    forgotten: bool = False


class Roll:
    """Roll of the people: who comes next, where to, and who is forgotten next; all drawn from one seed."""

    def __init__(self, seed: int, most: int | None) -> None:
        self._random, self._most = Random(keyed_seed(seed, "sim.roll")), most
        self.people: list[Person] = []

    @property
    def enrolled(self) -> list[Person]:
        """Those who are not forgotten."""
        return [person for person in self.people if not person.forgotten]

    def add(self, tag: str, nodes: Sequence[int], places: int, number: int | None = None) -> Person | None:
        """Add the next person, or that one, at so many of the nodes; None if the task has nobody more."""
        if number is None:
            number = len(self.people)
            if self._most is not None and number >= self._most:
                return None
        # By turns over the start of the list, so that every node has about as many.
        first = number * places
        chosen = tuple(nodes[(first + k) % len(nodes)] for k in range(min(places, len(nodes))))
        person = Person(number, tag, chosen)
        self.people.append(person)
        return person

    def next_forgotten(self) -> Person | None:
        """Return who is forgotten next; None if nobody is left."""
        left = self.enrolled
        if not left:
            return None
        person = left[self._random.randrange(len(left))]
        person.forgotten = True
        return person
