"""The demo's JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from reram_fleet.v1.types_pb2 import Receipt

from fleet.documents import (
    Document,
    costs_document,
    document,
    energy_model_document,
    job_document,
    overhead_document,
    phase_name,
    serve_state_name,
    verdict_name,
)
from fleet.lab.demo.claims import Claim, open_receipts
from fleet.lab.demo.evidence import Evidence, FleetEvidence


def report(evidence: Evidence, claims: Sequence[Claim]) -> Document:
    """Return what `fleet demo --output` writes of a fleet that recognises."""
    receipts = open_receipts(evidence)
    return fleet_document(
        evidence,
        claims,
        nodes=[_node(evidence, node, receipts.get(node)) for node in sorted(evidence.status_after)],
        learning_jobs=[job_document(job) for job in evidence.jobs],
        flower_runs=[asdict(run) for run in evidence.flower_runs],
    )


def fleet_document(
    evidence: FleetEvidence, claims: Sequence[Claim], *, nodes: Sequence[Document], **further: object
) -> Document:
    """Return the document of a demo: what every task has, its nodes, and what else there is."""
    forget = evidence.forget
    return document(
        "DemoReport",
        fleet_id=evidence.fleet_id,
        ok=all(claim.holds for claim in claims),
        claims=[asdict(claim) for claim in claims],
        forgotten_person=evidence.forgotten_person,
        campaign_id=forget.campaign_id,
        generation=forget.generation,
        state=forget.state,
        seconds_to_suppress=forget.seconds_to_suppress,
        seconds_to_suppress_observed=evidence.outage.seconds_observed,
        seconds_to_verify=forget.seconds_to_verify,
        verdicts={v.adapter_kind: verdict_name(v.verdict) for v in forget.verdicts},
        verdict_basis={v.adapter_kind: v.basis for v in forget.verdicts},
        energy_model=energy_model_document(next(iter(evidence.status_after.values())).energy_model),
        forget_costs=costs_document(forget.costs),
        nodes=list(nodes),
        outage={
            "node_id": evidence.outage.node_id,
            "killed_pid": evidence.outage.killed_pid,
            "suppressed_meanwhile_by": sorted(evidence.outage.suppressed_by),
            "answers_after_restart": [asdict(probe_answer) for probe_answer in evidence.outage.probe_answers],
        },
        metrics={name: {"before": before, "after": after} for name, (before, after) in evidence.metrics_moved.items()},
        step_seconds=dict(evidence.step_seconds),
        **further,
    )


def _node(evidence: Evidence, node_id: str, receipt: Receipt | None) -> Document:
    before, after = evidence.before[node_id], evidence.after[node_id]
    return {
        **node_document(evidence, node_id, receipt),
        "retain_accuracy_before": before.retain_accuracy,
        "retain_accuracy_after": after.retain_accuracy,
        "forget_accuracy_before": before.forget_accuracy,
        "forget_accuracy_after": after.forget_accuracy,
        "forget_accept_rate_before": before.forget_accept_rate,
        "forget_accept_rate_after": after.forget_accept_rate,
        "stranger_accept_rate": after.stranger_accept_rate,
        "forget_accept_rate_never_enrolled": evidence.never_enrolled[node_id],
        "genuine_accept_rate": after.genuine_accept_rate,
        # The ablation: what the subject adapters do alone.
        "subject_adapters_only": {
            "retain_accuracy_before": before.retain_accuracy_subject_only,
            "retain_accuracy_after": after.retain_accuracy_subject_only,
            "forget_accuracy_after": after.forget_accuracy_subject_only,
        },
        # And what they do with the LoRA; the figures above are with the head as well.
        "without_head": {
            "retain_accuracy_before": before.retain_accuracy_without_head,
            "retain_accuracy_after": after.retain_accuracy_without_head,
            "forget_accuracy_after": after.forget_accuracy_without_head,
        },
        "head_digest": receipt.head_digest.hex() if receipt is not None else None,
        "accept_threshold": evidence.status_after[node_id].accept_threshold,
    }


def node_document(evidence: FleetEvidence, node_id: str, receipt: Receipt | None) -> Document:
    """Return what every task tells of a node: state, revision, costs, its forget."""
    status = evidence.status_after[node_id]
    execution = next((e for e in evidence.forget.executions if e.node_id == node_id), None)
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
        "forget": _forget(receipt) if receipt is not None else None,
    }


def _forget(receipt: Receipt) -> Document:
    return {
        "costs": costs_document(receipt.costs),
        "suppress_seconds": receipt.suppress_seconds,
        "erase_seconds": receipt.erase_seconds,
        "subject_adapters_erased": receipt.subject_adapters_erased,
        "lora_rows_erased": receipt.lora_rows_erased,
        "code_samples_erased": receipt.code_samples_erased,
        "keys_destroyed": receipt.keys_destroyed,
    }
