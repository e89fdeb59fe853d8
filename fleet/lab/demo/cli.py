"""`fleet demo`: a real fleet learns people and forgets one, and every claim is checked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from reram_fleet.processes.command_line import EXTRA_MODULES, FiniteRange, require
from rich.text import Text

from fleet.cli.exits import ExitCode
from fleet.cli.output import Format, OutputFormat, json_text, note, note_console, show
from fleet.config import check_preset, check_task
from fleet.domain.learning import LoraKind

if TYPE_CHECKING:
    from fleet.lab.demo.run import ProgressReporter


app = typer.Typer(add_completion=False)


@app.command("demo")
def demo(
    task: Annotated[
        str, typer.Option(help="What the nodes do: recognise speakers, faces or fsdd; generate images.")
    ] = "speakers",
    preset: Annotated[str, typer.Option(help="Chip technology, see `fleet chip presets`.")] = "180nm-1t1r",
    nodes: Annotated[int, typer.Option(min=2, max=32, help="Node daemons.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Federated rounds of the LoRA.")] = 3,
    lora: Annotated[
        LoraKind, typer.Option(help="Who shares the LoRA: with cohort it is forgotten exactly, by replay.")
    ] = LoraKind.COHORT,
    output: Annotated[Path | None, typer.Option(help="Write the report (JSON) here as well.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave databases and logs behind.")] = False,
    timeout: Annotated[
        float, typer.Option(click_type=FiniteRange(min=1), help="Seconds for everything together.")
    ] = 600.0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Start a fleet, enrol people, kill a node, forget a person, verify everything, welcome a newcomer, clean up.

    Exit code 0 only if every claim was verified.
    """
    require(sorted(EXTRA_MODULES - {"matplotlib"}))
    check_task(task)
    check_preset(preset)
    from fleet.lab.demo.run import DemoSettings, run
    from fleet.local.supervisor import terminated_like_interrupted

    settings = DemoSettings(nodes, rounds, lora, timeout, keep, task, preset)
    with terminated_like_interrupted(), _progress_reporter() as reporter:
        result = run(settings, reporter)
    if output is not None:
        output.write_text(json_text(result.document), encoding="utf-8")
        note(f"The report is in {output}.")
        pictures = output.with_suffix(".png")
        if result.task.save_pictures(pictures):
            note(f"Pictures of the forgotten class are in {pictures}.")
    show(form, result.document, result.tables)
    failed = [claim for claim in result.claims if not claim.holds]
    if failed:
        console = note_console()
        console.print(f"{len(failed)} of {len(result.claims)} claims do not hold:", style="bold red")
        for claim in failed:
            console.print(f"  {claim.name}: {claim.detail}", highlight=False)
        raise typer.Exit(ExitCode.FAILED)
    note(f"All {len(result.claims)} claims hold.")


@contextlib.contextmanager
def _progress_reporter() -> Iterator[ProgressReporter]:
    from fleet.lab.demo.run import ProgressReporter

    console = note_console()
    started = time.monotonic()

    with contextlib.ExitStack() as stack:
        # A spinner shows life during the minutes; into a pipe go plain lines.
        status = stack.enter_context(console.status("")) if console.is_terminal else None

        def title(text: str) -> None:
            console.print(f"[{time.monotonic() - started:5.1f} s] {text}", style="bold")
            if status is not None:
                status.update(Text(text))

        def detail(text: str) -> None:
            console.print(f"          {text}", highlight=False)

        yield ProgressReporter(title, detail)
        title("Done; everything that was started is gone")
