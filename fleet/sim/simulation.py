"""Simulation: one run of a scenario from one seed, from checkpoint to checkpoint."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fleet.coordinator.serve import COLLECT_EVERY
from fleet.sim import checkpoint
from fleet.sim.course import Course
from fleet.sim.defaults import CHUNK
from fleet.sim.fleet import SimulatedFleet
from fleet.sim.recorder import Row
from fleet.sim.scenario import Scenario

if TYPE_CHECKING:
    from fleet.sim.chip_actors import ChipActors

#: A scenario has at least so many checkpoints, and one a day.
CHECKPOINTS = 20
_DAY_S = 86_400.0


class Simulation:
    """One run of a scenario, from one seed.

    Parameters
    ----------
    folder
        For what a coordinator keeps in files; empty afterwards but for a note that there was a fleet.
    chunk
        Nodes that are computed as one batch: nothing but memory and speed depends on it.
    progress
        Called with what is being done.
    actors
        Compute what is for many chips at once, if given; that too changes nothing but speed.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        folder: Path,
        chunk: int = CHUNK,
        progress: Callable[[str], None] = lambda text: None,
        actors: ChipActors | None = None,
    ) -> None:
        self.scenario, self.seed = scenario, seed
        self._fleet = SimulatedFleet(scenario, seed, folder, chunk, progress, actors)
        self._course = Course(self._fleet, scenario, seed)

    @property
    def tables(self) -> Mapping[str, list[Row]]:
        """Rows so far, by name of the table."""
        return self._fleet.recorder.tables

    @property
    def now_s(self) -> float:
        """Virtual seconds since the scenario began."""
        return self._fleet.scheduler.now_s - self._fleet.recorder.begun_s

    @property
    def done(self) -> bool:
        """Whether the scenario is over."""
        return self.now_s >= self.scenario.time.duration

    def advance(self) -> None:
        """Go on to the next checkpoint: the end of a day, or of a twentieth of the duration, if that is shorter."""
        recorder, duration_s = self._fleet.recorder, self.scenario.time.duration
        every_s = min(_DAY_S, duration_s / CHECKPOINTS)
        until_s = min(duration_s, every_s * (1 + math.floor(self.now_s / every_s + 1e-9)))
        with recorder.phase("simulated time"), collecting_rarely():
            self._fleet.scheduler.run_until(recorder.begun_s + until_s)
            recorder.forgets()
            if self.done:
                recorder.nodes()

    def digest(self) -> str:
        """Return the SHA-256 over the integers and verdicts that a repeated run has too."""
        return self._fleet.recorder.digest()

    def saved(self) -> bytes:
        """Return all that there is, for `restored`."""
        return checkpoint.saved(self)

    @classmethod
    def restored(cls, content: bytes, actors: ChipActors | None = None) -> Self:
        """Return the simulation that was saved, to go on from there, with these actors, if any.

        The content runs as code: it must be this program's own.
        """
        found = checkpoint.restored(content)
        assert isinstance(found, cls)
        if actors is not None:
            found._fleet.use(actors)
        return found

    def close(self) -> None:
        """Let go of everything."""
        self._fleet.plane.close_store()


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Look for cycles as rarely as a coordinator that is served: each look goes through all that a fleet has."""
    usual = gc.get_threshold()
    gc.set_threshold(*COLLECT_EVERY)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
