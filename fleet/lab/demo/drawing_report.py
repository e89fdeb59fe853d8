"""The JSON document and the closing tables of a demo that draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.documents import Document
from fleet.lab.demo.claims import Claim, open_receipts
from fleet.lab.demo.closing import change, claims_table, deployment_table, energy_table, titled_table
from fleet.lab.demo.evidence import DrawnEvidence
from fleet.lab.demo.report import fleet_document, node_document


def drawing_report(evidence: DrawnEvidence, claims: Sequence[Claim]) -> Document:
    """Return what `fleet demo --output` writes of a fleet that draws.

    There are no learning jobs in it: classes are learnt on the nodes, when they are enrolled.
    """
    receipts = open_receipts(evidence)
    return fleet_document(
        evidence,
        claims,
        nodes=[
            {
                **node_document(evidence, node, receipts.get(node)),
                "drawn_never_enrolled": asdict(evidence.never[node]),
                "drawn_before": asdict(evidence.before[node]),
                "drawn_after": asdict(evidence.after[node]),
            }
            for node in sorted(evidence.status_after)
        ],
        enrolled_on={name: list(nodes) for name, nodes in evidence.enrolled_on.items()},
        unknown_class={
            "never_enrolled_interval": list(evidence.never_interval),
            "forgotten_fresh_noise": {
                "hits": evidence.fresh_alone[0],
                "images": evidence.fresh_alone[1],
                "p": evidence.fresh_p,
            },
        },
        learning_jobs=[],
        learning_job_refusal=evidence.job_refusal,
    )


def drawing_tables(document: dict[str, Any]) -> Iterable[RenderableType]:
    """Yield drawing, energy, deployment, claims and summary; each fits a terminal of 100 columns."""
    for table in (_drawing, energy_table, deployment_table, claims_table):
        yield Group(table(document), Text())
    verdicts = ", ".join(f"{kind} {verdict}" for kind, verdict in sorted(document["verdicts"].items()))
    yield Text(
        f"Suppressed in {document['seconds_to_suppress']:.2f} s, verified in "
        f"{document['seconds_to_verify']:.1f} s. Verdicts: {verdicts}. No learning job: classes are learnt "
        "on the nodes."
    )


def _drawing(document: dict[str, Any]) -> Table:
    name = document["forgotten_person"]
    table = titled_table(
        f"Images that show their class, before and after forgetting {name}",
        "node",
        "state",
        "gen",
        "public",
        "kept private",
        f"{name} by tag",
        f"{name} by name",
    )
    for node in document["nodes"]:
        before, after = node["drawn_before"], node["drawn_after"]
        refused = after["refusal"] or "DRAWN"
        table.add_row(
            node["node_id"],
            str(node["state"]),
            str(node["generation"]),
            change(before["public"], after["public"]),
            change(_mean(before["private"]), _mean(after["private"])),
            f"{before['forgotten'] or 0.0:.3f}→{refused}",
            change(before["alone"] / before["alone_images"], after["alone"] / after["alone_images"]),
        )
    return table


def _mean(shares: dict[str, float]) -> float:
    return sum(shares.values()) / len(shares) if shares else 0.0
