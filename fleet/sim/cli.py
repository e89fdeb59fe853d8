"""`fleet sim run|sweep|list|show|compare|report|resume|faults`: simulated fleets, from scenarios that are files."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.cli.exits import UsageError
from fleet.cli.output import Format, OutputFormat, counted, note, show
from fleet.documents import document
from fleet.sim.defaults import CHECKPOINT_EVERY_S, CHUNK, ENGINE, RUNS
from fleet.sim.faults.cli import faults

app = typer.Typer(
    add_completion=False,
    help="Simulated fleets: scenarios, sweeps, comparisons, reports, faults.",
    no_args_is_help=True,
)
app.command()(faults)

#: More seeds than anybody waits for: a slip in the numbers.
_MOST_SEEDS = 1000


ScenarioArgument = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="Name of the gallery (`fleet sim list`), or a .toml file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. time.lease=2h; may be repeated."),
]
NodesOption = Annotated[int | None, typer.Option("--nodes", min=1, help="Nodes at the start.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of all draws.", show_default="1")]
SeedsOption = Annotated[str | None, typer.Option("--seeds", metavar="1-5", help="Several seeds, one run for each.")]
OutputOption = Annotated[Path, typer.Option("--output", metavar="DIR", file_okay=False, help="Folder of runs.")]
ChunkOption = Annotated[int, typer.Option("--chunk", min=1, help="Nodes in a batch; changes no result.")]
EngineOption = Annotated[
    str,
    typer.Option("--engine", metavar="inline|ray", help="What computes the chips: this process, or actors of Ray too."),
]
ActorsOption = Annotated[
    int | None, typer.Option("--actors", min=1, help="Actors of --engine ray.", show_default="the number of cores")
]
EveryOption = Annotated[
    float, typer.Option("--checkpoint-every", metavar="SECONDS", min=0, help="Seconds between checkpoints.")
]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", min=0, max=65535, help="Serve /metrics of the run on 127.0.0.1; 0 takes a free port."
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run or a sweep.")]


@app.command()
def run(
    scenario: ScenarioArgument,
    set_: SetOption = None,
    nodes: NodesOption = None,
    seed: SeedOption = None,
    seeds: SeedsOption = None,
    engine: EngineOption = ENGINE,
    actors: ActorsOption = None,
    chunk: ChunkOption = CHUNK,
    output: OutputOption = RUNS,
    checkpoint_every: EveryOption = CHECKPOINT_EVERY_S,
    metrics_port: PortOption = None,
    force: Annotated[bool, typer.Option("--force", help="Simulate again what is there already.")] = False,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Simulate a scenario, into a folder of its own.

    Examples: `fleet sim run first-forget`, `fleet sim run forget-storm --nodes 100 --seeds 1-5`,
    `fleet sim run mine.toml --set time.lease=2h --set 'forgets.at=["1h", "2h"]'`.
    """
    from fleet.sim import gallery
    from fleet.sim.running import Session
    from fleet.sim.view import run_tables

    chosen = gallery.load(scenario, changes_of(set_, nodes))
    if chosen.sweep:
        note(f"It also has values for a sweep, which this leaves out: `fleet sim sweep {scenario}`.")
        chosen = chosen.changed({"sweep": {}})
    with Session(chunk, checkpoint_every, metrics_port, engine, actors) as session:
        runs = session.run(chosen, seeds_of(seed, seeds), output, force=force)
    records = [{**each.record(), "folder": str(each.path)} for each in runs]
    body = records[0] if len(records) == 1 else document("SimulationRunList", runs=records)
    show(form, body, lambda: (each for record in records for each in run_tables(record)), then=_after(runs))


@app.command()
def sweep(
    scenario: ScenarioArgument,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=[...]",
            help='Values to go through, e.g. \'time.lease=["1h", "1d"]\'; may be repeated: every combination.',
            show_default="the scenario's own",
        ),
    ] = None,
    set_: SetOption = None,
    nodes: NodesOption = None,
    seed: SeedOption = None,
    seeds: SeedsOption = None,
    engine: EngineOption = ENGINE,
    actors: ActorsOption = None,
    chunk: ChunkOption = CHUNK,
    output: OutputOption = RUNS,
    checkpoint_every: EveryOption = CHECKPOINT_EVERY_S,
    metrics_port: PortOption = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Simulate a scenario at every combination of some values, from each seed.

    What is finished already is not simulated again. Examples: `fleet sim sweep lease-trade-off --seeds 1-5`,
    `fleet sim sweep first-forget --vary fleet.nodes=[10,100] --vary 'time.lease=["10min", "1h"]'`.
    """
    from fleet.sim import gallery
    from fleet.sim.running import Session
    from fleet.sim.sweep import SweepFolder, points_of

    base = gallery.load(scenario, changes_of(set_, nodes))
    if vary:
        base = base.changed({"sweep": changes_of(vary)})
    points = points_of(base)
    folder = SweepFolder.of(output, points)
    folder.begin(base, points, seeds_of(seed, seeds))
    with Session(chunk, checkpoint_every, metrics_port, engine, actors) as session:
        session.sweep(folder)
    _show_sweep(folder.path, form)


@app.command("list")
def list_runs(
    output: OutputOption = RUNS,
    form: Format = OutputFormat.TABLE,
) -> None:
    """List the scenarios of the gallery, and the runs of a folder."""
    from fleet.sim import gallery
    from fleet.sim.run_folder import RunFolder
    from fleet.sim.view import listing

    scenarios = [gallery.load(name) for name in gallery.names()]
    folders = [*RunFolder.found(output), *(each for path in sorted(output.glob("*")) for each in RunFolder.found(path))]
    body = document(
        "SimulationList",
        folder=str(output),
        scenarios=[each.model_dump(include={"name", "title", "question", "reading"}) for each in scenarios],
        runs=[{**each.record(), "folder": str(each.path.relative_to(output))} for each in folders],
    )
    show(form, body, lambda: listing(body), then=None if folders else "fleet sim run first-forget")


@app.command("show")
def show_one(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[SCENARIO|RUN]", help="Name of the gallery, a .toml file, or the folder of a run."),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of scenarios.")] = False,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Print a scenario as TOML, to start one's own; the figures of a run or a sweep; or the schema.

    Examples: `fleet sim show first-forget > mine.toml`, `fleet sim show runs/first-forget-s1-1a2b3c4d`,
    `fleet sim show --schema`.
    """
    from fleet.sim import gallery
    from fleet.sim.run_folder import RunFolder, scenario_toml
    from fleet.sim.schema import schema_text
    from fleet.sim.sweep import SweepFolder
    from fleet.sim.view import run_tables

    if schema == (what is not None):
        raise UsageError("give either a scenario, a run or --schema", hint="For instance: fleet sim show first-forget")
    if what is None:
        sys.stdout.write(schema_text())
    elif SweepFolder.is_one(Path(what)):
        _show_sweep(Path(what), form)
    elif Path(what).is_dir():
        record = RunFolder(Path(what)).record()
        show(form, record, lambda: run_tables(record))
    elif form is OutputFormat.JSON:
        sys.stdout.write(json.dumps(gallery.load(what).model_dump(mode="json"), indent=2) + "\n")
    else:
        sys.stdout.write(scenario_toml(gallery.load(what)) if what.endswith(".toml") else gallery.text(what))


@app.command("compare")
def compare_runs(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a run, or of a sweep with one combination.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The same, to compare with.")],
    form: Format = OutputFormat.TABLE,
) -> None:
    """Compare two configurations: whether they differ by more than the spread of their seeds.

    A run stands for all finished runs beside it that differ by their seeds only. Each figure is held against that
    spread by Welch's t test, with p values corrected (Holm) because many figures are looked at. Simulate at least three
    seeds of each: `fleet sim run ... --seeds 1-5`.
    """
    from fleet.sim.compare import compare
    from fleet.sim.view import comparison_tables

    body = compare(a, b)
    alone = any(len(side["seeds"]) == 1 for side in body["sides"])
    then = "simulate more seeds: `fleet sim run ... --seeds 1-5`; without, there is no spread to compare with"
    show(form, body, lambda: comparison_tables(body), then=then if alone else None)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs and sweeps.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", dir_okay=False, help="HTML file to write.")
    ] = Path("report.html"),
) -> None:
    """Draw runs and sweeps as one HTML file, with everything in it.

    Example: `fleet sim report runs/first-forget-s1-1a2b3c4d -o first-forget.html`.
    """
    from fleet.sim.reports import write_report

    note(f"Written to {write_report(runs, output)}: {counted(len(runs), 'part')}.")


@app.command()
def resume(
    run: RunArgument,
    engine: EngineOption = ENGINE,
    actors: ActorsOption = None,
    chunk: ChunkOption = CHUNK,
    checkpoint_every: EveryOption = CHECKPOINT_EVERY_S,
    metrics_port: PortOption = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Go on with a run or a sweep that was interrupted; the result is that of one that was not.

    A checkpoint is a program's memory: resume none that you do not trust.
    """
    from fleet.sim.run_folder import RunFolder
    from fleet.sim.running import Session
    from fleet.sim.sweep import SweepFolder
    from fleet.sim.view import run_tables

    with Session(chunk, checkpoint_every, metrics_port, engine, actors) as session:
        if SweepFolder.is_one(run):
            session.sweep(SweepFolder(run))
        else:
            session.resume(RunFolder(run))
    if SweepFolder.is_one(run):
        _show_sweep(run, form)
    else:
        record = RunFolder(run).record()
        show(form, record, lambda: run_tables(record), then=_after([RunFolder(run)]))


def changes_of(pairs: Sequence[str] | None, nodes: int | None = None) -> dict[str, Any]:
    """Return values by dotted key; `UsageError` for what is no KEY=VALUE. A value that is no TOML is text."""
    changes: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", key):
            raise UsageError(f"{pair!r} is no KEY=VALUE", hint="For instance: --set time.lease=2h")
        try:
            changes[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            changes[key] = text
    return changes if nodes is None else {**changes, "fleet.nodes": nodes}


def seeds_of(seed: int | None, seeds: str | None) -> list[int]:
    """Return the seeds that are asked for; `UsageError` if they mean nothing, or both options are given."""
    if seeds is None:
        return [1 if seed is None else seed]
    if seed is not None:
        raise UsageError("give --seed or --seeds, not both")
    found: list[int] = []
    for part in seeds.split(","):
        ends = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
            raise UsageError(f"--seeds takes numbers and ranges, like 1-5 or 1,3,7-9; got {seeds!r}")
        found += range(int(ends[1]), int(ends[2] or ends[1]) + 1)[: _MOST_SEEDS + 1]
    if len(found) > _MOST_SEEDS:
        raise UsageError(f"--seeds takes at most {_MOST_SEEDS} seeds")
    return list(dict.fromkeys(found))


def _show_sweep(path: Path, form: OutputFormat) -> None:
    from fleet.sim.sweep import SweepFolder
    from fleet.sim.view import sweep_tables

    folder = SweepFolder(path)
    points = [
        {"values": dict(values), "runs": [{**run.record(), "folder": str(run.path)} for run in runs]}
        for values, runs in folder.runs()
    ]
    body = {**folder.record(), "points": points}
    show(form, body, lambda: sweep_tables(points), then=f"fleet sim report {path}")


def _after(runs: Sequence[Any]) -> str:
    return f"fleet sim report {' '.join(str(each.path) for each in runs[:3])}"
