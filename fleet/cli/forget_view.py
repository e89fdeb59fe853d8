"""View of a campaign."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any

from rich.console import RenderableType

from fleet.cli.output import Columns, clock, counted, facts, joules, records, seconds
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import EXCEPTED, SUCCESS, TERMINAL, ExecutionState

#: Nodes that one line names.
MOST_NAMED = 5

#: States of a node that is waited for, and of one that is known to have suppressed.
_OPEN = frozenset(ExecutionState) - TERMINAL
_SUPPRESSED = SUCCESS | {ExecutionState.SUPPRESSED, ExecutionState.APPLYING, ExecutionState.APPLIED}


def forget_list(forgets: list[dict[str, Any]]) -> RenderableType:
    """Return the table of campaigns."""
    columns: Columns = {
        "campaign": "campaign_id",
        "generation>": "generation",
        "state": state,
        "nodes": counts,
        "suppressed in>": lambda f: (
            seconds(f["seconds_to_suppress"]) + (f" ({len(f['may_serve'])} may serve)" if f["may_serve"] else "")
        ),
        "verified in>": "seconds_to_verify",
        "created": "created_at_unix_ms",
    }
    return records("Forgets", columns, forgets)


def counts(forget: dict[str, Any]) -> str:
    """Return how many nodes are in which state, for instance `3 verified, 1 pending`."""
    return ", ".join(f"{count} {state}" for state, count in sorted(forget["counts"].items()))


def state(forget: dict[str, Any]) -> str:
    """Return a campaign's state, for instance `converged except 2: node-3 (lost), node-4 (retired)`."""
    excepted = counted_in(forget, EXCEPTED)
    if forget["state"] != CampaignState.CONVERGED or not excepted:
        return str(forget["state"])
    return f"converged except {excepted}: {named(forget, EXCEPTED)}"


def awaited(forget: dict[str, Any]) -> str:
    """Return which nodes a campaign waits for, for instance `node-2 (pending)`; empty if for none."""
    return named(forget, _OPEN)


def counted_in(forget: dict[str, Any], states: Set[ExecutionState]) -> int:
    """Return how many nodes are in one of some states."""
    return sum(forget["counts"].get(state, 0) for state in states)


def named(forget: dict[str, Any], states: Set[ExecutionState], *, why: str = "state") -> str:
    """Return the first few nodes in some states, each with its state or another field, and how many there are more."""
    found = {e["node_id"]: e[why] for e in forget["examples"] if e["state"] in states}
    return _listed([f"{node_id} ({found[node_id]})" for node_id in sorted(found)], counted_in(forget, states))


def _listed(first: Sequence[str], total: int) -> str:
    more = total - min(len(first), MOST_NAMED)
    return ", ".join(first[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


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
    there, nodes = counted_in(forget, _SUPPRESSED), sum(forget["counts"].values())
    took = forget["seconds_to_suppress"]
    said = [
        f"not yet on every connected node ({there} of {nodes} nodes)"
        if took is None
        else f"on connected nodes in {seconds(took)}; on {there} of {nodes} nodes now"
    ]
    if late := may_serve(forget):
        said.append(late)
    leased = {node["node_id"] for node in forget["may_serve"]}
    pending = [e["node_id"] for e in forget["examples"] if e["state"] == ExecutionState.PENDING]
    behind = [node_id for node_id in pending if node_id not in leased]
    # Of those that are not named, it is not said who has a lease.
    if behind:
        unnamed = counted_in(forget, {ExecutionState.PENDING}) - len(pending)
        listed = _listed([f"{node_id} (no lease)" for node_id in behind], len(behind) + unnamed)
        said.append(f"no adapters are served before the log is taken: {listed}")
    return "; ".join(said)


def forget_renderables(forget: dict[str, Any], executions: Sequence[dict[str, Any]]) -> Iterable[RenderableType]:
    """Yield the view of one campaign: facts, then a line for each of some nodes."""
    energy_j = sum(cost["energy_j"] for cost in forget["costs"].values())
    model = forget["energy_model"]
    yield facts(
        f"Forget {forget['campaign_id']}",
        {
            **({"concept": ", ".join(forget["concepts"])} if forget["concepts"] else {}),
            "generation": forget["generation"],
            "state": state(forget),
            "nodes": counts(forget),
            **({"waits for": waits} if (waits := awaited(forget)) else {}),
            "created": clock(forget["created_at_unix_ms"]),
            "suppressed": suppression(forget),
            "verified in": seconds(forget["seconds_to_verify"]),
            **{
                f"verdict {kind}": f"{verdict['verdict']}: {verdict['basis']}"
                for kind, verdict in forget["verdicts"].items()
            },
            ("eraser job" if forget["concepts"] else "repair job"): forget["repair_job_id"],
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
    if executions:
        yield records("Nodes", columns, executions)


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
