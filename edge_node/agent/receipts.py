"""The receipt: what a node states, and signs, of one forget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from reram_fleet.crypto import digests
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import EraseOrder

from edge_node.agent.telemetry import phase_costs
from edge_node.storage.journal_schema import ErasureRow, ForgetRow, Position
from hwmodel import Cost, Phase

STATEMENT = "no other copy of the erased adapters exists on this node"
SOFTWARE_VERSION = version("reram-fleet")


@dataclass(frozen=True)
class Evidence:
    """What the engine shows after the erase: active adapters, LoRA, head, and how it answered the probes."""

    active_adapters: Sequence[types.AdapterDigest]
    lora_digest: bytes
    head_digest: bytes
    revision_digest: bytes
    probe_tags: Sequence[str]
    costs: Mapping[Phase, Cost]
    energy_model: types.EnergyModel
    erase_seconds: float


def build_receipt(
    *,
    fleet_id: str,
    node_id: str,
    forget: ForgetRow,
    erasure: ErasureRow,
    order: EraseOrder,
    position: Position,
    evidence: Evidence,
    unix_ms: int,
) -> types.Receipt:
    """Return the receipt of one forget on this node, next in the node's chain.

    The outcome is NOT_AFFECTED only if the node held nothing of those named: neither when it suppressed
    them nor when it erased.
    """
    keys_destroyed = len(erasure.subject_keys) + len(erasure.revision_keys)
    affected = forget.subject_adapters or forget.lora_rows or forget.code_samples or erasure.subject_keys
    return types.Receipt(
        fleet_id=fleet_id,
        node_id=node_id,
        campaign_id=forget.campaign_id,
        generation=forget.generation,
        command_hash=forget.payload_hash,
        outcome=types.RECEIPT_OUTCOME_ERASED if affected else types.RECEIPT_OUTCOME_NOT_AFFECTED,
        counter=position.receipt_counter + 1,
        previous_receipt_hash=position.last_receipt_hash,
        adapters_digest_before=forget.digest_before,
        adapters_digest_after=digests.adapters_digest(
            evidence.active_adapters, evidence.lora_digest, evidence.head_digest
        ),
        active_adapters=evidence.active_adapters,
        lora_digest=evidence.lora_digest,
        head_digest=evidence.head_digest,
        revision_digest=evidence.revision_digest,
        subject_adapters_erased=forget.subject_adapters,
        lora_rows_erased=forget.lora_rows,
        code_samples_erased=forget.code_samples,
        keys_destroyed=keys_destroyed,
        costs=phase_costs(evidence.costs),
        energy_model=evidence.energy_model,
        reram_writes=sum(cost.cell_writes for cost in evidence.costs.values()),
        challenge_nonce=order.challenge_nonce,
        probe_results=[types.ProbeResult(subject_tag=tag) for tag in evidence.probe_tags],
        suppress_seconds=forget.suppress_seconds,
        erase_seconds=evidence.erase_seconds,
        finished_at_unix_ms=unix_ms,
        software_version=SOFTWARE_VERSION,
        statement=STATEMENT,
    )
