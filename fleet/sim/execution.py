"""Execution of runs: a simulation moved on to its end, with checkpoints from which it goes on after its process ended.

Where and when a run is interrupted changes nothing of its result: its digest is that of a run that never was.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.errors import ConflictError, FleetError, InvalidInputError
from fleet.sim.defaults import CHECKPOINT_EVERY_S, CHUNK
from fleet.sim.figures import figures_of
from fleet.sim.logs import told_to
from fleet.sim.metrics import RunLabels, metrics_text
from fleet.sim.run_folder import RunFolder, RunState, versions
from fleet.sim.scenario import Scenario
from fleet.sim.tables import columns_of, write_tables

if TYPE_CHECKING:
    from fleet.sim.chip_actors import ChipActors
    from fleet.sim.simulation import Simulation


class SimulationFailedError(FleetError):
    """A simulation ended by an error of its own."""


@dataclass(frozen=True, slots=True)
class Execution:
    """Settings of an execution, none of which changes what comes out; and who watches it."""

    #: Nodes whose arithmetic is one batch.
    chunk: int = CHUNK
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    #: Compute what is for many chips at once, if not this process alone; see `engine_of`.
    actors: ChipActors | None = None
    #: Told what is being done.
    say: Callable[[str], None] = lambda text: None
    #: Shown the simulation after each step.
    watch: Callable[[RunFolder, Simulation], None] = lambda folder, simulation: None


def engine_of(name: str, actors: int | None) -> AbstractContextManager[ChipActors | None]:
    """Return what an engine of that name computes with, within a `with` statement.

    `inline` is this process alone. `ray` also has so many actors of Ray, or one per core of this process.

    Raises
    ------
    InvalidInputError
        If there is no such engine, or it does not run scenarios, or has no actors.
    """
    match name:
        case "inline" if actors is None:
            return nullcontext()
        case "inline":
            raise InvalidInputError("the engine inline has no actors", hint="--engine ray")
        case "ray" if actors is None or actors > 0:
            from fleet.sim.chip_actors import ChipActors

            return ChipActors(actors or len(os.sched_getaffinity(0)))
        case "ray":
            raise InvalidInputError(f"the engine ray has at least one actor, got {actors}")
        case "flower":
            raise InvalidInputError(
                "Flower's own simulation runs a Flower app, one node at a time, without forgets, leases or time: it "
                "cannot run a scenario",
                hint="--engine ray takes several cores; fleet.sim.grid.simulate runs Flower apps on any engine",
            )
        case _:
            raise InvalidInputError(f"there is no engine {name!r}", hint="--engine inline, or --engine ray")


def run_scenario(
    scenario: Scenario, seed: int, root: Path, execution: Execution, *, force: bool = False, go_on: bool = False
) -> RunFolder:
    """Simulate a scenario to its end, in a folder of its own below `root`.

    Parameters
    ----------
    force
        Remove a run that is there already.
    go_on
        Leave a run that is finished as it is, and go on with one that was interrupted.

    Raises
    ------
    ConflictError
        If the run is there already, or is being simulated.
    SimulationFailedError
        If the simulation fails by itself; the folder says why.
    """
    folder = RunFolder.of(root, scenario, seed)
    with folder.held(), told_to(logging.FileHandler(folder.log, delay=True)):
        if go_on and not force and folder.exists():
            if folder.record_as_written()["state"] != RunState.FINISHED:
                _execute(folder, execution, resumed=True)
        else:
            folder.begin(scenario, seed, force=force)
            _execute(folder, execution)
    return folder


def resume_run(folder: RunFolder, execution: Execution) -> None:
    """Go on with a run that was interrupted, from its newest checkpoint.

    Raises as `run_scenario`; `ConflictError` too if there is nothing to go on with.
    """
    folder.record()
    with folder.held(), told_to(logging.FileHandler(folder.log, delay=True)):
        if folder.record_as_written()["state"] == RunState.FINISHED:
            raise ConflictError(f"{folder.path} is finished", hint=f"`fleet sim show {folder.path}`")
        _execute(folder, execution, resumed=True)


def _execute(folder: RunFolder, execution: Execution, *, resumed: bool = False) -> None:
    record = folder.record_as_written()
    _check_versions(folder, record)
    labels = RunLabels(record["name"], int(record["seed"]))
    begun_s = written_s = time.monotonic()
    folder.note(state=str(RunState.RUNNING), error="", resumed=record["resumed"] + resumed)

    def note(simulation: Simulation, **more: Any) -> None:
        """Write what there is to see."""
        write_tables(folder.path, simulation.tables)
        folder.write_metrics(metrics_text(labels, simulation))
        wall_clock_s = record["wall_clock_s"] + time.monotonic() - begun_s
        folder.note(now_s=simulation.now_s, wall_clock_s=wall_clock_s, **more)

    try:
        try:
            simulation = _opened(folder, record, execution)
        except FleetError:
            # It cannot be simulated: nothing was, and nothing is left.
            if folder.checkpoint() is None:
                folder.remove()
            raise
        try:
            execution.watch(folder, simulation)
            while not simulation.done:
                simulation.advance()
                execution.watch(folder, simulation)
                if not simulation.done and time.monotonic() - written_s >= execution.checkpoint_every_s:
                    execution.say("Writing a checkpoint")
                    folder.write_checkpoint(simulation.saved())
                    note(simulation)
                    written_s = time.monotonic()
            execution.say("Writing the result")
            note(
                simulation,
                state=str(RunState.FINISHED),
                digest=simulation.digest(),
                finished_at_unix_ms=int(1000 * time.time()),
                figures=figures_of({name: columns_of(rows) for name, rows in simulation.tables.items()}),
            )
        finally:
            simulation.close()
        folder.tidy()
    except FleetError as error:
        if folder.exists():
            folder.note(state=str(RunState.FAILED), error=str(error))
        raise
    except Exception as error:
        folder.note(state=str(RunState.FAILED), error=f"{type(error).__name__}: {error}")
        raise SimulationFailedError(
            f"the simulation in {folder.path} failed: {type(error).__name__}: {error}",
            hint=f"`fleet sim resume {folder.path}` tries again from its newest checkpoint",
        ) from error


def _check_versions(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Refuse to read a checkpoint that other versions have written: it has their objects in it."""
    now = versions()
    if folder.checkpoint() is not None and record["versions"] != now:
        changed = sorted(name for name in now if record["versions"].get(name) != now[name])
        raise ConflictError(
            f"the checkpoint in {folder.path} was written by another version of {', '.join(changed)}",
            hint="go on with the versions that run.json names, or simulate it again with --force",
        )


def _opened(folder: RunFolder, record: Mapping[str, Any], execution: Execution) -> Simulation:
    from fleet.sim.simulation import Simulation

    content = folder.checkpoint()
    if content is not None:
        execution.say("Reading the checkpoint")
        return Simulation.restored(content, execution.actors)
    return Simulation(
        folder.scenario(),
        int(record["seed"]),
        folder=folder.coordinator,
        chunk=execution.chunk,
        progress=execution.say,
        actors=execution.actors,
    )
