"""View of a certificate's check: verdict and limits first, lines last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from fleet.cli.output import clock, facts, table

if TYPE_CHECKING:
    from fleet.trust.certificate import Certificate
    from fleet.trust.checks import CheckLine

#: Results of a check.
HOLDS, FAILS, UNVOUCHED = "holds", "fails", "unvouched"


def certificate_document(content: Certificate) -> dict[str, Any]:
    """Return what a certificate says: verdicts, for whom, on which nodes, and what it does not say."""
    nodes: dict[str, list[str]] = {}
    for node in content.nodes:
        nodes.setdefault(node.state.value, []).append(node.node_id)
    return {
        "verdicts": {v.adapter_kind: {"verdict": v.verdict, "basis": v.basis} for v in content.verdicts},
        "subject_tags": [tag for tag in content.subject_tags if tag not in content.planted_tags],
        "planted_tags": list(content.planted_tags),
        "excepted": [
            {"node_id": node.node_id, "state": node.state.value, "reason": node.reason} for node in content.excepted
        ],
        "nodes": nodes,
        "limits": list(content.limits),
        "fleet_id": content.fleet_id,
        "campaign_id": content.campaign_id,
        "generation": content.generation,
        "converged_at_unix_ms": content.converged_at_ms,
        "issued_at_unix_ms": content.issued_at_ms,
        "log": {"tree_size": content.tree_size, "root_hash": content.root_hash.hex()},
    }


def check_document(lines: Iterable[CheckLine]) -> list[dict[str, Any]]:
    """Return lines, failing ones first."""
    return [asdict(line) for line in sorted(lines, key=lambda line: line.holds)]


def check_renderables(name: str, check: dict[str, Any], *, verbose: bool) -> Iterable[RenderableType]:
    """Yield the view of a check that `fleet certificate verify` made."""
    failed = [line for line in check["lines"] if not line["holds"]]
    vouched, current = check["vouched_by"], check["current"]
    said = check["certificate"]
    headline = {
        HOLDS: "holds",
        FAILS: f"DOES NOT HOLD: {len(failed)} of {len(check['lines'])} checks fail",
        UNVOUCHED: "NOT VOUCHED FOR: it agrees with the key that the coordinator itself says is its own",
    }[check["result"]]
    if said is not None and said["excepted"]:
        headline += f", EXCEPT {len(said['excepted'])} node(s)"
    trust = "given with --public-key" if vouched["pinned"] else "VOUCHED FOR BY THE COORDINATOR ITSELF"
    yield facts(
        f"{name}: {headline}",
        {
            **({} if said is None else _said(said)),
            "signed with": f"{vouched['command_public_key']} ({trust})",
            "now": current["detail"],
        },
    )
    if failed:
        yield table(
            "Checks that fail",
            ["check", "expected", "seen"],
            [(line["name"], line["expected"], line["got"]) for line in failed],
        )
    holding = [line for line in check["lines"] if line["holds"]]
    if verbose and holding:
        yield table("Checks that hold", ["check", "seen"], [(x["name"], x["got"]) for x in holding])
    elif holding:
        yield f"{len(holding)} checks hold (--verbose lists them)."


def _said(said: dict[str, Any]) -> dict[str, object]:
    return {
        **{f"verdict {kind}": f"{v['verdict']}: {v['basis']}" for kind, v in said["verdicts"].items()},
        **{
            f"EXCEPT {node['node_id']}": f"{node['state']}: {node['reason'] or 'no reason given'}"
            for node in said["excepted"]
        },
        "for": ", ".join(said["subject_tags"]),
        "planted probe": ", ".join(f"{tag} (nobody's: planted to see it go)" for tag in said["planted_tags"]),
        "nodes": _nodes(said["nodes"]),
        "forget": f"{said['campaign_id']}, generation {said['generation']} of fleet {said['fleet_id']}",
        "converged": clock(said["converged_at_unix_ms"]),
        "issued": clock(said["issued_at_unix_ms"]),
        "limits": tuple(said["limits"]),
    }


def _nodes(by_state: dict[str, Sequence[str]]) -> str:
    counts = ", ".join(f"{len(ids)} {state.replace('_', ' ')}" for state, ids in sorted(by_state.items()))
    if not {"verified", "not_affected"} & by_state.keys():
        return f"{counts or 'none'}: NOTHING WAS VERIFIED ON ANY NODE"
    return counts
