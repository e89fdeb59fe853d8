"""`fleet adapter train|list|show|check|export|import|destroy`: LoRA adapters as files, without a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.cli.confirm import Yes, confirm
from fleet.cli.exits import ExitCode
from fleet.cli.output import Format, OutputFormat, facts, hint, note, show, spinner, table

app = typer.Typer(
    add_completion=False, help="LoRA adapters: sealed files, and Hugging Face PEFT.", no_args_is_help=True
)

StoreOption = Annotated[
    Path, typer.Option("--store", metavar="DIR", file_okay=False, help="Sealed adapters and their keys.")
]
NodeOption = Annotated[str, typer.Option("--node", metavar="ID", help="Node that the sealed files belong to.")]
TaskOption = Annotated[str, typer.Option("--task", metavar="faces|speakers|images", help="Task of the frozen network.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the frozen network.")]
HiddenOption = Annotated[int, typer.Option("--hidden", help="Width of its hidden layer; not of images.")]
GenerationOption = Annotated[
    int, typer.Option("--generation", min=0, help="Of the forget log: what is older is refused.")
]
KindOption = Annotated[str, typer.Option("--kind", metavar="KIND", help="subject, cohort, shared or calibration.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="An adapter of the store.")]


@app.command()
def train(
    store: StoreOption,
    task: Annotated[str, typer.Option("--task", metavar="faces|speakers", help="Whose cohorts.")] = "speakers",
    seed: SeedOption = 1,
    hidden: HiddenOption = 512,
    shards: Annotated[int, typer.Option(min=1, help="Cohorts that people are dealt into.")] = 2,
    node: NodeOption = "node-1",
    form: Format = OutputFormat.TABLE,
) -> None:
    """Train the cohorts of a simulated fleet and seal each shard's LoRA into a store."""
    with spinner() as progress:
        from fleet.documents import document
        from fleet.lab.exchange.adapter_files import AdapterStore, Network, adapter_document, train_cohorts

        progress("Training")
        trained = train_cohorts(Network(task, seed, hidden), shards=shards)
        for adapter in trained:
            AdapterStore(store, node).save(adapter)
        body = document("AdapterList", items=[adapter_document(adapter) for adapter in trained])
    show(form, body, lambda: [_adapters(body)])
    if form is OutputFormat.TABLE:
        network = f"--task {task} --seed {seed} --hidden {hidden}"
        hint(f"fleet adapter show {trained[0].spec.name} --store {store} --node {node} {network}")


@app.command("list")
def list_adapters(store: StoreOption, node: NodeOption = "node-1", form: Format = OutputFormat.TABLE) -> None:
    """List the names of the sealed adapters in a store; none is opened."""
    from fleet.documents import document
    from fleet.lab.exchange.adapter_files import AdapterStore

    names = AdapterStore(store, node).names()
    body = document("AdapterNames", items=list(names))
    show(form, body, lambda: [table("Adapters", ["name"], ([name] for name in names))])


@app.command("show")
def show_adapter(
    name: NameArgument,
    store: StoreOption,
    task: TaskOption,
    seed: SeedOption = 1,
    hidden: HiddenOption = 512,
    node: NodeOption = "node-1",
    generation: GenerationOption = 0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Open a sealed adapter and show what it says about itself; never its numbers."""
    from fleet.lab.exchange.adapter_files import AdapterStore, Network, adapter_document

    base = Network(task, seed, hidden).base()
    body = adapter_document(AdapterStore(store, node).load(name, base, oldest_generation=generation))
    show(form, body, lambda: [_facts(body)])


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="Plain safetensors file, or PEFT folder.")],
    task: TaskOption,
    seed: SeedOption = 1,
    hidden: HiddenOption = 512,
    kind: KindOption = "shared",
    generation: GenerationOption = 0,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Check an adapter from outside against a frozen network. Exit code 1, with the reason, if it is refused.

    Nothing is installed or kept: shape, rank, numbers, norms, headers, lies and the network are looked at.
    """
    from fleet.documents import document
    from fleet.errors import InvalidInputError
    from fleet.lab.exchange.adapter_files import Network, adapter_document, read_adapter

    base = Network(task, seed, hidden).base()
    refusal, adapter = "", None
    try:
        adapter = read_adapter(file, base, name="checked", kind=kind, generation=generation)
    except InvalidInputError as error:
        refusal = str(error)
    found = adapter_document(adapter) if adapter is not None else None
    body = document("AdapterCheck", accepted=adapter is not None, refusal=refusal, adapter=found)
    show(form, body, lambda: [_facts(found)] if found else [facts("Refused", {"reason": refusal})])
    if refusal:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def export(
    name: NameArgument,
    store: StoreOption,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", file_okay=False, help="PEFT folder.")],
    task: TaskOption,
    seed: SeedOption = 1,
    hidden: HiddenOption = 512,
    node: NodeOption = "node-1",
    in_the_clear: Annotated[
        bool,
        typer.Option(
            "--personal-in-the-clear",
            help="Write it although it is about people: no forget reaches what leaves the store.",
        ),
    ] = False,
) -> None:
    """Write a sealed adapter as a PEFT folder, which is not encrypted."""
    from fleet.lab.exchange.adapter_files import AdapterStore, Network, write_peft

    base = Network(task, seed, hidden).base()
    adapter = AdapterStore(store, node).load(name, base)
    write_peft(adapter, base, output, personal_in_the_clear=in_the_clear)
    note(f"Written to {output}: adapter_config.json, adapter_model.safetensors.")


@app.command("import")
def import_adapter(
    file: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="Plain safetensors file, or PEFT folder.")],
    store: StoreOption,
    task: TaskOption,
    name: Annotated[str, typer.Option("--name", help="Of a PEFT adapter, which has none.")] = "imported",
    kind: KindOption = "shared",
    seed: SeedOption = 1,
    hidden: HiddenOption = 512,
    node: NodeOption = "node-1",
    generation: GenerationOption = 0,
    storage: Annotated[str, typer.Option("--storage", metavar="int8|fp16|fp32")] = "fp32",
    form: Format = OutputFormat.TABLE,
) -> None:
    """Check an adapter from outside and seal it into a store; refused, nothing is written."""
    from fleet.lab.exchange.adapter_files import AdapterStore, Network, adapter_document, read_adapter

    base = Network(task, seed, hidden).base()
    adapter = read_adapter(file, base, name=name, kind=kind, generation=generation, storage=storage)
    AdapterStore(store, node).save(adapter)
    body = adapter_document(adapter)
    show(form, body, lambda: [_facts(body)])


@app.command()
def destroy(name: NameArgument, store: StoreOption, node: NodeOption = "node-1", yes: Yes = False) -> None:
    """Erase a sealed adapter: its key, then its file."""
    confirm(f"erasing {name}", f"Erase adapter {name} of {store}?", yes)
    from fleet.errors import NotFoundError
    from fleet.lab.exchange.adapter_files import AdapterStore

    if not AdapterStore(store, node).destroy(name):
        raise NotFoundError(f"there is no adapter {name[:80]!r} in {store}")
    note(f"Erased {name}.")


def _facts(body: Mapping[str, Any]) -> Any:
    shown = {key.replace("_", " "): value for key, value in body.items() if key not in ("api_version", "kind")}
    shown["layers"] = ", ".join(body["layers"])
    return facts(f"Adapter {body['name']}", shown)


def _adapters(body: Mapping[str, Any]) -> Any:
    rows = (
        (a["name"], a["adapter_kind"], a["rank"], a["storage"], a["sram_bytes"], a["digest"][:16])
        for a in body["items"]
    )
    return table("Adapters", ["name", "kind", "rank>", "storage", "SRAM bytes>", "digest"], rows)
