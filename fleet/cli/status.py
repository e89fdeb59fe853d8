"""`fleet status`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer
from rich.console import RenderableType

from fleet.cli.output import Columns, Format, OutputFormat, clock, counted, facts, note, records, show
from fleet.cli.pages import LIMIT
from fleet.cli.session import session
from fleet.documents import document, fleet_document, node_document
from fleet.domain.addresses import monitoring_url
from fleet.errors import AwaitedNodesError

#: Standing of a node that has not said where it is since the coordinator was restored.
AWAITING = "awaiting reconnect"


def status(ctx: typer.Context, form: Format = OutputFormat.TABLE) -> None:
    """Show the fleet: generation, revision, nodes, open forgets."""
    with session(ctx).client() as client:
        fleet = fleet_document(client.get_fleet())
        page = client.list_nodes(LIMIT)
    nodes = [node_document(node) for node in page.items]

    def render() -> Iterable[RenderableType]:
        yield facts(
            f"Fleet {fleet['fleet_id']}",
            {
                "coordinator": f"{client.address} (version {fleet['version']})",
                "metrics": f"{monitoring_url(fleet['metrics_address'])}/metrics",
                "generation": fleet["generation"],
                "revision": f"{fleet['revision']} ({fleet['revision_digest'][:12] or 'none'})",
                "nodes": f"{fleet['nodes_connected']} of {fleet['nodes_registered']} connected, "
                f"{fleet['nodes_serving']} serving",
                "enrolments": fleet["subjects"],
                "open forgets": fleet["forgets_open"],
                **restore_facts(fleet),
                "SuperLink": f"{fleet['superlink']} {fleet['superlink_address']}",
                "log": f"{fleet['log_size']} leaves, root {fleet['log_root'][:12]}",
                "public key": fleet["command_public_key"],
            },
        )
        if nodes:
            yield node_table(nodes)

    then = "fleet forget list" if fleet["forgets_open"] else None
    if fleet["nodes_awaited"]:
        then = AwaitedNodesError([node["node_id"] for node in nodes if node["awaited_since_unix_ms"]]).hint
    show(form, document("FleetStatus", fleet=fleet, nodes=nodes), render, then=then)
    if page.next_token:
        note(f"The first {len(nodes)} nodes: `fleet node list --all` shows every one.")


def restore_facts(fleet: dict[str, Any]) -> dict[str, object]:
    """Return what `status` says of a restore of the coordinator: when it was, and what waits for nodes."""
    if fleet["restored_at_unix_ms"] is None:
        return {}
    waits = f"; no forget and no lease before {counted(fleet['nodes_awaited'], 'more node')} reconnected"
    return {"restored": clock(fleet["restored_at_unix_ms"]) + (waits if fleet["nodes_awaited"] else "")}


def serving(node: dict[str, object]) -> str:
    """Return a node's serve state with its reason."""
    if node["retired_at_unix_ms"]:
        return str(node["held_reason"])
    if node["held_reason"]:
        return f"held: {node['held_reason']}"
    if node["awaited_since_unix_ms"]:
        return AWAITING
    reason, said = node["quarantine_reason"], str(node["last_serve_state"])
    if reason:
        said += f": {str(reason).replace('_', ' ')}"
    return said if node["connected"] else f"unknown, last said {said}"


def contact(node: dict[str, object]) -> str:
    """Return whether a node is in contact."""
    if node["connected"]:
        return "connected"
    return AWAITING if node["awaited_since_unix_ms"] and not node["retired_at_unix_ms"] else "lost"


_NODES: Columns = {
    "node": "node_id",
    "contact": contact,
    "serving": serving,
    "generation>": "generation",
    "revision>": "revision",
    "people>": "subject_adapters",
    "inferences>": "inferences",
    "put aside>": "quarantined_reports",
}


def node_table(nodes: list[dict[str, object]]) -> RenderableType:
    """Return the table of nodes that `status` and `node list` share."""
    return records("Nodes", _NODES, nodes)
