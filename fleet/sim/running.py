"""Session of a command that simulates: progress on stderr, and metrics on a port, for one run after another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from reram_fleet.processes.monitoring import metrics_page, serve_monitoring

from fleet.cli.output import note
from fleet.errors import InvalidInputError, reason_of
from fleet.sim.execution import Execution, engine_of, resume_run, run_scenario
from fleet.sim.metrics import RunCollector, RunLabels, registry_of
from fleet.sim.progress import RunProgress, run_progress
from fleet.sim.run_folder import RunFolder
from fleet.sim.scenario import Scenario
from fleet.sim.sweep import SweepFolder

if TYPE_CHECKING:
    from fleet.sim.simulation import Simulation

_HOST = "127.0.0.1"


class Session:
    """Runs with progress and metrics; a context manager.

    Raises `InvalidInputError` as `engine_of` does, and when it begins, if the port cannot be served.
    """

    def __init__(
        self, chunk: int, checkpoint_every_s: float, metrics_port: int | None, engine: str, actors: int | None
    ) -> None:
        self._collector = RunCollector()
        self._progress: RunProgress
        self._metrics_port, self._exits = metrics_port, ExitStack()
        self._engine = engine_of(engine, actors)
        self._settings = chunk, checkpoint_every_s

    def __enter__(self) -> Self:
        if self._metrics_port is not None:
            try:
                server, port = serve_monitoring(
                    _HOST, self._metrics_port, {"/metrics": metrics_page(registry_of(self._collector))}
                )
            except OSError as error:
                raise InvalidInputError(
                    f"cannot serve metrics at {_HOST}:{self._metrics_port}: {reason_of(error)}"
                ) from error
            self._exits.callback(server.server_close)
            self._exits.callback(server.shutdown)
            note(f"Metrics at http://{_HOST}:{port}/metrics while it runs.")
        chunk, checkpoint_every_s = self._settings
        self._progress = self._exits.enter_context(run_progress())
        self._execution = Execution(
            chunk=chunk,
            checkpoint_every_s=checkpoint_every_s,
            actors=self._exits.enter_context(self._engine),
            say=lambda text: self._progress.say(text),
            watch=self._watch,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def run(self, scenario: Scenario, seeds: Sequence[int], root: Path, *, force: bool) -> list[RunFolder]:
        """Simulate a scenario from each seed; raises as `run_scenario`."""
        runs = []
        for seed in seeds:
            self._progress.begin(f"{scenario.name}, seed {seed}", scenario.time.duration)
            runs.append(run_scenario(scenario, seed, root, self._execution, force=force))
        return runs

    def resume(self, folder: RunFolder) -> None:
        """Go on with a run; raises as `resume_run`."""
        record = folder.record()
        self._progress.begin(f"{record['name']}, seed {record['seed']}", record["duration_s"])
        resume_run(folder, self._execution)

    def sweep(self, folder: SweepFolder) -> None:
        """Simulate what is not finished yet of a sweep."""
        points, seeds = folder.points(), folder.record()["seeds"]
        for number, (point, seed) in enumerate((point, seed) for point in points for seed in seeds):
            name = f"{number + 1} of {len(points) * len(seeds)}: {point.label}, seed {seed}"
            self._progress.begin(name, point.scenario.time.duration)
            run_scenario(point.scenario, seed, folder.path, self._execution, go_on=True)

    def _watch(self, folder: RunFolder, simulation: Simulation) -> None:
        record = folder.record_as_written()
        self._collector.show(RunLabels(record["name"], int(record["seed"])), simulation)
        self._progress.at(simulation.now_s)
