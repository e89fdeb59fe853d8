"""The demo's closing tables, made from its JSON document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_PHASES = ("program", "infer", "train", "erase", "verify", "radio")


def closing_tables(document: dict[str, Any]) -> Iterable[RenderableType]:
    """Yield recognition, its parts, energy, deployment, claims and summary; each fits 100 columns."""
    for table in (_recognition, _parts, energy_table, deployment_table, claims_table):
        yield Group(table(document), Text())
    yield _summary(document)


def _recognition(document: dict[str, Any]) -> Table:
    person = document["forgotten_person"]
    table = titled_table(
        f"Recognition, before and after forgetting {person}",
        "node",
        "state",
        "gen",
        "kept people",
        f"{person}",
        f"{person} accepted",
        "not enrolled",
        "strangers",
    )
    for node in document["nodes"]:
        serving = node["serve_state"] == "serving"
        table.add_row(
            node["node_id"],
            node["state"] if serving else f"{node['state']}, {node['serve_state']}",
            str(node["generation"]),
            change(node["retain_accuracy_before"], node["retain_accuracy_after"]),
            change(node["forget_accuracy_before"], node["forget_accuracy_after"]),
            change(node["forget_accept_rate_before"], node["forget_accept_rate_after"]),
            f"{node['forget_accept_rate_never_enrolled']:.3f}",
            f"{node['stranger_accept_rate']:.3f}",
        )
    return table


def _parts(document: dict[str, Any]) -> Table:
    table = titled_table(
        "What each kind of adapter adds: kept people recognised, before and after",
        "node",
        "subject adapters alone",
        "with the LoRA",
        "with the closed-form head",
    )
    for node in document["nodes"]:
        kinds = (node["subject_adapters_only"], node["without_head"], node)
        table.add_row(
            node["node_id"], *(change(kind["retain_accuracy_before"], kind["retain_accuracy_after"]) for kind in kinds)
        )
    return table


def energy_table(document: dict[str, Any]) -> Table:
    """Return joules of every node by phase."""
    model = document["energy_model"]
    table = titled_table(
        f"Energy in mJ by phase, since each node was made (model {model['name']} {model['version']})",
        "node",
        *_PHASES,
        "radio bytes",
    )
    for node in document["nodes"]:
        table.add_row(
            node["node_id"],
            *(f"{node['energy_j'].get(phase, 0.0) * 1e3:.3g}" for phase in _PHASES),
            str(node["costs"].get("radio", {}).get("bytes", 0)),
        )
    return table


def deployment_table(document: dict[str, Any]) -> Table:
    """Return what deploying the repaired revision took on every node."""
    table = titled_table(
        "Cells written by the forget; deploying the repaired revision, or re-writing it in ReRAM",
        "node",
        "forget: cells",
        "energy",
        "radio's part",
        "time",
        "bytes",
        "cells",
        "re-written: energy, on the chip",
        "cells",
    )
    for node in document["nodes"]:
        overhead = node["deployment_overhead"]
        table.add_row(
            node["node_id"],
            "-" if node["reram_writes_forget"] is None else str(node["reram_writes_forget"]),
            f"{overhead['energy_j'] * 1e3:.3g} mJ",
            f"{overhead['radio_energy_j'] * 1e3:.3g} mJ",
            f"{overhead['seconds'] * 1e3:.3g} ms",
            str(overhead["bytes"]),
            str(overhead["cell_writes"]),
            f"x{overhead['reprogramming_ratio']:.3g}",
            str(overhead["reprogramming_cell_writes"]),
        )
    return table


def claims_table(document: dict[str, Any]) -> Table:
    """Return every claim with what was seen."""
    table = Table(title="Claims", title_justify="left", header_style="bold")
    table.add_column("")
    table.add_column("claim", overflow="fold")
    table.add_column("seen", overflow="fold")
    for claim in document["claims"]:
        holds = Text("holds", style="green") if claim["holds"] else Text("FAILS", style="bold red")
        table.add_row(holds, Text(claim["name"]), Text(claim["detail"]))
    return table


def _summary(document: dict[str, Any]) -> Text:
    verdicts = ", ".join(f"{kind} {verdict}" for kind, verdict in sorted(document["verdicts"].items()))
    runs = ", ".join(f"{job['type']} as Flower run {job['flower_run_id']}" for job in document["learning_jobs"])
    return Text(
        f"Suppressed in {document['seconds_to_suppress']:.2f} s, verified in "
        f"{document['seconds_to_verify']:.1f} s. Verdicts: {verdicts}. Learning: {runs}."
    )


def titled_table(title: str, first: str, *columns: str) -> Table:
    """Return an empty table: the first column is text, the others are figures."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def change(before: float, after: float) -> str:
    """Return two shares as text."""
    return f"{before:.3f}→{after:.3f}"
