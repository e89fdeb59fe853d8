"""People of a task of the product, and the chips of a whole fleet as one engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from reram_fleet.tasks import code_range
from reram_fleet.v1.types_pb2 import EnergyModel

from edge_node.engine import NodeEngine
from edge_node.recognition.engine import Engine
from edge_node.tasks import RecognitionTask, load_task
from edge_node.testing.nodes import MakeEngine
from fleet.sim.chip_actors import ChipActors, FleetEngine
from fleet.sim.node_names import node_id
from fleet.sim.people import ASKED
from fleet.sim.scenario import Chip, Fleet, ScenarioError
from hwmodel import Cost, DeviceError, DeviceModels, Phase, Preset, PresetError, load_preset

_STRANGERS = 8


class TaskPeople:
    """People who are enrolled in a task's demo, and one engine whose node axis is the fleet.

    A node that joins later has a chip of its own. Numbers beyond those who are enrolled are of strangers.
    `ScenarioError` if the task has too few people, or the cells of the preset cannot age so.

    Parameters
    ----------
    now_s
        Returns the time (virtual s), by which chips age.
    """

    def __init__(
        self,
        task: RecognitionTask,
        fleet: Fleet,
        chip: Chip,
        seed: int,
        progress: Callable[[str], None],
        chunk: int,
        now_s: Callable[[], float],
        actors: ChipActors | None,
    ) -> None:
        self.task, self.codes, self._task, self._samples = fleet.task, code_range(fleet.task), task, fleet.samples
        self._preset, self._seed, self._now_s = _of_chip(load_preset(fleet.preset), chip), seed, now_s
        #: When (virtual s) the chips of nodes that joined were programmed.
        self._joined_s: dict[str, float] = {}
        self.names, self._people = (*sorted(task.split.enrolled), *task.split.strangers), task.load_people()
        if fleet.people > self.count:
            raise ScenarioError(f"fleet.people is {fleet.people}, but task {fleet.task} has {self.count} to enrol")
        names = [node_id(node) for node in range(fleet.nodes)]
        chips = task, self._preset, seed, names

        def made(done: int, nodes: int) -> None:
            progress(f"programming chips: {done} of {nodes}")

        if actors is None:
            self._engine = FleetEngine.build(*chips, chunk=chunk, progress=made, age_s=now_s)
        else:
            progress("starting Ray")
            reads = actors.first_reads(*chips, chunk)
            self._engine = FleetEngine.calibrated(reads, *chips, chunk=chunk, progress=made, age_s=now_s)
            self.use(actors)
        self._nodes = fleet.nodes

    def use(self, actors: ChipActors | None) -> None:
        """Have actors compute what is for many chips at once, from now on, or nobody else."""
        self._engine.use(actors)

    @property
    def count(self) -> int:
        """How many people may be enrolled."""
        return len(self._task.split.enrolled)

    @property
    def energy_model(self) -> EnergyModel:
        """Name and version of the preset."""
        return EnergyModel(name=self._preset.name, version=self._preset.version)

    def make_engine(self, node: int) -> tuple[MakeEngine, int]:
        """Return what makes the engine of a node, and its place on the node axis."""
        if node < self._nodes:
            return partial(self._started, node), node
        return partial(self._alone, node_id(node)), 0

    def image_generator(self, node: int) -> None:
        """None: the task recognises."""

    def _started(self, node: int, saved: Mapping[Phase, Cost]) -> NodeEngine:
        """Return the fleet's engine, on which a node starts."""
        if saved:
            self._engine.restart(node, saved)
        return self._engine

    def _alone(self, node_id: str, saved: Mapping[Phase, Cost]) -> NodeEngine:
        since_s = self._joined_s.setdefault(node_id, self._now_s())
        age_s = partial(_age_s, self._now_s, since_s)
        return Engine.build(self._task, self._preset, self._seed, [node_id], saved_costs=[saved], age_s=age_s)

    def samples(self, person: int, place: int, places: int) -> Sequence[np.ndarray]:
        """Return the samples that are captured of a person at one of so many nodes: each is taken at one."""
        taken = self._people[self.names[person]].train
        return taken[place % len(taken) :: min(places, len(taken))][: self._samples]

    def asked(self, person: int) -> Sequence[np.ndarray]:
        """Return other samples of a person."""
        return self._people[self.names[person]].test[:ASKED]

    def strangers(self) -> Sequence[np.ndarray]:
        """Return a sample each of people who never enrol."""
        return [self._people[name].test[0] for name in self._task.split.strangers[:_STRANGERS]]


def recognising(name: str) -> RecognitionTask:
    """Return the task of a name; `ScenarioError` if it recognises nobody."""
    task = load_task(name)
    if not isinstance(task, RecognitionTask):
        raise ScenarioError(f"task {name} recognises nobody: its nodes generate")
    return task


def _of_chip(preset: Preset, chip: Chip) -> Preset:
    """Return a technology whose cells are as a scenario says; `ScenarioError` if they cannot be."""
    try:
        found = preset.with_values(chip.cell_values)
        if chip.relaxation is not None:
            found = found.model_copy(update={"models": found.models.model_copy(update={"relaxation": chip.relaxation})})
        DeviceModels.of(found)
    except DeviceError as error:
        raise ScenarioError(f"chip.relaxation cannot be {chip.relaxation!r}: {error}") from error
    except PresetError as error:
        raise ScenarioError(f"[chip] cannot be so: {error}") from error
    return found


def _age_s(now_s: Callable[[], float], since_s: float) -> float:
    return now_s() - since_s
