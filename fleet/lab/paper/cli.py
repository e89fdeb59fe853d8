"""`fleet paper run`: the protocol of arXiv 2601.10037 on our chips, with the strip test that it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from fleet.cli.exits import UsageError
from fleet.cli.output import Format, OutputFormat, counted, json_text, show, spinner, table, write_files

app = typer.Typer(add_completion=False, no_args_is_help=True)

#: As `fleet.lab.paper.measures.PaperTask`, which is loaded when a task runs.
_TASKS = ("faces", "speakers", "images")


@app.callback()
def paper() -> None:
    """The paper's protocol, as published and honest."""


@app.command()
def run(
    task: Annotated[str, typer.Option("--task", metavar="faces|speakers|images", help="Which task.")],
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="How many seeds.", show_default="all of the task's")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="DIR",
            file_okay=False,
            help="Write page, plot and JSON there; seeds that are finished there are not run again.",
        ),
    ] = None,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Run the paper's protocol, as published and honest, and strip the adapter afterwards.

    Minutes per seed. The faces are read from the folder that RERAM_FLEET_FACES names, or from scikit-learn's;
    the speakers are those of FSDD (RERAM_FLEET_FSDD) or, without it, of JapaneseVowels; digits come with
    scikit-learn.
    """
    if task not in _TASKS:
        raise UsageError(f"the paper has no task {task!r}", hint=f"Known: {', '.join(_TASKS)}.")
    with spinner() as progress:
        from fleet.lab.paper.document import paper_document
        from fleet.lab.paper.measures import PaperTask

        body = paper_document(PaperTask(task), seeds, progress, output)
        if output is not None:
            progress("Plot")
            write_page(output, body)
    show(form, body, lambda: paper_tables(body))


def write_page(folder: Path, body: Mapping[str, Any]) -> None:
    """Write ``paper-<task>.md``, its plot and the document into a folder, and say so."""
    from fleet.report.paper import paper_figure, paper_page
    from fleet.report.style import save_figures

    name = f"paper-{body['task']}"
    (picture,) = save_figures({name: paper_figure(body)}, folder)
    texts = {f"{name}.md": paper_page(body, picture.name), f"{name}.json": json_text(body)}
    write_files(folder, texts, beside=[picture])


def paper_tables(body: Mapping[str, Any]) -> Iterable[RenderableType]:
    """Return a table for each kind of hardware, and what follows."""
    from fleet.report.paper import ARMS, arm_cell, paper_cell

    for section in body["sections"]:
        yield table(
            f"{body['task']}, {section['title']}; {counted(len(body['seeds']), 'seed')}, mean (lowest to highest)",
            ["", "paper>", *(f"{name}>" for name in ARMS.values())],
            ((row["name"], paper_cell(row), *(arm_cell(row, arm) for arm in ARMS)) for row in section["rows"]),
        )
    for finding in body["findings"]:
        yield Text(f"- {finding}.")
