"""The stable JSON form of what a coordinator answers.

Names are those of the wire contract; digests are hexadecimal; enumerations are lower-case
words. Fields are added, never renamed, under one `API_VERSION`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from reram_fleet.processes.flower import JOB_NAMES
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types

API_VERSION = "reram-fleet/v1"

Document = dict[str, Any]


def document(kind: str, **fields: Any) -> Document:
    """Return a document of this kind, with the version that its reader may rely on."""
    return {"api_version": API_VERSION, "kind": kind, **fields}


def phase_name(phase: int) -> str:
    """Return `program`, `infer`, `train`, `erase`, `verify` or `radio`."""
    return types.EnergyPhase.Name(phase).removeprefix("ENERGY_PHASE_").lower()


def serve_state_name(state: int) -> str:
    """Return `serving`, `quarantined` or `unspecified`."""
    return types.ServeState.Name(state).removeprefix("SERVE_STATE_").lower()


def quarantine_name(reason: int) -> str | None:
    """Return why a node is quarantined, or None."""
    name = types.QuarantineReason.Name(reason).removeprefix("QUARANTINE_REASON_").lower()
    return None if name == "unspecified" else name


def verdict_name(verdict: int) -> str:
    """Return `EXACT`, `APPROXIMATE` or `NOTHING HELD`."""
    return operator.VerdictClass.Name(verdict).removeprefix("VERDICT_CLASS_").replace("_", " ")


def kind_name(kind: types.LearningKind) -> str:
    """Return a learning kind's name, for instance `train.lora`."""
    return JOB_NAMES.get(kind, "unspecified")


def costs_document(costs: Iterable[types.PhaseCost]) -> Document:
    """Return energy, time, bytes and cell writes by phase."""
    return {
        phase_name(cost.phase): {
            "energy_j": cost.energy_j,
            "seconds": cost.seconds,
            "bytes": cost.bytes,
            "cell_writes": cost.cell_writes,
        }
        for cost in costs
    }


def energy_model_document(model: types.EnergyModel) -> Document:
    """Return name and version of the model behind the joules."""
    return {"name": model.name, "version": model.version}


def overhead_document(overhead: types.DeploymentOverhead) -> Document:
    """Return what making the active revision active cost, beside re-programming the same change."""
    return {
        "energy_j": overhead.energy_j,
        "seconds": overhead.seconds,
        "bytes": overhead.bytes,
        "cell_writes": overhead.cell_writes,
        "radio_energy_j": overhead.radio_energy_j,
        "reprogramming_ratio": overhead.reprogramming_ratio,
        "reprogramming_ratio_with_radio": overhead.reprogramming_ratio_with_radio,
        "reprogramming_energy_j": overhead.reprogramming_energy_j,
        "reprogramming_seconds": overhead.reprogramming_seconds,
        "reprogramming_cell_writes": overhead.reprogramming_cell_writes,
    }


def fleet_document(fleet: operator.GetFleetResponse) -> Document:
    """Return the fleet's totals."""
    return {
        "fleet_id": fleet.fleet_id,
        "version": fleet.version,
        "generation": fleet.generation,
        "revision": fleet.revision,
        "revision_digest": fleet.revision_digest.hex(),
        "nodes_registered": fleet.nodes_registered,
        "nodes_connected": fleet.nodes_connected,
        "subjects": fleet.subjects,
        "forgets_open": fleet.forgets_open,
        "superlink": fleet.superlink,
        "superlink_address": fleet.superlink_address,
        "log_size": fleet.log_size,
        "log_root": fleet.log_root.hex(),
        "command_public_key": fleet.command_public_key.hex(),
    }


def node_document(node: operator.Node) -> Document:
    """Return a node as the coordinator sees it."""
    return {
        "node_id": node.node_id,
        "connected": node.connected,
        "last_contact_unix_ms": node.last_contact_unix_ms,
        "generation": node.generation,
        "revision": node.revision,
        # What a node out of reach does now, nobody knows.
        "serve_state": serve_state_name(node.serve_state) if node.connected else "unknown",
        "last_serve_state": serve_state_name(node.serve_state),
        "quarantine_reason": quarantine_name(node.quarantine_reason),
        "held_reason": node.held_reason or None,
        "costs": costs_document(node.costs),
        "energy_model": energy_model_document(node.energy_model),
        "deployment_overhead": overhead_document(node.overhead),
        "inferences": node.inferences,
        "subject_adapters": node.subject_adapters,
        "flower_node_id": node.flower_node_id,
        "software_version": node.software_version,
        "lease_until_unix_ms": node.lease_until_unix_ms or None,
        "retired_at_unix_ms": node.retired_at_unix_ms or None,
        "quarantined_reports": node.quarantined_reports,
    }


def quarantined_document(report: operator.QuarantinedReport) -> Document:
    """Return reports of a node that were put aside for one reason."""
    return {
        "report": report.kind or None,
        "reason": report.reason,
        "count": report.count,
        "first_at_unix_ms": report.first_at_unix_ms,
        "last_at_unix_ms": report.last_at_unix_ms,
    }


def audit_event_document(envelope: types.Envelope) -> Document:
    """Return a decision about a node (the signature is not checked here)."""
    event = types.AuditEvent.FromString(envelope.payload)
    return {
        "event": types.AuditEventKind.Name(event.kind).removeprefix("AUDIT_EVENT_KIND_").lower(),
        "reason": event.reason,
        "at_unix_ms": event.at_unix_ms,
        "generation": event.generation,
        "campaign_id": event.campaign_id or None,
    }


def receipt_document(envelope: types.Envelope) -> Document | None:
    """Return the figures of a receipt (what the node claims; the signature is not checked here)."""
    if not envelope.payload:
        return None
    receipt = types.Receipt()
    try:
        receipt.ParseFromString(envelope.payload)
    except DecodeError:
        return {"sha256": hashlib.sha256(envelope.payload).hexdigest(), "readable": False}
    return {
        "sha256": hashlib.sha256(envelope.payload).hexdigest(),
        "key_id": envelope.key_id,
        "outcome": types.ReceiptOutcome.Name(receipt.outcome).removeprefix("RECEIPT_OUTCOME_").lower(),
        "counter": receipt.counter,
        "subject_adapters_erased": receipt.subject_adapters_erased,
        "lora_rows_erased": receipt.lora_rows_erased,
        "code_samples_erased": receipt.code_samples_erased,
        "keys_destroyed": receipt.keys_destroyed,
        "reram_writes": receipt.reram_writes,
        "suppress_seconds": receipt.suppress_seconds,
        "erase_seconds": receipt.erase_seconds,
        "costs": costs_document(receipt.costs),
        "energy_model": energy_model_document(receipt.energy_model),
        "statement": receipt.statement,
    }


def execution_document(execution: operator.Execution) -> Document:
    """Return a campaign's state on one node."""
    return {
        "campaign_id": execution.campaign_id,
        "node_id": execution.node_id,
        "generation": execution.generation,
        "state": execution.state,
        "detail": execution.detail or None,
        "updated_at_unix_ms": execution.updated_at_unix_ms,
        "receipt": receipt_document(execution.receipt),
    }


def forget_document(forget: operator.Forget) -> Document:
    """Return a campaign with its executions."""
    return {
        "campaign_id": forget.campaign_id,
        "request_id": forget.request_id,
        "generation": forget.generation,
        "state": forget.state,
        "created_at_unix_ms": forget.created_at_unix_ms,
        "verdicts": {v.adapter_kind: {"verdict": verdict_name(v.verdict), "basis": v.basis} for v in forget.verdicts},
        "repair_job_id": forget.repair_job_id or None,
        "seconds_to_suppress": forget.seconds_to_suppress if forget.HasField("seconds_to_suppress") else None,
        "seconds_to_verify": forget.seconds_to_verify if forget.HasField("seconds_to_verify") else None,
        "costs": costs_document(forget.costs),
        "reram_writes": forget.reram_writes,
        "energy_model": energy_model_document(forget.energy_model),
        "executions": [execution_document(e) for e in forget.executions],
        "excepted_node_ids": list(forget.excepted_node_ids),
        "may_serve": [
            {
                "node_id": node.node_id,
                "until_unix_ms": node.until_unix_ms,
                "last_contact_unix_ms": node.last_contact_unix_ms or None,
            }
            for node in forget.may_serve
        ],
    }


def cohort_document(shard: operator.CohortShard) -> Document:
    """Return a cohort shard: everything that decides its rows, but for what nodes have captured."""
    audit = shard.audit
    return {
        "shard": shard.shard,
        "rounds": shard.rounds,
        "entries": {member.subject_tag: member.entry for member in shard.members},
        "log": [
            {"nodes": dict(sorted(entry.nodes.items())), "inputs": entry.inputs, "rewritten": entry.rewritten}
            for entry in shard.log
        ],
        "digest": shard.digest.hex() or None,
        "replay_from": shard.replay_from if shard.HasField("replay_from") else None,
        "replay_job_id": shard.replay_job_id or None,
        "audit": {
            "state": audit.state,
            "job_id": audit.job_id or None,
            "lines": [{"name": x.name, "holds": x.holds, "expected": x.expected, "got": x.got} for x in audit.lines],
            "detail": audit.detail or None,
        },
    }


def job_document(job: operator.LearningJob) -> Document:
    """Return a learning job."""
    return {
        "job_id": job.job_id,
        "request_id": job.request_id,
        "type": kind_name(job.kind),
        "state": job.state,
        "attempt": job.attempt,
        "rounds": job.rounds,
        "rounds_done": job.rounds_done,
        "generation": job.generation,
        "created_at_unix_ms": job.created_at_unix_ms,
        "error": job.error or None,
        "flower_run_id": job.flower_run_id or None,
        "revision": job.revision or None,
        "campaign_id": job.campaign_id or None,
        "shard": job.shard if job.HasField("shard") else None,
        "metrics": dict(job.metrics),
    }
