"""`fleet verify`: what became of forgotten people, as one report with a verdict for each kind of adapter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from fleet.cli.exits import ExitCode, UsageError
from fleet.cli.output import Format, OutputFormat, hint, joules, json_text, note, show, spinner, table, write_files

app = typer.Typer(add_completion=False)


@app.command("verify")
def verify(
    report: Annotated[
        Path | None, typer.Argument(metavar="[REPORT.json]", dir_okay=False, help="A stored report to judge anew.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="NAME", help="Forget people, or a class, of a simulated fleet of a task."),
    ] = None,
    people: Annotated[int, typer.Option(min=1, help="How many are forgotten, one at a time.")] = 3,
    seed: Annotated[int, typer.Option(help="Of chips, who is forgotten, and the split, where the task draws one.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", file_okay=False, help="Write JSON and HTML with plots there."),
    ] = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Verify that people are forgotten. Exit code 1 if a kind of adapter has not forgotten.

    Give a stored report, whose evidence is judged anew, or a task whose people a simulated fleet forgets.
    """
    if (report is None) == (task is None):
        raise UsageError("give either a report or --task", hint="For instance: fleet verify --task speakers")
    with spinner() as progress:
        if report is not None:
            from fleet.lab.verification.report import read_report

            outcome = read_report(report)
        else:
            from fleet.lab.verification.verify import verify_task

            outcome = verify_task(str(task), seed=seed, people=people, progress=progress)
        body = outcome.document()
        if output is not None:
            progress("Plots")
            write_report(output, body)
    show(form, body, lambda: verification_tables(body))
    if not outcome.holds:
        for verdict in body["verdicts"]:
            if verdict["escalation"] != "nothing to do":
                failed = [line["name"] for line in verdict["lines"] if line["passed"] is False]
                note(f"{verdict['kind']}: {verdict['verdict']}. Failed: {'; '.join(failed)}.")
                hint(f"{verdict['kind']}: {verdict['escalation']}.")
        raise typer.Exit(ExitCode.FAILED)


def write_report(folder: Path, body: Mapping[str, Any]) -> None:
    """Write ``verification.json`` and ``verification.html``, and say so."""
    from fleet.report.verification_html import verification_html

    write_files(folder, {"verification.json": json_text(body), "verification.html": verification_html(body)})


def verification_tables(body: Mapping[str, Any]) -> Iterable[RenderableType]:
    """Return a table for each kind of adapter, and the joules."""
    for verdict in body["verdicts"]:
        method = f" ({verdict['method']})" if verdict["method"] else ""
        yield table(
            f"{verdict['kind']}{method}: {verdict['verdict']}",
            ["", "line", "value>", "95 % interval>", "reference>", "limit"],
            (_cells(line) for line in verdict["lines"]),
        )
    figures = [(name, f"{value:.4g}") for name, value in body["scores"].items()]
    figures += [(f"energy, {name}", joules(value)) for name, value in body["energy_j"].items()]
    yield table("Figures", ["", "value>"], [*figures, ("cell writes", str(body["cell_writes"]))])


def _cells(line: Mapping[str, Any]) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    interval = line["interval"]
    return (
        {True: "holds", False: "FAILS", None: ""}[line["passed"]],
        line["name"],
        number(line["value"]),
        f"{interval['low']:.3f} to {interval['high']:.3f}" if interval else "",
        number(line["reference"]),
        line["limit"],
    )
