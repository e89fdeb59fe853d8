"""`fleet node enroll|list|show|release|retire|retry`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from fleet.cli.confirm import Yes, confirm
from fleet.cli.exits import UsageError
from fleet.cli.output import (
    Columns,
    Format,
    OutputFormat,
    cells,
    clock,
    facts,
    hint,
    joules,
    note,
    records,
    show,
)
from fleet.cli.pages import LIMIT, After, All, Limit, at_most, note_more, paged
from fleet.cli.session import session
from fleet.cli.status import contact, node_table, serving
from fleet.documents import audit_event_document, document, execution_document, node_document, quarantined_document

app = typer.Typer(help="Nodes of the fleet.", no_args_is_help=True)

NodeId = Annotated[str, typer.Argument(metavar="NODE")]
Reason = Annotated[str, typer.Option(help="Why: one line, signed into the log for auditors.")]


def _deployment(node: dict[str, Any]) -> str:
    overhead = node["deployment_overhead"]
    return (
        f"{joules(overhead['energy_j'])}, {overhead['bytes']} bytes, {overhead['cell_writes']} cell writes; "
        f"re-programming takes {overhead['reprogramming_ratio']:.3g} times the energy on the chip "
        f"({overhead['reprogramming_ratio_with_radio']:.3g} with the radio on both sides)"
    )


_FACTS: Columns = {
    "contact": lambda n: f"{contact(n)}, last {clock(n['last_contact_unix_ms'])}",
    "serving": serving,
    "lease until": "lease_until_unix_ms",
    "generation": "generation",
    "revision": "revision",
    "people": "subject_adapters",
    "inferences": "inferences",
    "deployment": _deployment,
    "energy model": lambda n: f"{n['energy_model']['name']} {n['energy_model']['version']}",
    "Flower node": "flower_node_id",
    "software": "software_version",
}
_FORGETS: Columns = {
    "campaign": "campaign_id",
    "generation>": "generation",
    "state": "state",
    "updated": "updated_at_unix_ms",
    "detail": "detail",
}
_DECISIONS: Columns = {
    "event": "event",
    "when": "at_unix_ms",
    "generation>": "generation",
    "campaign": "campaign_id",
    "reason": "reason",
}
_ASIDE: Columns = {"report": "report", "reason": "reason", "times>": "count", "last": "last_at_unix_ms"}


@app.command()
def enroll(
    ctx: typer.Context,
    identity_file: Annotated[
        Path, typer.Argument(metavar="IDENTITY", help="What `edge-node init` printed; - reads stdin.")
    ],
    output: Annotated[Path | None, typer.Option(help="Write the enrolment here instead of to stdout.")] = None,
) -> None:
    """Register a node; prints what `edge-node join` needs (JSON, all of it public)."""
    from google.protobuf import json_format
    from reram_fleet.v1.types_pb2 import NodeIdentity

    try:
        text = sys.stdin.read() if str(identity_file) == "-" else identity_file.read_text(encoding="utf-8")
        identity = json_format.Parse(text, NodeIdentity())
    except (OSError, UnicodeDecodeError, json_format.ParseError) as error:
        raise UsageError(
            f"cannot read a node's identity from {identity_file}: {error}",
            hint="`edge-node init --state DIR --node-id NAME` prints one",
        ) from error
    with session(ctx).client() as client:
        response = client.enroll_node(identity)
    enrolment = json_format.MessageToJson(response) + "\n"
    if output is None:
        sys.stdout.write(enrolment)
    else:
        output.write_text(enrolment, encoding="utf-8")
    note(f"{identity.node_id} is {'registered' if response.created else 'registered already'}.")
    hint(f"edge-node join --state DIR {output or 'ENROLMENT.json'}, then edge-node run --state DIR")


@app.command("list")
def list_nodes(
    ctx: typer.Context,
    limit: Limit = LIMIT,
    everything: All = False,
    after: After = "",
    form: Format = OutputFormat.TABLE,
) -> None:
    """List nodes, by id."""
    with session(ctx).client() as client:
        page = client.list_nodes(at_most(limit, everything=everything), after)
    nodes = [node_document(node) for node in page.items]
    then = None if nodes or after else "edge-node init --state DIR --node-id NAME | fleet node enroll -"
    show(form, document("NodeList", **paged(nodes, page.next_token)), lambda: [node_table(nodes)], then=then)
    note_more(len(nodes), "nodes", page.next_token)


@app.command("show")
def show_node(
    ctx: typer.Context,
    node_id: NodeId,
    limit: Limit = LIMIT,
    everything: All = False,
    after: After = "",
    form: Format = OutputFormat.TABLE,
) -> None:
    """Show one node: state, cost by phase, forgets, decisions about it, and reports that were put aside."""
    with session(ctx).client() as client:
        response = client.get_node(node_id)
        page = client.list_executions(node_id=node_id, limit=at_most(limit, everything=everything), after=after)
    node = node_document(response.node)
    executions = [execution_document(e) for e in page.items]
    events = [audit_event_document(envelope) for envelope in response.audit_events]
    aside = [quarantined_document(report) for report in response.quarantined]

    def render() -> Iterable[RenderableType]:
        yield facts(f"Node {node['node_id']}", cells(_FACTS, node))
        yield cost_table("Cost by phase, since the node was made", node["costs"])
        for title, columns, found in (
            ("Forgets, newest first", _FORGETS, executions),
            ("Decisions, as they are signed in the log", _DECISIONS, events),
            ("Reports put aside, and why nothing was done about them", _ASIDE, aside),
        ):
            if found:
                yield records(title, columns, found)

    forgets = {"executions": executions, "next_page_token": page.next_token or None}
    show(form, document("Node", **node, **forgets, audit_events=events, quarantined=aside), render)
    note_more(len(executions), "forgets", page.next_token)


@app.command()
def release(ctx: typer.Context, node_id: NodeId, reason: Reason, form: Format = OutputFormat.TABLE) -> None:
    """Give a held node leases again; what it is held for is ordered anew, and judged anew."""
    with session(ctx).client() as client:
        node = node_document(client.release_node(node_id, reason))
    note(f"{node_id} is released: it gets leases and erase orders again.")
    show(form, document("Node", **node), lambda: [node_table([node])])


@app.command()
def retire(
    ctx: typer.Context,
    node_id: NodeId,
    reason: Reason,
    discard_contributions: Annotated[
        bool, typer.Option("--discard-contributions", help="Drop what it contributed about people as well.")
    ] = False,
    yes: Yes = False,
    form: Format = OutputFormat.TABLE,
) -> None:
    """Take a node out of the fleet for good: lost, broken or stolen. Forgets go on without it."""
    with session(ctx).client() as client:
        # First a plain look, so that nobody is asked about a node that there is not.
        client.get_node(node_id)
        also = ", and what it contributed is dropped" if discard_contributions else ""
        question = f"Retire {node_id}? It can never connect again{also}."
        confirm(f"retiring {node_id}", question, yes)
        response = client.retire_node(node_id, reason, discard_contributions=discard_contributions)
    node, converged = node_document(response.node), list(response.converged_campaign_ids)
    note(f"{node_id} is retired since {clock(node['retired_at_unix_ms'])}.")
    for campaign_id in converged:
        note(f"Forget {campaign_id} has converged without it.")
    then = "if it was stolen or lied: the same with --discard-contributions, and fleet learn drop"
    show(
        form,
        document("Node", **node, converged_campaign_ids=converged),
        lambda: [node_table([node])],
        then=None if discard_contributions else then,
    )


@app.command()
def retry(
    ctx: typer.Context,
    node_id: NodeId,
    campaign_id: Annotated[str, typer.Argument(metavar="CAMPAIGN")],
    reason: Reason = "an operator wants another receipt",
    form: Format = OutputFormat.TABLE,
) -> None:
    """Order a node to erase anew, with another challenge."""
    with session(ctx).client() as client:
        execution = execution_document(client.retry_forget(node_id, campaign_id, reason))
    note(f"{node_id} gets another order for {campaign_id}.")
    show(
        form,
        document("Execution", **execution),
        lambda: [facts(f"Forget {campaign_id} on {node_id}", {k: execution[k] for k in ("state", "detail")})],
        then=f"fleet forget watch {campaign_id}",
    )


def cost_table(title: str, costs: dict[str, dict[str, float]]) -> RenderableType:
    """Return a table of joules, seconds, bytes and cell writes by phase."""
    columns: Columns = {
        "phase": "phase",
        "energy>": "energy_j",
        "time>": lambda cost: f"{cost['seconds']:.3g} s",
        "bytes>": "bytes",
        "cell writes>": "cell_writes",
    }
    return records(title, columns, ({"phase": phase, **cost} for phase, cost in costs.items()))
