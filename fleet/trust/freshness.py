"""Comparison of a certificate with what its coordinator says now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from reram_fleet.v1.operator_pb2 import Forget, GetFleetResponse

from fleet.documents import verdict_name
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import TERMINAL
from fleet.trust.certificate import Certificate
from fleet.trust.checks import CheckLine, compare


def current_lines(content: Certificate, fleet: GetFleetResponse, forget: Forget | None) -> Iterator[CheckLine]:
    """Compare a certificate with its forget as the coordinator has it now; None if it has no such forget."""
    if forget is None:
        yield CheckLine("now: forget", False, f"forget {content.campaign_id}", "the coordinator has none")
        return
    yield CheckLine(
        "now: still converged",
        forget.state == CampaignState.CONVERGED and _converged_at_ms(forget) == content.converged_at_ms,
        f"converged at {moment(content.converged_at_ms)}",
        _standing(forget),
    )
    if forget.state == CampaignState.CONVERGED:
        yield compare(
            "now: nodes",
            _listed(Counter(node.state.value for node in content.nodes)),
            _listed({count.state: count.nodes for count in forget.counts}),
        )
        yield compare(
            "now: verdicts",
            _listed({verdict.adapter_kind: verdict.verdict for verdict in content.verdicts}),
            _listed({verdict.adapter_kind: verdict_name(verdict.verdict) for verdict in forget.verdicts}),
        )
    yield CheckLine(
        "now: log",
        fleet.log_size > content.tree_size
        or (fleet.log_size, fleet.log_root) == (content.tree_size, content.root_hash),
        f"{content.tree_size} leaves with root {content.root_hash.hex()[:16]}, or more leaves",
        f"{fleet.log_size} leaves with root {fleet.log_root.hex()[:16]}",
    )


def moment(unix_ms: int) -> str:
    """Return a moment as text, in UTC."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(" ", "seconds")


def _converged_at_ms(forget: Forget) -> int:
    return forget.created_at_unix_ms + round(1000 * forget.seconds_to_verify)


def _standing(forget: Forget) -> str:
    if forget.state == CampaignState.CONVERGED:
        return f"converged at {moment(_converged_at_ms(forget))}"
    waiting = [execution for execution in forget.examples if execution.state not in TERMINAL]
    names = ", ".join(f"{execution.node_id} ({execution.state})" for execution in waiting)
    more = sum(count.nodes for count in forget.counts if count.state not in TERMINAL) - len(waiting)
    names += f" and {more} more" if more > 0 else ""
    # An execution that went on since it re-opened tells of a later moment: still a true "since".
    since = min((execution.updated_at_unix_ms for execution in waiting), default=0)
    return f"re-opened since: {forget.state}, waiting for {names or 'nobody'} since {moment(since)}"


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))
