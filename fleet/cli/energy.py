"""`fleet energy report`."""

from __future__ import annotations

from collections.abc import Iterable

import typer
from rich.console import RenderableType

from fleet.cli.node import cost_table
from fleet.cli.output import Format, OutputFormat, joules, note, records, show, table
from fleet.cli.pages import LIMIT, All, Limit, at_most
from fleet.cli.session import session
from fleet.documents import Document, costs_document, document, energy_model_document, node_document

app = typer.Typer(help="Joules, time, bytes and cell writes.", no_args_is_help=True)


@app.callback()
def energy() -> None:
    """Keep `report` a verb of its own: a Typer with one command would swallow its name."""


@app.command()
def report(
    ctx: typer.Context, limit: Limit = LIMIT, everything: All = False, form: Format = OutputFormat.TABLE
) -> None:
    """Show what the fleet spent: in all by phase, by node, and by forget, newest first."""
    most = at_most(limit, everything=everything)
    with session(ctx).client() as client:
        response = client.get_energy_report()
        listed, campaigns = client.list_nodes(most), client.list_forgets(most)
    nodes = [node_document(node) for node in listed.items]
    totals = costs_document(response.totals)
    model = energy_model_document(response.energy_model)
    forgets: list[Document] = [
        {
            "campaign_id": f.campaign_id,
            "costs": costs_document(f.costs),
            "energy_j": sum(cost.energy_j for cost in f.costs),
            "reram_writes": f.reram_writes,
        }
        for f in campaigns.items
    ]

    def render() -> Iterable[RenderableType]:
        yield cost_table(f"Fleet by phase (energy model {model['name']} {model['version']})", totals)
        phases = list(totals)
        yield table(
            "Energy by node and phase",
            ["node", *(f"{phase}>" for phase in phases)],
            (
                (node["node_id"], *(joules(node["costs"].get(phase, {}).get("energy_j", 0.0)) for phase in phases))
                for node in nodes
            ),
        )
        if forgets:
            columns = {"campaign": "campaign_id", "energy>": "energy_j", "cell writes>": "reram_writes"}
            yield records("Forgets", columns, forgets)

    summaries = [
        {"node_id": n["node_id"], "costs": n["costs"], "deployment_overhead": n["deployment_overhead"]} for n in nodes
    ]
    body = document("EnergyReport", energy_model=model, totals=totals, nodes=summaries, forgets=forgets)
    show(form, body, render)
    for shown, noun, page in ((nodes, "nodes", listed), (forgets, "forgets", campaigns)):
        if page.next_token:
            note(f"The first {len(shown)} {noun}: --all shows every one.")
