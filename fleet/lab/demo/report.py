"""Report of the demo: the JSON document, and the closing tables that are made from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reram_fleet.v1.types_pb2 import Receipt
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.documents import (
    Document,
    costs_document,
    document,
    energy_model_document,
    erased_document,
    job_document,
    overhead_document,
    phase_name,
    serve_state_name,
)
from fleet.lab.demo.claims import Claim, open_receipts, verdicts
from fleet.lab.demo.evidence import Evidence

if TYPE_CHECKING:
    from fleet.lab.demo.task import DemoTask

_PHASES = ("program", "infer", "train", "erase", "verify", "radio")


def report(evidence: Evidence[Any], claims: Sequence[Claim], task: DemoTask[Any]) -> Document:
    """Return what `fleet demo --output` writes."""
    forget, outage, receipts = evidence.forget, evidence.outage, open_receipts(evidence)
    return document(
        "DemoReport",
        fleet_id=evidence.fleet_id,
        ok=all(claim.holds for claim in claims),
        claims=[asdict(claim) for claim in claims],
        forgotten_person=evidence.forgotten_person,
        enrolled_on={name: list(nodes) for name, nodes in evidence.enrolled_on.items()},
        campaign_id=forget.campaign_id,
        generation=forget.generation,
        state=forget.state,
        seconds_to_suppress=forget.seconds_to_suppress,
        seconds_to_suppress_observed=outage.seconds_observed,
        seconds_to_verify=forget.seconds_to_verify,
        verdicts=verdicts(evidence),
        verdict_basis={v.adapter_kind: v.basis for v in forget.verdicts},
        energy_model=energy_model_document(next(iter(evidence.status_after.values())).energy_model),
        forget_costs=costs_document(forget.costs),
        nodes=[
            {
                **_node(evidence, node_id, receipts.get(node_id)),
                **task.node_fields(evidence, node_id, receipts.get(node_id)),
            }
            for node_id in sorted(evidence.status_after)
        ],
        learning_jobs=[job_document(job) for job in evidence.jobs],
        learning_job_refusal=evidence.learnt.refusal,
        flower_runs=[{"run_id": run.run_id, "status": run.status} for run in evidence.flower_runs],
        outage={
            "node_id": outage.node_id,
            "killed_pid": outage.killed_pid,
            "suppressed_meanwhile_by": sorted(outage.suppressed_by),
            "answers_after_restart": [asdict(answer) for answer in outage.probe_answers],
        },
        metrics={name: {"before": before, "after": after} for name, (before, after) in evidence.metrics_moved.items()},
        step_seconds=dict(evidence.step_seconds),
        **task.fields(evidence),
    )


def _node(evidence: Evidence[Any], node_id: str, receipt: Receipt | None) -> Document:
    status = evidence.status_after[node_id]
    execution = next((e for e in evidence.executions if e.node_id == node_id), None)
    return {
        "node_id": node_id,
        "state": execution.state if execution is not None else None,
        "serve_state": serve_state_name(status.serve_state),
        "generation": status.generation,
        "revision": status.revision,
        "revision_digest": status.revision_digest.hex(),
        "energy_j": {phase_name(cost.phase): cost.energy_j for cost in status.costs},
        "costs": costs_document(status.costs),
        "reram_writes_forget": receipt.reram_writes if receipt is not None else None,
        "reram_writes_total": status.reram_writes,
        "deployment_overhead": overhead_document(status.overhead),
        "forget": erased_document(receipt) if receipt is not None else None,
    }


def closing_tables(document: Document, task: DemoTask[Any]) -> Iterable[RenderableType]:
    """Yield the task's tables, energy, deployment, claims and summary; each fits 100 columns."""
    for table in (*task.tables(document), _energy(document), _deployment(document), _claims(document)):
        yield Group(table, Text())
    verdicts = ", ".join(f"{kind} {verdict}" for kind, verdict in sorted(document["verdicts"].items()))
    runs = ", ".join(f"{job['type']} as Flower run {job['flower_run_id']}" for job in document["learning_jobs"])
    yield Text(
        f"Suppressed in {document['seconds_to_suppress']:.2f} s, verified in {document['seconds_to_verify']:.1f} s. "
        f"Verdicts: {verdicts}. "
        + (f"Learning: {runs}." if runs else "No learning job: classes are learnt on the nodes.")
    )


def _energy(document: Document) -> Table:
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


def _deployment(document: Document) -> Table:
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


def _claims(document: Document) -> Table:
    table = Table(title="Claims", title_justify="left", header_style="bold")
    table.add_column("")
    table.add_column("claim", overflow="fold")
    table.add_column("seen", overflow="fold")
    for claim in document["claims"]:
        holds = Text("holds", style="green") if claim["holds"] else Text("FAILS", style="bold red")
        table.add_row(holds, Text(claim["name"]), Text(claim["detail"]))
    return table


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
