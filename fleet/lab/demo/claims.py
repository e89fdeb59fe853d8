"""Claims about every fleet of the demo, each checked against the evidence. Pure.

A task adds its own (`DemoTask.claims`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from reram_fleet.crypto.signing import SignatureError, open_envelope
from reram_fleet.v1 import types_pb2 as types

from fleet.documents import verdict_name
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import SUCCESS
from fleet.lab.demo.evidence import Evidence
from fleet.trust.checks import failures

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """One sentence, whether it holds, and the figures behind it."""

    name: str
    holds: bool
    detail: str


def check(evidence: Evidence[Any], own: Sequence[Callable[[Evidence[Any]], Claim]]) -> list[Claim]:
    """Return the claims about every fleet, then those of the task, each with what was seen."""
    return [claim(evidence) for claim in (*FLEET_CLAIMS, *own)]


def open_receipts(evidence: Evidence[Any]) -> dict[str, types.Receipt]:
    """Return the receipts whose signature is their node's, by node id."""
    opened = {}
    for execution in evidence.executions:
        identity = evidence.identities[execution.node_id]
        try:
            opened[execution.node_id] = open_envelope(execution.receipt, types.Receipt, identity.receipt_public_key)
        except SignatureError:
            continue
    return opened


def _programmed(evidence: Evidence[Any]) -> Claim:
    joules = {
        node: sum(c.energy_j for c in status.costs if c.phase == types.ENERGY_PHASE_PROGRAM)
        for node, status in evidence.programmed.items()
    }
    return Claim(
        "every node programmed its own backbone",
        all(value > 0 for value in joules.values())
        and all(status.reram_writes > 0 for status in evidence.programmed.values()),
        per_node(joules, lambda value: f"{value * 1e3:.3g} mJ"),
    )


def _suppressed(evidence: Evidence[Any]) -> Claim:
    outage = evidence.outage
    connected = set(evidence.identities) - {outage.node_id}
    return Claim(
        "every connected node suppressed at once while one node was dead",
        connected <= outage.suppressed_by and outage.node_id not in outage.suppressed_by,
        f"{', '.join(sorted(outage.suppressed_by))} in {evidence.forget.seconds_to_suppress:.2f} s "
        f"({outage.node_id}, process {outage.killed_pid}, was dead)",
    )


def _backbone_only(evidence: Evidence[Any]) -> Claim:
    probe_answers = evidence.outage.probe_answers
    generation = evidence.forget.generation
    behind = [s for s in probe_answers if s.generation < generation]
    early = [s for s in probe_answers if s.backbone_only]
    wrong = [s for s in behind if not s.backbone_only or s.named]
    last = probe_answers[-1] if probe_answers else None
    return Claim(
        "the restarted node answered by its backbone alone until it had caught up",
        bool(behind)
        and not wrong
        and last is not None
        and not last.backbone_only
        and last.generation >= generation
        and not any(s.named_forgotten or (s.backbone_only and s.named) for s in probe_answers),
        f"{len(early)} answers without adapters, {len(behind)} of them behind the log; "
        + (f"first answer at {probe_answers[0].at_s:.1f} s, serving at {last.at_s:.1f} s" if last else "no answer"),
    )


def _converged(evidence: Evidence[Any]) -> Claim:
    states = {execution.node_id: execution.state for execution in evidence.executions}
    return Claim(
        "the forget was verified on every node",
        evidence.forget.state == CampaignState.CONVERGED
        and set(states) == set(evidence.identities)
        and all(state in SUCCESS for state in states.values()),
        per_node(states, str) + f"; {evidence.forget.seconds_to_verify:.1f} s from the command on",
    )


def _revision(evidence: Evidence[Any]) -> Claim:
    seen = {(s.revision, s.revision_digest) for s in evidence.status_after.values()}
    return Claim(
        "all nodes run one and the same revision",
        len(seen) == 1,
        ", ".join(f"revision {number} {digest.hex()[:12]}" for number, digest in sorted(seen)),
    )


def _receipts(evidence: Evidence[Any]) -> Claim:
    opened = open_receipts(evidence)
    problems = [
        node
        for node in evidence.identities
        if node not in opened
        or opened[node].node_id != node
        or opened[node].generation != evidence.forget.generation
        or opened[node].campaign_id != evidence.forget.campaign_id
    ]
    return Claim(
        "every node's receipt bears that node's own signature",
        not problems,
        f"{len(opened)} of {len(evidence.identities)} signatures hold"
        + (f"; wrong: {', '.join(problems)}" if problems else ""),
    )


def _erased(evidence: Evidence[Any]) -> Claim:
    opened = open_receipts(evidence)
    held_data = evidence.enrolled_on[evidence.forgotten_person]
    return Claim(
        "the nodes that captured the person's samples destroyed samples and keys",
        all(
            node in opened and opened[node].code_samples_erased > 0 and opened[node].keys_destroyed > 0
            for node in held_data
        ),
        per_node(
            {node: opened[node] for node in held_data if node in opened},
            lambda r: f"{r.code_samples_erased} samples, {r.keys_destroyed} keys",
        ),
    )


def _no_writes(evidence: Evidence[Any]) -> Claim:
    opened = open_receipts(evidence)
    moved = {
        node: evidence.status_after[node].reram_writes - evidence.status_before[node].reram_writes
        for node in evidence.status_after
    }
    return Claim(
        "the forget wrote no ReRAM cell",
        all(value == 0 for value in moved.values())
        and all(node in opened and opened[node].reram_writes == 0 for node in moved),
        per_node(moved, lambda value: f"{value} writes"),
    )


def _overhead(evidence: Evidence[Any]) -> Claim:
    found = {node: status.overhead for node, status in evidence.status_after.items()}
    return Claim(
        "deploying the repaired revision wrote no cell and cost less than re-programming it",
        all(
            o.energy_j > 0
            and o.cell_writes == 0 < o.reprogramming_cell_writes
            and o.reprogramming_ratio > 1
            and o.reprogramming_ratio_with_radio > 1
            for o in found.values()
        ),
        per_node(
            found,
            lambda o: (
                f"re-programming takes {o.reprogramming_ratio:.3g} times the energy on the chip "
                f"({o.reprogramming_ratio_with_radio:.4g} with the radio on both sides) "
                f"and {o.reprogramming_cell_writes} writes"
            ),
        ),
    )


def _certificate(evidence: Evidence[Any]) -> Claim:
    failed = failures(evidence.certificate)
    return Claim(
        "an auditor who has the coordinator's key alone can check the certificate offline",
        bool(evidence.certificate) and not failed,
        "; ".join(map(str, failed)) or f"{len(evidence.certificate)} lines, all hold",
    )


def _metrics(evidence: Evidence[Any]) -> Claim:
    return Claim(
        "the forget shows in the metrics of coordinator and nodes",
        bool(evidence.metrics_moved)
        and all(after == before + 1 == evidence.forget.generation for before, after in evidence.metrics_moved.values()),
        per_node(evidence.metrics_moved, lambda pair: f"{pair[0]:g} -> {pair[1]:g}"),
    )


def verdicts(evidence: Evidence[Any]) -> dict[str, str]:
    """Return the verdict on each kind of adapter."""
    return {v.adapter_kind: verdict_name(v.verdict) for v in evidence.forget.verdicts}


def verdicts_text(evidence: Evidence[Any]) -> str:
    """Return the verdicts as a claim tells them."""
    return ", ".join(f"{kind} {verdict}" for kind, verdict in sorted(verdicts(evidence).items())) or "no verdicts"


def per_node(values: Mapping[str, T], text: Callable[[T], str]) -> str:
    """Return the figure of every node; nodes with the same one share it."""
    groups: dict[str, list[str]] = {}
    for node, value in sorted(values.items()):
        groups.setdefault(text(value), []).append(node)
    if len(groups) == 1 and len(values) > 1:
        return f"all {len(values)}: {next(iter(groups))}"
    return "; ".join(f"{', '.join(nodes)} {figure}" for figure, nodes in groups.items())


FLEET_CLAIMS: tuple[Callable[[Evidence[Any]], Claim], ...] = (
    _programmed,
    _suppressed,
    _backbone_only,
    _converged,
    _revision,
    _receipts,
    _erased,
    _no_writes,
    _overhead,
    _certificate,
    _metrics,
)
