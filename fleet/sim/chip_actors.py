"""Actors that do the arithmetic of a fleet's chips, so that it takes several cores.

What is computed for many nodes at once goes to them: programming and reading chips, and rounds of learning. All that is
kept stays here: adapters, costs, and what chips have read. An actor is a function of what it is sent, so the integers
are the same however many there are, and nothing of them is in a checkpoint.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch

from edge_node.recognition.adapter_pool import AdapterPool
from edge_node.recognition.bank import AdapterBank
from edge_node.recognition.engine import Engine
from edge_node.recognition.first_reads import FirstReads
from edge_node.recognition.score_calibration import ScoreCalibration
from edge_node.recognition.training.rounds import RoundRequest, RoundResult, run_rounds
from edge_node.tasks import RecognitionTask
from fleet.sim.grid.ray_actors import PARTS_AT_ACTOR, Passed, RayActors, pass_as
from hwmodel import Preset


class ChipActors:
    """Actors of Ray, which start when there is something to compute. Used in a `with` statement.

    Parameters
    ----------
    count
        How many; each takes one core.
    """

    def __init__(self, count: int) -> None:
        self._actors = RayActors(_ChipActor, count=count, passed=_PASSED)
        self._started = ExitStack()
        self._turns: Iterator[int] | None = None
        # With a number for each, by which an actor knows the one that it has.
        self._references: WeakKeyDictionary[ScoreCalibration, tuple[Any, int]] = WeakKeyDictionary()
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._turns = None
        self._references.clear()
        self._started.close()

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        # A checkpoint's reader has actors of its own, or none.
        return type(None), ()

    @property
    def width(self) -> int:
        """Parts that may be under way at once."""
        return PARTS_AT_ACTOR * len(self._actors)

    def chunk(self, nodes: int, most: int) -> int:
        """Return how many of so many nodes are a part, at most so many, so that every actor has some."""
        return max(1, min(most, -(-nodes // len(self._actors))))

    def first_reads(
        self, task: RecognitionTask, preset: Preset, fleet_seed: int, node_ids: Sequence[str], chunk: int
    ) -> Iterator[FirstReads]:
        """Yield the first reads of all nodes' chips, some after the other; arguments are those of `Engine.build`."""
        self._start()
        under_way: deque[Any] = deque()
        task_and_preset = self._actors.put((task, preset))
        size = self.chunk(len(node_ids), chunk)
        for start in range(0, len(node_ids), size):
            if len(under_way) == self.width:
                yield self._actors.got(under_way.popleft())
            some = node_ids[start : start + size]
            under_way.append(self._next().first_reads.remote(task_and_preset, fleet_seed, some))
        while under_way:
            yield self._actors.got(under_way.popleft())

    def shared(self, calibration: ScoreCalibration) -> ScoreCalibration:
        """Return a calibration of the same numbers that actors see too: its tensors are not to be written to."""
        self._start()
        reference = self._actors.put(calibration)
        found: ScoreCalibration = self._actors.got(reference)
        self._references[found] = reference, next(self._numbers)
        return found

    def run_rounds(
        self, calibration: ScoreCalibration, banks: Sequence[AdapterBank], requests: Sequence[RoundRequest]
    ) -> list[RoundResult]:
        """Do what `run_rounds` does on one of the actors; from any thread."""
        known = self._references.get(calibration)
        if known is None:
            known = self._references[calibration] = self._actors.put(calibration), next(self._numbers)
        named = {request.node: banks[request.node] for request in requests}
        promised = self._next().run_rounds.remote(*known, named, list(requests))
        found: list[RoundResult] = self._actors.got(promised)
        return found

    def _start(self) -> None:
        if self._turns is None:
            self._started.enter_context(self._actors)
            self._turns = itertools.count()

    def _next(self) -> Any:
        assert self._turns is not None
        return self._actors[next(self._turns) % len(self._actors)]


class FleetEngine(Engine):
    """Engine of a simulated fleet, of which actors compute what is for many nodes at once, if there are any."""

    _actors: ChipActors | None = None
    #: Whether the calibration's tensors are such as cannot be written to.
    _shares = False

    def use(self, actors: ChipActors | None) -> None:
        """Have rounds computed by actors from now on, or here."""
        if actors is not None:
            self._calibration, self._shares = actors.shared(self._calibration), True
        self._actors = actors

    def _calibrate(self, node: int) -> None:
        if self._shares:
            self._calibration, self._shares = copy.deepcopy(self._calibration), False
        super()._calibrate(node)

    def _computed(self, requests: Sequence[RoundRequest]) -> list[RoundResult]:
        if self._actors is None:
            return super()._computed(requests)
        return self._actors.run_rounds(self._calibration, self._banks, requests)


class _ChipActor:
    """An actor's half."""

    def __init__(self) -> None:
        pass_as(_PASSED)
        self._number = -1
        self._calibration: ScoreCalibration | None = None

    def first_reads(
        self, task_and_preset: tuple[RecognitionTask, Preset], fleet_seed: int, node_ids: Sequence[str]
    ) -> FirstReads:
        """Program the chips of some nodes, and read the public samples."""
        return FirstReads.of(*task_and_preset, fleet_seed, node_ids, _new)

    def run_rounds(
        self,
        calibration: ScoreCalibration,
        number: int,
        banks: Mapping[int, AdapterBank],
        requests: Sequence[RoundRequest],
    ) -> list[RoundResult]:
        """Run one round of learning; `number` tells a calibration from others."""
        if self._calibration is None or number != self._number:
            self._number, self._calibration = number, calibration
        # The one of before, with what was derived from it.
        return run_rounds(self._calibration, banks, requests)


def _new() -> float:
    """Return the age (s) of chips that are programmed now."""
    return 0.0


def _tensor(array: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        # That it cannot be written to: it is in shared memory.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def _nothing(pool: AdapterPool) -> None:
    return None


def _no_pool(content: object) -> AdapterPool:
    return AdapterPool()


#: As Ray passes arrays, tensors are passed: large ones by reference to shared memory. Banks are passed without what
#: others hold alike.
_PASSED: Passed = {torch.Tensor: (torch.Tensor.numpy, _tensor), AdapterPool: (_nothing, _no_pool)}
