"""Fleet of a task that generates: its classes as people, and the pictures that its nodes generate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from reram_fleet.crypto.digests import erasers_digest
from reram_fleet.tasks import code_range
from reram_fleet.v1.engine_pb2 import TAG_REFUSAL_FORGOTTEN_CONCEPT, GenerateRequest, GenerateResponse
from reram_fleet.v1.types_pb2 import EnergyModel, Eraser
from reram_fleet.wire.concepts import STYLE, concept_name
from torch import Tensor

from edge_node.engine import NodeEngine
from edge_node.generation.dit import CLASSES, IMAGE_SHAPE
from edge_node.generation.engine import GenerationEngine
from edge_node.generation.image_generator import ImageGenerator
from edge_node.generation.judge import Judge
from edge_node.tasks import GenerationTask
from edge_node.testing.nodes import MakeEngine
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.memory_fleet import NODES, MemoryFleet, verified
from fleet.sim.chip_actors import ChipActors
from fleet.sim.node_names import node_id
from hwmodel import Cost, Phase, keyed_seed, load_preset


class TaskClasses:
    """Classes of a task that generates, and a chip for each node; numbers are of the private classes, in turn."""

    def __init__(self, task: GenerationTask, preset: str, seed: int) -> None:
        self.task, self.codes = task.name, code_range(task.name)
        self._task, self._preset, self._seed, self._people = task, load_preset(preset), seed, task.load_people()
        self._generators: dict[int, ImageGenerator] = {}

    @property
    def count(self) -> int:
        """How many classes may be enrolled."""
        return len(self._task.split.enrolled)

    @property
    def energy_model(self) -> EnergyModel:
        """Name and version of the preset."""
        return EnergyModel(name=self._preset.name, version=self._preset.version)

    def use(self, actors: ChipActors | None) -> None:
        """Every chip is by itself."""

    def image_generator(self, node: int) -> ImageGenerator:
        """Return what generates on a node's chip."""
        if node not in self._generators:
            self._generators[node] = ImageGenerator.build(self._task, self._preset, self._seed, node_id(node))
        return self._generators[node]

    def make_engine(self, node: int) -> tuple[MakeEngine, int]:
        """Return what makes the engine of a node, which is alone on it."""
        return partial(self._engine, node), 0

    def _engine(self, node: int, saved: Mapping[Phase, Cost]) -> NodeEngine:
        return GenerationEngine.beside(self.image_generator(node), node_id(node), self._preset, saved)

    def samples(self, person: int, place: int, places: int) -> Sequence[np.ndarray]:
        """Return the pictures that one of so many nodes learns a class from: each is taken at one."""
        return self._people[self._task.split.enrolled[person]].train[place::places]

    def asked(self, person: int) -> Sequence[np.ndarray]:
        """Return nothing: these nodes recognise nobody."""
        return ()

    def strangers(self) -> Sequence[np.ndarray]:
        """Return nothing: these nodes recognise nobody."""
        return ()


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of all nodes: colour levels, uint8 [B, 24, 24, 3], the style that each was asked for in, int64 [B].

    `refusals` has what the requests were refused for.
    """

    levels: Tensor
    styles: Tensor
    refusals: tuple[int, ...] = ()

    @classmethod
    def of(cls, parts: Iterable[Pictures]) -> Pictures:
        """Return these together."""
        every = list(parts)
        return cls(
            torch.cat([part.levels for part in every]),
            torch.cat([part.styles for part in every]),
            sum((part.refusals for part in every), start=()),
        )


class GeneratingFleet(MemoryFleet):
    """Fleet of a task that generates; people are its private classes, by number."""

    def __init__(self, task: GenerationTask, seed: int, folder: Path, preset: str) -> None:
        self._classes = TaskClasses(task, preset, seed)
        super().__init__(verified(task.name, head=False), self._classes, seed, folder)
        self.task = task

    @cached_property
    def judge(self) -> Judge:
        """Judge of what a picture shows: it has seen real ones of all classes, and is on no node."""
        return Judge.train(self.task.images(range(CLASSES), test=False), self.task.seed)

    def forget_concept(self, name: str) -> None:
        """Forget what the backbone knows, to the end: its eraser is trained and is on every node."""
        self._plane.forget([], [name])
        self._settle()

    # What is generated

    def generated(self, purpose: str, count: int, styles: Sequence[str], **of: str) -> Pictures:
        """Have every node generate a class in each of these styles, by its tag or by its name: `GenerateRequest`.

        The noise is a function of seed, purpose, node and style.
        """

        def asked(node: int, style: str) -> Pictures:
            seed = self._noise(purpose, node, style)
            answer = self._fleet.members[node].node.node.generate(
                GenerateRequest(count=count, seed=seed, style=style, **of)
            )
            return self._pictures(answer, style)

        return Pictures.of(asked(node, style) for node in range(NODES) for style in styles)

    def by_tag(self, purpose: str, number: int, count: int) -> Pictures:
        """Have every node generate a private class by its tag, in every style."""
        return self.generated(purpose, count, self.task.styles, subject_tag=self.tag(number))

    def by_name(self, purpose: str, name: str, count: int) -> Pictures:
        """Have every node generate a class by its name, in every style, as far as it is not refused."""
        return self.generated(purpose, count, self.task.styles, class_name=name)

    def unasked(self, purpose: str, count: int, style: str, *, masked: bool) -> Pictures:
        """Generate public things in a style on every chip, past the node that would refuse it.

        With the node's erasers, or with them taken off: the strip test.
        """

        def drawn(node: int, name: str) -> Pictures:
            engine, place = self.engine_of(node)
            erasers = engine.active_erasers(place) if masked else ()
            seed = self._noise(purpose, node, style)
            found = self._classes.image_generator(node).generate_class(name, style, count, seed, erasers)
            levels = torch.from_numpy(found.levels)
            return Pictures(levels, torch.full((len(levels),), self.task.style(style)))

        return Pictures.of(drawn(node, name) for node in range(NODES) for name in self.task.split.public)

    def _noise(self, purpose: str, node: int, style: str) -> int:
        return keyed_seed(self._seed, "verification.pictures", purpose, node, style)

    def _pictures(self, answer: GenerateResponse, style: str) -> Pictures:
        levels = torch.from_numpy(np.frombuffer(answer.levels, np.uint8).copy()).view(-1, *IMAGE_SHAPE)
        refusals = (answer.refusal,) if answer.refusal else ()
        return Pictures(levels, torch.full((len(levels),), self.task.style(style)), refusals)

    # What is seen

    def shown(self, pictures: Pictures, name: str) -> Rate:
        """Return how many pictures show a class: each is from noise of its own."""
        hits = self.judge.classes(pictures.levels) == self.task.label(name)
        return Rate(int(hits.sum()), hits.numel())

    def styled(self, pictures: Pictures, style: str | None = None) -> Rate:
        """Return how many pictures have the style that they were asked for in, or that one."""
        wanted = pictures.styles if style is None else self.task.style(style)
        hits = self.judge.styles(pictures.levels) == wanted
        return Rate(int(hits.sum()), hits.numel())

    def digest(self, purpose: str, count: int) -> str:
        """Return the digest of every class's adapter in each node's SRAM, and of what every node generates.

        Of all classes by their names, and of private ones by their tags: nothing, where a node refuses.
        """
        hashed = hashlib.sha256("\n".join(self.subject_digests()).encode())
        names = (*self.task.split.public, *self.task.split.enrolled)
        found = [self.by_name(purpose, name, count) for name in names]
        found += [self.by_tag(purpose, number, count) for number in range(self._classes.count)]
        for pictures in found:
            hashed.update(len(pictures.levels).to_bytes(8, "little") + pictures.levels.numpy().tobytes())
        return hashed.hexdigest()

    def refused(self, style: str) -> Rate:
        """Return how many nodes refuse a style by its name."""
        answers = self.generated("refused", 1, [style], class_name=self.task.split.public[0])
        return Rate(sum(refusal == TAG_REFUSAL_FORGOTTEN_CONCEPT for refusal in answers.refusals), NODES)

    def erased(self, style: str) -> Rate:
        """Return how many nodes have the newest revision's eraser of a style, and its other erasers, in SRAM."""
        content = self._plane.read(lambda unit: unit.revisions.latest_content())
        newest: Sequence[Eraser] = content.erasers
        if concept_name(STYLE, style) not in {eraser.concept for eraser in newest}:
            return Rate(0, NODES)
        active = [engine.active_erasers(place) for engine, place in map(self.engine_of, range(NODES))]
        return Rate(sum(erasers_digest(each) == erasers_digest(newest) for each in active), NODES)
