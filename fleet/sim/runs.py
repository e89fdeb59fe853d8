"""Runs as Python has them: a scenario simulated, its tables, its plots and its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fleet.sim.defaults import CHUNK, ENGINE, RUNS

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

    from fleet.sim.scenario import Scenario


class Run:
    """One run that is in a folder.

    Parameters
    ----------
    folder
        Folder of the run, as `fleet sim run` names it.

    Raises
    ------
    NotFoundError
        If there is no run.
    """

    def __init__(self, folder: Path | str) -> None:
        from fleet.sim.run_folder import RunFolder

        self._folder = RunFolder(Path(folder))
        self._record = self._folder.record()

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder.path

    @property
    def scenario(self) -> Scenario:
        """Scenario with every value resolved."""
        return self._folder.scenario()

    @property
    def seed(self) -> int:
        """Seed of all its draws."""
        return int(self._record["seed"])

    @property
    def digest(self) -> str:
        """SHA-256 over everything that is equal whenever the scenario is simulated from this seed; "" if unfinished."""
        return str(self._record["digest"] or "")

    @property
    def figures(self) -> Mapping[str, float]:
        """Figures that sum it up, by name."""
        return dict(self._record["figures"])

    @property
    def tables(self) -> dict[str, pa.Table]:
        """Tables by name: Arrow, so `.to_pandas()`, `.to_pydict()`, or a column's `.to_numpy()`."""
        from fleet.sim.tables import read_tables

        return read_tables(self.folder)

    def plot(self) -> Figure:
        """Draw it: the fleet, its answers, energy and forgets over time, as far as there are data."""
        from fleet.report.simulation_plots import run_figure
        from fleet.sim.reports import run_document

        return run_figure(run_document(self.folder))

    def report(self, path: Path | str = "report.html") -> Path:
        """Write its report, one HTML file, and return where."""
        from fleet.sim.reports import write_report

        return write_report([self.folder], Path(path))

    def __repr__(self) -> str:
        return f"<Run {self._record['name']!r}, seed {self.seed}, {self._record['state']}, in {str(self.folder)!r}>"


def run(
    scenario: str | Scenario,
    *,
    nodes: int | None = None,
    seed: int = 1,
    changes: Mapping[str, Any] | None = None,
    output: Path | str = RUNS,
    chunk: int = CHUNK,
    engine: Literal["inline", "ray"] = ENGINE,
    actors: int | None = None,
    force: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Run:
    """Simulate a scenario; one that is simulated already is read, one that was interrupted is gone on with.

    Parameters
    ----------
    scenario
        Name of the gallery, path of a ``.toml`` file, or a `Scenario`.
    nodes
        Nodes at the start, in place of the scenario's.
    changes
        Values by dotted key, for instance ``{"time.lease": "2h"}``.
    output
        Folder of runs.
    chunk
        Nodes whose arithmetic is one batch; changes nothing of the result.
    engine
        `ray` has actors of Ray do what is computed for many chips at once; that changes nothing either.
    actors
        How many; one per core if left out.
    force
        Simulate it again, whatever is there.
    progress
        Told what is being done.

    Raises
    ------
    ScenarioError
        If the scenario cannot be simulated.
    NotFoundError
        If there is no such scenario.

    Examples
    --------
    >>> from fleet import sim
    >>> first = sim.run("first-forget", nodes=20, seed=1)   # doctest: +SKIP
    >>> first.plot()                                        # doctest: +SKIP
    """
    from fleet.sim import gallery
    from fleet.sim.execution import Execution, engine_of, run_scenario
    from fleet.sim.scenario import Scenario

    changed = {**(changes or {}), **({} if nodes is None else {"fleet.nodes": nodes})}
    chosen = scenario.changed(changed) if isinstance(scenario, Scenario) else gallery.load(scenario, changed)
    with engine_of(engine, actors) as computing:
        execution = Execution(chunk=chunk, actors=computing, say=progress)
        return Run(run_scenario(chosen, seed, Path(output), execution, force=force, go_on=True).path)
