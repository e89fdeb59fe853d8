"""The stable JSON form of what a coordinator answers.

Names are those of the wire contract; digests are hexadecimal; enumerations are lower-case
words. Fields are added, never renamed, under one `API_VERSION`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1 import types_pb2 as types

from fleet.domain.learning import JobKind

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

API_VERSION = "reram-fleet/v1"

_JOB_NAMES = {types.LearningKind.Value(f"LEARNING_KIND_{kind.name}"): kind.value for kind in JobKind}

Document = dict[str, Any]


def document(kind: str, **fields: Any) -> Document:
    """Return a document of this kind, with the version that its reader may rely on."""
    return {"api_version": API_VERSION, "kind": kind, **fields}


def fields(message: Message, *names: str, or_none: bool = False) -> Document:
    """Return some fields under their names on the wire; bytes as hexadecimal; empty ones as None if asked for."""
    found = {name: getattr(message, name) for name in names}
    plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in found.items()}
    return {name: value or None for name, value in plain.items()} if or_none else plain


def enum_word(enum: EnumTypeWrapper, value: int) -> str:
    """Return a value of an enumeration in lower case, without the prefix that all values share."""
    prefix = enum.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return enum.Name(value).removeprefix(prefix).lower()


def phase_name(phase: int) -> str:
    """Return `program`, `infer`, `train`, `erase`, `verify` or `radio`."""
    return enum_word(types.EnergyPhase, phase)


def serve_state_name(state: int) -> str:
    """Return `serving`, `quarantined` or `unspecified`."""
    return enum_word(types.ServeState, state)


def quarantine_name(reason: int) -> str | None:
    """Return why a node is quarantined, or None."""
    return enum_word(types.QuarantineReason, reason) if reason else None


def verdict_name(verdict: int) -> str:
    """Return the word of a verdict, e.g. `EXACT` or `NOTHING HELD`."""
    return enum_word(operator.VerdictClass, verdict).upper().replace("_", " ")


def job_name(kind: types.LearningKind) -> str:
    """Return the name of a kind of learning job, for instance `train.lora`."""
    return _JOB_NAMES.get(kind, "unspecified")


def costs_document(costs: Iterable[types.PhaseCost]) -> Document:
    """Return energy, time, bytes and cell writes by phase."""
    return {phase_name(cost.phase): fields(cost, "energy_j", "seconds", "bytes", "cell_writes") for cost in costs}


def energy_model_document(model: types.EnergyModel) -> Document:
    """Return name and version of the model behind the joules."""
    return fields(model, "name", "version")


def overhead_document(overhead: types.DeploymentOverhead) -> Document:
    """Return what making the active revision active cost, beside re-programming the same change."""
    return fields(overhead, *types.DeploymentOverhead.DESCRIPTOR.fields_by_name)


def fleet_document(fleet: operator.GetFleetResponse) -> Document:
    """Return the fleet's totals."""
    return {
        **fields(fleet, "fleet_id", "version", "generation", "revision", "revision_digest"),
        **fields(fleet, "nodes_registered", "nodes_connected", "nodes_serving", "subjects", "forgets_open"),
        **fields(fleet, "superlink", "superlink_address", "log_size", "log_root", "command_public_key"),
        **fields(fleet, "nodes_awaited", "metrics_address"),
        **fields(fleet, "restored_at_unix_ms", or_none=True),
    }


def node_document(node: operator.Node) -> Document:
    """Return a node as the coordinator sees it."""
    return {
        **fields(node, "node_id", "connected", "last_contact_unix_ms", "generation", "revision"),
        # What a node out of reach does now, nobody knows.
        "serve_state": serve_state_name(node.serve_state) if node.connected else "unknown",
        "last_serve_state": serve_state_name(node.serve_state),
        "quarantine_reason": quarantine_name(node.quarantine_reason),
        "costs": costs_document(node.costs),
        "energy_model": energy_model_document(node.energy_model),
        "deployment_overhead": overhead_document(node.overhead),
        **fields(node, "inferences", "subject_adapters", "flower_node_id", "software_version", "quarantined_reports"),
        **fields(node, "held_reason", "lease_until_unix_ms", "retired_at_unix_ms", or_none=True),
        **fields(node, "awaited_since_unix_ms", or_none=True),
    }


def quarantined_document(report: operator.QuarantinedReport) -> Document:
    """Return reports of a node that were put aside for one reason."""
    return {
        "report": report.kind or None,
        **fields(report, "reason", "count", "first_at_unix_ms", "last_at_unix_ms"),
    }


def audit_event_document(envelope: types.Envelope) -> Document:
    """Return a decision about a node (the signature is not checked here)."""
    event = types.AuditEvent.FromString(envelope.payload)
    return {
        "event": enum_word(types.AuditEventKind, event.kind),
        **fields(event, "reason", "at_unix_ms", "generation"),
        **fields(event, "campaign_id", or_none=True),
    }


def erased_document(receipt: types.Receipt) -> Document:
    """Return how long a node took to forget, and the counts of what it erased."""
    counts = ("subject_adapters_erased", "lora_rows_erased", "code_samples_erased", "keys_destroyed")
    return {**fields(receipt, "suppress_seconds", "erase_seconds", *counts), "costs": costs_document(receipt.costs)}


def receipt_document(envelope: types.Envelope) -> Document | None:
    """Return the figures of a receipt (what the node claims; the signature is not checked here)."""
    if not envelope.payload:
        return None
    sha256 = hashlib.sha256(envelope.payload).hexdigest()
    receipt = types.Receipt()
    try:
        receipt.ParseFromString(envelope.payload)
    except DecodeError:
        return {"sha256": sha256, "readable": False}
    return {
        "sha256": sha256,
        "key_id": envelope.key_id,
        "outcome": enum_word(types.ReceiptOutcome, receipt.outcome),
        **erased_document(receipt),
        **fields(receipt, "counter", "reram_writes", "statement"),
        "energy_model": energy_model_document(receipt.energy_model),
    }


def execution_document(execution: operator.Execution) -> Document:
    """Return a campaign's state on one node."""
    return {
        **fields(execution, "campaign_id", "node_id", "generation", "state", "updated_at_unix_ms"),
        **fields(execution, "detail", or_none=True),
        "receipt": receipt_document(execution.receipt),
    }


def forget_document(forget: operator.Forget) -> Document:
    """Return the summary of a campaign."""
    seconds = ("seconds_to_suppress", "seconds_to_verify")
    return {
        **fields(forget, "campaign_id", "request_id", "generation", "state", "created_at_unix_ms"),
        "verdicts": {v.adapter_kind: {"verdict": verdict_name(v.verdict), "basis": v.basis} for v in forget.verdicts},
        "concepts": list(forget.concepts),
        "repair_job_id": forget.repair_job_id or None,
        **{name: getattr(forget, name) if forget.HasField(name) else None for name in seconds},
        "costs": costs_document(forget.costs),
        "reram_writes": forget.reram_writes,
        "energy_model": energy_model_document(forget.energy_model),
        "counts": {count.state: count.nodes for count in forget.counts},
        "examples": [execution_document(e) for e in forget.examples],
        "excepted_node_ids": list(forget.excepted_node_ids),
        "may_serve": [
            {**fields(node, "node_id", "until_unix_ms"), **fields(node, "last_contact_unix_ms", or_none=True)}
            for node in forget.may_serve
        ],
    }


def cohort_document(shard: operator.CohortShard) -> Document:
    """Return a cohort shard: everything that decides its rows, but for what nodes have captured."""
    return {
        **fields(shard, "shard", "rounds"),
        "entries": {member.subject_tag: member.entry for member in shard.members},
        "log": [{"nodes": list(entry.nodes), **fields(entry, "inputs", "rewritten")} for entry in shard.log],
        **fields(shard, "digest", "replay_job_id", or_none=True),
        "replay_from": shard.replay_from if shard.HasField("replay_from") else None,
        "audit": {
            "state": shard.audit.state,
            **fields(shard.audit, "job_id", "detail", or_none=True),
            "lines": [fields(line, "name", "holds", "expected", "got") for line in shard.audit.lines],
        },
    }


def job_document(job: operator.LearningJob) -> Document:
    """Return a learning job."""
    return {
        **fields(job, "job_id", "request_id", "state", "attempt", "rounds", "rounds_done", "generation"),
        **fields(job, "created_at_unix_ms"),
        "type": job_name(job.kind),
        **fields(job, "error", "flower_run_id", "revision", "campaign_id", or_none=True),
        "shard": job.shard if job.HasField("shard") else None,
        "metrics": dict(job.metrics),
    }
