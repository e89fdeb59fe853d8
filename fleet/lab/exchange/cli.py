"""`fleet adapter train|check`: LoRA adapters as folders of Hugging Face PEFT, without a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.cli.exits import ExitCode, UsageError
from fleet.cli.output import Format, OutputFormat, facts, hint, note, show, spinner, table

app = typer.Typer(
    add_completion=False, help="LoRA adapters as folders of Hugging Face PEFT, in and out.", no_args_is_help=True
)

TaskOption = Annotated[str, typer.Option("--task", metavar="NAME", help="Task of the frozen network.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the frozen network.")]


@app.command()
def train(
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", file_okay=False, help="Gets a PEFT folder for each cohort.")
    ],
    task: TaskOption = "faces-64",
    seed: SeedOption = 1,
    shards: Annotated[int, typer.Option(min=1, help="Cohorts that people are dealt into.")] = 2,
    in_the_clear: Annotated[
        bool,
        typer.Option(
            "--personal-in-the-clear",
            help="Needed, since cohorts are about people: PEFT files are not encrypted, and no forget reaches them.",
        ),
    ] = False,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Train the cohorts of a task on a simulated fleet and write each shard's LoRA as a PEFT folder.

    For tasks whose LoRA is beside one crossbar layer: `faces-64`.
    """
    if not in_the_clear:
        raise UsageError(
            "cohorts are about people: PEFT files are not encrypted, and no forget reaches them",
            hint="--personal-in-the-clear writes them all the same.",
        )
    with spinner() as progress:
        from fleet.documents import document
        from fleet.lab.exchange.networks import Network, adapter_document
        from fleet.lab.exchange.peft_format import export_peft

        network = Network(task, seed)
        progress("Training")
        trained = network.train_cohorts(shards)
        for adapter in trained:
            export_peft(adapter, network.base(), output / adapter.spec.name, personal_in_the_clear=True)
        body = document("AdapterList", items=[adapter_document(adapter) for adapter in trained])
    columns = ["name", "kind", "rank>", "storage", "SRAM bytes>", "digest"]
    rows = [
        (a["name"], a["adapter_kind"], a["rank"], a["storage"], a["sram_bytes"], a["digest"][:16])
        for a in body["items"]
    ]
    show(form, body, lambda: [table("Adapters", columns, rows)])
    note(f"Written to {output}: {', '.join(a['name'] for a in body['items'])}.")
    hint(f"fleet adapter check {output / trained[0].spec.name} --task {task} --seed {seed}")


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A folder that PEFT saved.")
    ],
    task: TaskOption,
    seed: SeedOption = 1,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Check a PEFT folder from outside against a frozen network. Exit code 1, with the reason, if it is refused.

    Nothing is installed or kept: shape, rank, numbers, norms, headers, lies and the network are looked at.
    """
    with spinner() as progress:
        from edge_node.errors import AdapterError
        from fleet.documents import document
        from fleet.lab.exchange.adapter import LoraKind
        from fleet.lab.exchange.networks import Network, adapter_document
        from fleet.lab.exchange.peft_format import import_peft

        progress("Frozen network")
        base = Network(task, seed).base()
        found: dict[str, Any] | None = None
        refusal = ""
        try:
            # Nobody says whom it is about; to be shared by all is the least that an adapter can be.
            found = adapter_document(import_peft(folder, base, name="checked", kind=LoraKind.SHARED))
        except AdapterError as error:
            refusal = str(error)
        body = document("AdapterCheck", accepted=found is not None, refusal=refusal, adapter=found)
    show(form, body, lambda: [_facts(found) if found else facts("Refused", {"reason": refusal})])
    if refusal:
        raise typer.Exit(ExitCode.FAILED)


def _facts(body: Mapping[str, Any]) -> Any:
    hidden = ("api_version", "kind", "name", "adapter_kind", "personal")
    shown = {key.replace("_", " "): value for key, value in body.items() if key not in hidden}
    return facts("Accepted", shown | {"layers": ", ".join(body["layers"])})
