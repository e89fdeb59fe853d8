"""What the demo claims, each checked against the evidence. Pure.

Claims about the fleet hold for every task (public functions); those about recognition are here as well, those
about drawing in `drawing_claims`. A demo is checked against a list of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reram_fleet.crypto.signing import SignatureError, open_envelope
from reram_fleet.processes.flower import MESSAGE_TYPES
from reram_fleet.v1 import types_pb2 as types

from fleet.documents import verdict_name
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import SUCCESS
from fleet.domain.learning import JobKind, JobState
from fleet.lab.demo.evidence import Evidence, FleetEvidence, Quality
from fleet.trust.checks import failures

#: Least closed-set accuracy on the kept people, before and after.
LEAST_RETAIN_ACCURACY = 0.95
#: How much more often than a stranger the forgotten person may be accepted.
ACCEPTANCE_MARGIN = 0.05
#: ... unless so few samples cannot tell: one of a person's five photos is 20 points. One-sided exact test.
ACCEPTANCE_CHANCE = 0.01

T = TypeVar("T")
E = TypeVar("E", bound=FleetEvidence)

_VERDICTS = {"subject-adapter": "EXACT", "closed-form-head": "EXACT", "shared-lora": "APPROXIMATE"}


@dataclass(frozen=True)
class Claim:
    """One sentence, whether it holds, and the figures behind it."""

    name: str
    holds: bool
    detail: str


def check(evidence: Evidence) -> list[Claim]:
    """Return all claims of a demo that recognises, in the order in which it shows them."""
    return check_all(evidence, _CLAIMS)


def check_all(evidence: E, claims: Sequence[Callable[[E], Claim]]) -> list[Claim]:
    """Return these claims, each with what was seen."""
    return [claim(evidence) for claim in claims]


def open_receipts(evidence: FleetEvidence) -> dict[str, types.Receipt]:
    """Return the receipts whose signature is their node's, by node id."""
    opened = {}
    for execution in evidence.forget.executions:
        identity = evidence.identities[execution.node_id]
        try:
            opened[execution.node_id] = open_envelope(execution.receipt, types.Receipt, identity.receipt_public_key)
        except SignatureError:
            continue
    return opened


def programmed(evidence: FleetEvidence) -> Claim:
    """Every chip was written once, at the start."""
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


def revision(evidence: FleetEvidence) -> Claim:
    """What is active is the same everywhere."""
    seen = {(s.revision, s.revision_digest) for s in evidence.status_after.values()}
    return Claim(
        "all nodes run one and the same revision",
        len(seen) == 1,
        ", ".join(f"revision {number} {digest.hex()[:12]}" for number, digest in sorted(seen)),
    )


def _trained(evidence: Evidence) -> Claim:
    job = evidence.train_job
    return Claim(
        "the LoRA was trained by a Flower run",
        job.state == JobState.SUCCEEDED and job.rounds_done == job.rounds and job.flower_run_id != 0,
        f"run {job.flower_run_id}, {job.rounds_done} of {job.rounds} rounds, attempt {job.attempt}",
    )


def _retain(evidence: Evidence) -> Claim:
    return Claim(
        f"kept people are recognised before and after (at least {LEAST_RETAIN_ACCURACY:.2f} on every node)",
        all(
            quality.retain_accuracy >= LEAST_RETAIN_ACCURACY and not quality.backbone_only
            for quality in [*evidence.before.values(), *evidence.after.values()]
        ),
        per_node(
            {
                node: (evidence.before[node].retain_accuracy, evidence.after[node].retain_accuracy)
                for node in evidence.after
            },
            lambda pair: f"{pair[0]:.3f} -> {pair[1]:.3f}",
        ),
    )


def suppressed(evidence: FleetEvidence) -> Claim:
    """Nobody connected waited."""
    outage = evidence.outage
    connected = set(evidence.identities) - {outage.node_id}
    return Claim(
        "every connected node suppressed at once while one node was dead",
        connected <= outage.suppressed_by and outage.node_id not in outage.suppressed_by,
        f"{', '.join(sorted(outage.suppressed_by))} in {evidence.forget.seconds_to_suppress:.2f} s "
        f"({outage.node_id}, process {outage.killed_pid}, was dead)",
    )


def _silent(evidence: Evidence) -> Claim:
    return Claim(
        "once suppressed, no node names the forgotten person, though erasure is still going on",
        evidence.outage.leaked_meanwhile == 0,
        f"{evidence.outage.leaked_meanwhile} samples named",
    )


def backbone_only(evidence: FleetEvidence) -> Claim:
    """Nothing stale was served."""
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


def _forgotten(evidence: Evidence) -> Claim:
    return Claim(
        "no node recognises the forgotten person any more",
        all(
            q.forget_accuracy == q.forget_accuracy_subject_only == q.forget_accuracy_without_head == 0
            for q in evidence.after.values()
        )
        and all(q.forget_accuracy > 0 for q in evidence.before.values()),
        per_node(
            {n: (evidence.before[n].forget_accuracy, evidence.after[n].forget_accuracy) for n in evidence.after},
            lambda pair: f"{pair[0]:.3f} -> {pair[1]:.3f}",
        ),
    )


def _stranger(evidence: Evidence) -> Claim:
    return Claim(
        "the forgotten person is accepted no more often than strangers, or than they were before they were "
        f"enrolled (+ {ACCEPTANCE_MARGIN:.2f}, or within chance at {ACCEPTANCE_CHANCE:.0%})",
        all(_like_a_stranger(q, evidence.never_enrolled[n]) for n, q in evidence.after.items()),
        per_node(
            {
                n: (q.forget_accept_rate, q.stranger_accept_rate, evidence.never_enrolled[n])
                for n, q in evidence.after.items()
            },
            lambda rates: f"{rates[0]:.3f} against {rates[1]:.3f}, and {rates[2]:.3f} before",
        ),
    )


def _like_a_stranger(quality: Quality, never_enrolled: float) -> bool:
    # Some people resemble somebody who stays: they were taken for them before, and will be again.
    usual = max(quality.stranger_accept_rate, never_enrolled)
    if quality.forget_accept_rate <= usual + ACCEPTANCE_MARGIN:
        return True
    samples, strange = quality.forget_samples, quality.stranger_samples
    accepted = round(quality.forget_accept_rate * samples)
    together = accepted + round(quality.stranger_accept_rate * strange)
    # Fisher's exact test: of all samples that were accepted, as many or more are the forgotten person's, if
    # nothing tells theirs from strangers'. The strangers' rate is of a sample, too: it may be 0 by chance.
    chance = sum(
        math.comb(samples, k) * math.comb(strange, together - k) for k in range(accepted, min(samples, together) + 1)
    ) / math.comb(samples + strange, together)
    return chance >= ACCEPTANCE_CHANCE


def chance_of_more(hits: int, trials: int, rate: float) -> float:
    """Return how likely so many hits or more are in independent trials of this rate (binomial, exact)."""
    return sum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(hits, trials + 1))


def _repaired(evidence: Evidence) -> Claim:
    repair = next((job for job in evidence.jobs if job.job_id == evidence.forget.repair_job_id), None)
    if repair is None:
        return Claim("the shared LoRA was repaired by a Flower run", False, "the campaign names no repair job")
    kind = MESSAGE_TYPES.get(repair.kind)
    return Claim(
        "the shared LoRA was repaired by a Flower run",
        kind == JobKind.UNLEARN_LORA and repair.state == JobState.SUCCEEDED,
        f"run {repair.flower_run_id} ({kind}), {repair.state}",
    )


def _listed(evidence: Evidence) -> Claim:
    listed = {run.run_id: run.status for run in evidence.flower_runs}
    wanted = {job.flower_run_id for job in evidence.jobs if job.state == JobState.SUCCEEDED}
    return Claim(
        "`flwr ls` lists both jobs as finished",
        len(wanted) >= 2 and all(listed.get(run) == "finished:completed" for run in wanted),
        ", ".join(f"{run_id} {status}" for run_id, status in listed.items()) or "no runs",
    )


def converged(evidence: FleetEvidence) -> Claim:
    """Every execution has ended well."""
    states = {execution.node_id: execution.state for execution in evidence.forget.executions}
    return Claim(
        "the forget was verified on every node",
        evidence.forget.state == CampaignState.CONVERGED
        and set(states) == set(evidence.identities)
        and all(state in SUCCESS for state in states.values()),
        per_node(states, str) + f"; {evidence.forget.seconds_to_verify:.1f} s from the command on",
    )


def receipts(evidence: FleetEvidence) -> Claim:
    """Who says so is the node itself."""
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


def erased(evidence: FleetEvidence) -> Claim:
    """What was captured is gone with its keys."""
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


def no_writes(evidence: FleetEvidence) -> Claim:
    """Forgetting wears no cell."""
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


def overhead(evidence: FleetEvidence) -> Claim:
    """SRAM instead of ReRAM."""
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


def _verdicts(evidence: Evidence) -> Claim:
    found = {v.adapter_kind: verdict_name(v.verdict) for v in evidence.forget.verdicts}
    return Claim(
        "subject adapter and head are forgotten exactly, the shared LoRA approximately, and told apart",
        found == _VERDICTS,
        ", ".join(f"{kind} {verdict}" for kind, verdict in sorted(found.items())) or "no verdicts",
    )


def certificate(evidence: FleetEvidence) -> Claim:
    """The proof holds without the fleet."""
    failed = failures(evidence.certificate)
    return Claim(
        "an auditor who has the coordinator's key alone can check the certificate offline",
        bool(evidence.certificate) and not failed,
        "; ".join(map(str, failed)) or f"{len(evidence.certificate)} lines, all hold",
    )


def metrics(evidence: FleetEvidence) -> Claim:
    """Whoever is on call sees it."""
    return Claim(
        "the forget shows in the metrics of coordinator and nodes",
        bool(evidence.metrics_moved)
        and all(after == before + 1 == evidence.forget.generation for before, after in evidence.metrics_moved.values()),
        per_node(evidence.metrics_moved, lambda pair: f"{pair[0]:g} -> {pair[1]:g}"),
    )


def per_node(values: Mapping[str, T], text: Callable[[T], str]) -> str:
    """Return the figure of every node; nodes with the same one share it."""
    groups: dict[str, list[str]] = {}
    for node, value in sorted(values.items()):
        groups.setdefault(text(value), []).append(node)
    if len(groups) == 1 and len(values) > 1:
        return f"all {len(values)}: {next(iter(groups))}"
    return "; ".join(f"{', '.join(nodes)} {figure}" for figure, nodes in groups.items())


_CLAIMS: tuple[Callable[[Evidence], Claim], ...] = (
    programmed,
    _trained,
    suppressed,
    _silent,
    backbone_only,
    _repaired,
    _listed,
    converged,
    revision,
    receipts,
    erased,
    _retain,
    _forgotten,
    _stranger,
    no_writes,
    overhead,
    _verdicts,
    certificate,
    metrics,
)
