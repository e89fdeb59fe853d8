"""View of a campaign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import RenderableType

from fleet.cli.output import Columns, clock, counted, facts, joules, records, seconds
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import SUCCESS, TERMINAL, ExecutionState

#: Nodes that one line names; of a thousand, the table has the rest.
MOST_NAMED = 5

#: States of a node that is known to have suppressed.
_SUPPRESSED = SUCCESS | {ExecutionState.SUPPRESSED, ExecutionState.APPLYING, ExecutionState.APPLIED}


def forget_list(forgets: list[dict[str, Any]]) -> RenderableType:
    """Return the table of campaigns."""
    columns: Columns = {
        "campaign": "campaign_id",
        "generation>": "generation",
        "state": state,
        "nodes": lambda forget: counts(forget["executions"]),
        "suppressed in>": lambda f: (
            seconds(f["seconds_to_suppress"]) + (f" ({len(f['may_serve'])} may serve)" if f["may_serve"] else "")
        ),
        "verified in>": "seconds_to_verify",
        "created": "created_at_unix_ms",
    }
    return records("Forgets", columns, forgets)


def counts(executions: Iterable[dict[str, Any]]) -> str:
    """Return how many nodes are in which state, for instance `3 verified, 1 pending`."""
    tally = Counter(execution["state"] for execution in executions)
    return ", ".join(f"{count} {state}" for state, count in sorted(tally.items()))


def state(forget: dict[str, Any]) -> str:
    """Return a campaign's state, for instance `converged except 2: node-3 (lost), node-4 (retired)`."""
    states = {e["node_id"]: e["state"] for e in forget["executions"]}
    excepted = {node_id: states[node_id] for node_id in forget["excepted_node_ids"]}
    if forget["state"] != CampaignState.CONVERGED or not excepted:
        return str(forget["state"])
    return f"converged except {len(excepted)}: {_named(excepted)}"


def awaited(forget: dict[str, Any]) -> str:
    """Return which nodes a campaign waits for, for instance `node-2 (pending)`; empty if for none."""
    return _named({e["node_id"]: e["state"] for e in forget["executions"] if e["state"] not in map(str, TERMINAL)})


def _named(nodes: Mapping[str, str]) -> str:
    listed = [f"{node_id} ({why})" for node_id, why in sorted(nodes.items())]
    more = len(listed) - MOST_NAMED
    return ", ".join(listed[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def may_serve(forget: dict[str, Any]) -> str:
    """Return which nodes may serve the person, and until when; empty if none may."""
    late = [
        f"{node['node_id']} was last heard of at {clock(node['last_contact_unix_ms'] or 0)} and may serve "
        f"until {clock(node['until_unix_ms'])} (its lease)"
        for node in forget["may_serve"]
    ]
    more = len(late) - MOST_NAMED
    return "; ".join([*late[:MOST_NAMED], *([f"{more} more may serve"] if more > 0 else [])])


def suppression(forget: dict[str, Any]) -> str:
    """Return where a forget is suppressed, and until when whoever has not may serve the person."""
    executions = forget["executions"]
    pending = {e["node_id"] for e in executions if e["state"] == ExecutionState.PENDING}
    there = sum(e["state"] in _SUPPRESSED for e in executions)
    took = forget["seconds_to_suppress"]
    said = [
        f"not yet on every connected node ({there} of {len(executions)} nodes)"
        if took is None
        else f"on connected nodes in {seconds(took)}; on {there} of {len(executions)} nodes now"
    ]
    if late := may_serve(forget):
        said.append(late)
    if behind := pending - {node["node_id"] for node in forget["may_serve"]}:
        listed = _named(dict.fromkeys(behind, "no lease"))
        said.append(f"no adapters are served before the log is taken: {listed}")
    return "; ".join(said)


def forget_renderables(forget: dict[str, Any]) -> Iterable[RenderableType]:
    """Yield the view of one campaign: facts, then a line per node."""
    energy_j = sum(cost["energy_j"] for cost in forget["costs"].values())
    model = forget["energy_model"]
    yield facts(
        f"Forget {forget['campaign_id']}",
        {
            "generation": forget["generation"],
            "state": state(forget),
            **({"waits for": waits} if (waits := awaited(forget)) else {}),
            "created": clock(forget["created_at_unix_ms"]),
            "suppressed": suppression(forget),
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
    columns: Columns = {
        "node": "node_id",
        "state": "state",
        "erased": lambda execution: erased(execution["receipt"]),
        "receipt": lambda execution: execution["receipt"] and execution["receipt"]["sha256"][:12],
        "updated": "updated_at_unix_ms",
        "detail": "detail",
    }
    yield records("Nodes", columns, forget["executions"])


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
