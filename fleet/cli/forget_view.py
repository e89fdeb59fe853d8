"""How a campaign is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import RenderableType

from fleet.cli.output import clock, counted, facts, joules, seconds, table


def forget_list(forgets: list[dict[str, Any]]) -> RenderableType:
    """Return the table of campaigns."""
    return table(
        "Forgets",
        ["campaign", "generation>", "state", "nodes", "suppressed in>", "verified in>", "created"],
        (
            (
                f["campaign_id"],
                f["generation"],
                f["state"],
                counts(f["executions"]),
                seconds(f["seconds_to_suppress"]),
                seconds(f["seconds_to_verify"]),
                clock(f["created_at_unix_ms"]),
            )
            for f in forgets
        ),
    )


def counts(executions: Iterable[dict[str, Any]]) -> str:
    """Return how many nodes are in which state, for instance `3 verified, 1 pending`."""
    tally = Counter(execution["state"] for execution in executions)
    return ", ".join(f"{count} {state}" for state, count in sorted(tally.items()))


def forget_renderables(forget: dict[str, Any]) -> Iterable[RenderableType]:
    """Yield the view of one campaign: facts, then a line per node."""
    energy_j = sum(cost["energy_j"] for cost in forget["costs"].values())
    model = forget["energy_model"]
    yield facts(
        f"Forget {forget['campaign_id']}",
        {
            "generation": forget["generation"],
            "state": forget["state"],
            "created": clock(forget["created_at_unix_ms"]),
            "suppressed in": seconds(forget["seconds_to_suppress"]),
            "verified in": seconds(forget["seconds_to_verify"]),
            **{
                f"verdict {kind}": f"{verdict['verdict']}: {verdict['basis']}"
                for kind, verdict in forget["verdicts"].items()
            },
            "repair job": forget["repair_job_id"],
            "energy": f"{joules(energy_j)} ({model['name']} {model['version']})" if energy_j else None,
            "cell writes": forget["reram_writes"],
            "request": forget["request_id"],
        },
    )
    yield table(
        "Nodes",
        ["node", "state", "erased", "receipt", "updated", "detail"],
        (
            (
                e["node_id"],
                e["state"],
                erased(e["receipt"]),
                e["receipt"] and e["receipt"]["sha256"][:12],
                clock(e["updated_at_unix_ms"]),
                e["detail"],
            )
            for e in forget["executions"]
        ),
    )


def erased(receipt: dict[str, Any] | None) -> str | None:
    """Return what a node says that it erased."""
    if receipt is None or "outcome" not in receipt:
        return None
    if receipt["outcome"] == "not_affected":
        return "held nothing"
    return ", ".join(
        counted(receipt[name], noun)
        for name, noun in (
            ("subject_adapters_erased", "adapter"),
            ("lora_rows_erased", "LoRA row"),
            ("code_samples_erased", "sample"),
            ("keys_destroyed", "key"),
        )
    )
