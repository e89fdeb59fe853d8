"""Reports of runs and sweeps: what their folders hold, as the plain data that a page is drawn of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reram_fleet.processes.durable import write_atomically

from fleet.errors import InvalidInputError, NotFoundError, reason_of
from fleet.sim.figures import described
from fleet.sim.run_folder import RunFolder, RunState
from fleet.sim.sweep import SweepFolder
from fleet.sim.tables import read_tables


def write_report(folders: Sequence[Path], path: Path) -> Path:
    """Write one HTML file of runs and sweeps, and return where.

    `NotFoundError` if a folder is neither or has nothing to show; `InvalidInputError` if the file cannot be written.
    """
    from fleet.report.simulation_html import simulation_html

    sweeps = [sweep_document(SweepFolder(each)) for each in folders if SweepFolder.is_one(each)]
    runs = [run_document(each) for each in folders if not SweepFolder.is_one(each)]
    try:
        write_atomically(path, simulation_html(runs, sweeps).encode(), 0o644)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {reason_of(error)}") from error
    return path


def run_document(folder: Path) -> Mapping[str, Any]:
    """Return a run as plain data; `NotFoundError` if it has no table yet."""
    run = RunFolder(folder)
    record, tables = run.record(), {name: table.to_pydict() for name, table in read_tables(folder).items()}
    if not tables:
        raise NotFoundError(f"{folder} has no tables yet", hint="they are written with the first checkpoint")
    texts = run.scenario().model_dump(include={"title", "question", "reading"})
    return {**record, **texts, "figures": described(record["figures"]), "tables": tables}


def sweep_document(sweep: SweepFolder) -> Mapping[str, Any]:
    """Return a sweep as plain data: for each combination of values the figures of its finished runs."""
    points = []
    for values, runs in sweep.runs():
        finished = [record for record in (run.record() for run in runs) if record["state"] == RunState.FINISHED]
        if finished:
            points.append({"values": values, "runs": [described(record["figures"]) for record in finished]})
    if not points:
        raise NotFoundError(f"{sweep.path} has no run that is finished", hint="`fleet sim resume` goes on")
    return {**sweep.record(), "points": points}
