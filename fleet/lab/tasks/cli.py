"""`fleet task new|check|list`: tasks of one's own, and those that are installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from reram_fleet.processes.command_line import EXTRA_MODULES, folder, require
from rich.console import RenderableType

from fleet.cli.exits import UsageError
from fleet.cli.output import Format, OutputFormat, facts, hint, joules, records, show, spinner, write_files
from fleet.documents import document
from fleet.errors import InvalidInputError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Tasks: write one of your own, check it, list what is installed."
)

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@app.command("new")
def new(
    target: Annotated[
        Path, typer.Argument(metavar="DIR", parser=folder, help="Gets the package; new, or an empty folder.")
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="PACKAGE:FACTORY", help="Makes the torch model; its nn.Linear and nn.Conv2d go on crossbars."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            parser=folder,
            metavar="FOLDER",
            help="A folder for each person, of .npy, image or .wav files, one a sample, all of one shape.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Of the task.", show_default="that of DIR")] = None,
    public: Annotated[
        str | None,
        typer.Option(
            metavar="N|NAME,...",
            help="How many people are public, or who. Chips are calibrated on them.",
            show_default="a quarter, 3 at least",
        ),
    ] = None,
    strangers: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many are never enrolled.", show_default="a quarter, and 10 samples of them at least"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws roles, and which half of the samples tests.")] = 1,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Write a package that makes a task of a torch model and a folder of samples.

    People are public, enrolled, or strangers; the seed draws who, and the same seed always draws the same. At least 3
    are public, 2 enrolled, 1 a stranger, with 4 samples each. The model is run on every sample, and on simulated chips,
    before anything is written.
    """
    require(sorted(EXTRA_MODULES - {"matplotlib"}))
    called = _checked_name(name or target.absolute().name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already, and not empty: give a new folder")
    with spinner() as progress:
        from edge_node.errors import EdgeNodeError
        from fleet.lab.tasks.draft import Roles, draft_task
        from fleet.lab.tasks.examination import examine
        from fleet.lab.tasks.package import data_variable, package_files

        wishes = Roles(_public(public), strangers, seed)
        try:
            task = draft_task(called, model, data.absolute(), wishes, data_variable(called), progress)
        except EdgeNodeError as error:
            raise InvalidInputError(str(error)) from error
        found = examine(task, task.codes, progress=progress)
        write_files(target, package_files(task, found))
    body = found.document()
    show(form, body, lambda: _tables(body))
    hint(f"pip install {target.absolute()}, then fleet demo --task {called}")


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="A task that is installed and recognises people.")],
    seed: Annotated[int, typer.Option(help="Of the chips.")] = 1,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Run a task on three simulated chips: what a fleet relies on, and how well people are told apart.

    Exit code 2 with the reason if a fleet could not run it.
    """
    require(sorted(EXTRA_MODULES - {"matplotlib"}))
    with spinner() as progress:
        from reram_fleet.tasks import TaskPluginError, code_range

        from edge_node.errors import TaskError
        from edge_node.tasks import RecognitionTask, load_task
        from fleet.lab.tasks.examination import examine

        try:
            task, codes = load_task(name), code_range(name)
        except (TaskError, TaskPluginError) as error:
            raise InvalidInputError(str(error)) from error
        if not isinstance(task, RecognitionTask):
            raise UsageError(f"task {name} recognises nobody: its nodes generate")
        body = examine(task, codes, seed, progress).document()
    show(form, body, lambda: _tables(body))


@app.command("list")
def list_tasks(form: Format = OutputFormat.TABLE) -> None:
    """List the tasks that are installed, and which distribution gives each."""
    from reram_fleet.tasks import TaskPluginError, code_range, distributions_of, task_names

    items = []
    for name in task_names():
        item: dict[str, Any] = {"name": name, "distributions": list(distributions_of(name))}
        try:
            codes = code_range(name)
            item |= {"features": codes.features, "code_max": codes.code_max, "error": ""}
        except TaskPluginError as error:
            item |= {"features": None, "code_max": None, "error": str(error)}
        items.append(item)
    columns: dict[str, str | Callable[[Any], object]] = {
        "task": "name",
        "from": lambda item: ", ".join(item["distributions"]),
        "features>": "features",
        "largest code>": "code_max",
    }
    if any(item["error"] for item in items):
        columns["cannot be used"] = "error"
    show(form, document("TaskList", items=items), lambda: [records("Tasks", columns, items)])


def _checked_name(name: str) -> str:
    from reram_fleet.tasks import distributions_of

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a task: small letters, digits and single hyphens", hint="--name gives another."
        )
    if givers := distributions_of(name):
        raise UsageError(f"task {name!r} is given by {', '.join(givers)} already", hint="--name gives another.")
    return name


def _public(text: str | None) -> int | tuple[str, ...] | None:
    if text is None:
        return None
    return int(text) if text.isdecimal() else tuple(part.strip() for part in text.split(","))


def _tables(body: Mapping[str, Any]) -> Iterable[RenderableType]:
    """Return what was seen of a task."""
    layers = ", ".join(f"{name} ({inputs} to {outputs})" for name, (inputs, outputs) in body["layers"].items())
    yield facts(
        f"Task {body['task']} on three simulated chips",
        {
            "people": f"{body['public']} public, {body['enrolled']} enrolled, {body['strangers']} strangers",
            "crossbars": layers,
            "features": body["features"],
            "largest code": f"{body['largest_code']} of {body['code_max']}",
            "test samples named right": f"{body['accuracy']:.1%} ({body['accuracy_subject_only']:.1%} without head)",
            "test samples accepted": f"{body['accepted']:.1%}",
            "strangers' samples accepted": f"{body['strangers_accepted']:.1%}",
            "energy to program a chip": joules(body["program_j"]),
            "energy of a sample": joules(body["sample_j"]),
        },
    )
