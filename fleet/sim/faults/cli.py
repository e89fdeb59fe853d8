"""`fleet sim faults`: random histories of faults, and what broke."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.exits import ExitCode, UsageError
from fleet.cli.output import Format, OutputFormat, facts, note, show, spinner
from fleet.documents import document

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fleet.sim.faults.running import Outcome
    from fleet.sim.faults.search import Summary, Total

#: Lines into a pipe after so many histories.
_LINE_EVERY = 50


def faults(
    runs: Annotated[int, typer.Option("--runs", min=1, help="Histories, of consecutive seeds.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first one.")] = 1,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="FILE", dir_okay=False, help="Run the history of a file.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", file_okay=False, help="Where histories are written that break.")
    ] = Path("faults"),
    processes: Annotated[int, typer.Option("--processes", min=1, help="Histories that run at once.")] = 1,
    shrink: Annotated[bool, typer.Option("--shrink/--no-shrink", help="Look for the fewest actions.")] = True,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Run random histories of faults over a simulated fleet, and check that its promises hold.

    Each history is drawn from a seed: people are enrolled, learnt, forgotten, while processes, disks, clocks, links and
    nodes fail. What breaks a promise is shrunk, written to a file and printed; exit code 1. Examples:
    `fleet sim faults --runs 1000 --seed 1`, `fleet sim faults --replay faults/seed-17.json`.
    """
    if replay is not None:
        from fleet.sim.faults.history import History
        from fleet.sim.faults.running import run

        outcome = run(History.load(replay))
        _show_sequence(outcome, form)
        raise typer.Exit(ExitCode.FAILED if outcome.violations else ExitCode.OK)
    if runs > 1_000_000:
        raise UsageError(f"{runs} histories are more than anybody waits for")
    total = _searched(range(seed, seed + runs), processes)
    files = [str(_kept(failed, output, shrink, form)) for failed in sorted(total.failed, key=lambda each: each.seed)]
    body = document(
        "FaultSearch",
        runs=total.runs,
        seed=seed,
        failed=[{"seed": each.seed, "violations": list(each.violations)} for each in total.failed],
        files=files,
        events=total.events,
        fewest_events=total.fewest_events,
        histories_per_s=total.runs / total.wall_s,
        simulated_per_real_s=total.simulated_s / total.wall_s,
        met=[{"fault": fault, "state": state, "times": times} for (fault, state), times in sorted(total.met.items())],
    )
    show(form, body, lambda: _tables(body, total), then=f"fleet sim faults --replay {files[0]}" if files else None)
    if files:
        raise typer.Exit(ExitCode.FAILED)


def _searched(seeds: range, processes: int) -> Total:
    from fleet.cli.output import note_console
    from fleet.sim.faults.search import Total, search

    total, piped = Total(), not note_console().is_terminal
    with spinner() as say:
        for summary, total in search(seeds, min(processes, len(seeds))):
            left_s = (len(seeds) - total.runs) * total.wall_s / total.runs
            line = f"{total.runs} of {len(seeds)} histories, {len(total.failed)} broken, about {left_s:.0f} s left"
            say(line)
            if piped and total.runs % _LINE_EVERY == 0:
                note(line)
            if summary.violations:
                note(f"seed {summary.seed}: {summary.violations[0]}")
    return total


def _kept(failed: Summary, output: Path, shrink: bool, form: OutputFormat) -> Path:
    """Write the history of a seed that broke something, as small as it gets, and print it; returns its file."""
    from fleet.sim.faults.drawing import drawn
    from fleet.sim.faults.running import run
    from fleet.sim.faults.shrinking import shrunk

    outcome = run(drawn(failed.seed))
    if shrink:
        with spinner() as say:
            outcome = shrunk(outcome, say)
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"seed-{failed.seed}.json"
    path.write_text(outcome.history.text(), encoding="utf-8")
    note(f"seed {failed.seed}: {len(outcome.history.actions)} actions in {path}; fleet sim faults --replay {path}")
    if form is OutputFormat.TABLE:
        _show_sequence(outcome, form)
    return path


def _show_sequence(outcome: Outcome, form: OutputFormat) -> None:
    from rich.text import Text

    from fleet.sim.faults.view import sequence

    lines = list(sequence(outcome.record.events, outcome.violations))
    body = document(
        "FaultReplay",
        seed=outcome.history.seed,
        events=outcome.events,
        simulated_s=outcome.simulated_s,
        violations=[
            {
                "rule": each.rule,
                "step": each.event.step,
                "at_s": each.event.at_s,
                "node": each.event.node,
                "what": each.what,
            }
            for each in outcome.violations
        ],
        sequence=lines,
    )
    verdict = f"{len(outcome.violations)} violations" if outcome.violations else "every promise holds"
    show(form, body, lambda: [*(Text(line) for line in lines), Text(verdict)])


def _tables(body: dict[str, Any], total: Total) -> Iterable[RenderableType]:
    from fleet.sim.faults.view import coverage

    yield coverage(total.met)
    yield facts(
        "Histories",
        {
            "histories": body["runs"],
            "broken": len(body["failed"]),
            "events": f"{body['events']}, at least {body['fewest_events']} in each",
            "histories per second": f"{body['histories_per_s']:.2f}",
            "simulated over real time": f"{body['simulated_per_real_s']:.0f}",
        },
    )
