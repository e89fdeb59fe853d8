"""Rows that repositories return; times are Unix ms, and envelopes, adapters and overheads the exact bytes as given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.domain.campaign import CampaignState
from fleet.domain.execution import ExecutionState, HeldAtCommit
from fleet.domain.learning import JobKind, JobState
from fleet.domain.node import EnergyPhase, QuarantineReason, ServeState
from fleet.trust.checks import CheckLine


@dataclass(frozen=True)
class LeaderRow:
    """The coordinator that may write."""

    epoch: int
    holder: str
    since_ms: int


@dataclass(frozen=True)
class FleetRow:
    """The one row about the fleet itself."""

    fleet_id: str
    created_at_ms: int
    generation: int
    log_head: bytes
    desired_revision: int
    lease_sequence: int
    lease_horizon_ms: int | None
    task: str | None
    registry_public_key: bytes | None
    command_public_key: bytes | None
    restored_at_ms: int | None
    restore_ended_ms: int | None
    revision_floor: int | None


@dataclass(frozen=True)
class NodeRow:
    """A node as enrolled and as last heard of."""

    node_id: str
    receipt_public_key: bytes
    sealing_public_key: bytes
    flower_public_key: str
    flower_node_id: int | None
    enrolled_at_ms: int
    last_contact_ms: int | None
    generation: int
    log_head: bytes
    revision: int
    revision_digest: bytes
    serve_state: ServeState
    quarantine_reason: QuarantineReason
    held_reason: str
    receipt_counter: int
    last_receipt_hash: bytes
    software_version: str
    inferences: int
    subject_adapters: int
    overhead: bytes | None
    energy_model_name: str
    energy_model_version: str
    retired_at_ms: int | None
    lease_until_ms: int | None
    awaited_since_ms: int | None
    chip: bytes | None


@dataclass(frozen=True, slots=True)
class NodeFactsRow:
    """Columns of a `NodeRow` that metrics want: of thousands of nodes, the others would take time."""

    node_id: str
    generation: int
    revision: int
    held_reason: str
    last_contact_ms: int | None
    lease_until_ms: int | None
    awaited_since_ms: int | None
    inferences: int
    subject_adapters: int
    overhead: bytes | None
    chip: bytes | None
    energy_model_name: str
    energy_model_version: str


@dataclass(frozen=True)
class LeasedRow:
    """Lease of a node that may serve until it ends."""

    node_id: str
    lease_until_ms: int
    last_contact_ms: int


@dataclass(frozen=True)
class QuarantinedReportRow:
    """Reports of a node that were put aside for one reason."""

    node_id: str
    kind: str
    reason: str
    first_at_ms: int
    last_at_ms: int
    count: int


@dataclass(frozen=True)
class NodeCostRow:
    """Cost of one phase on one node: cumulative, or of one forget."""

    node_id: str
    phase: EnergyPhase
    energy_j: float
    seconds: float
    bytes: int
    cell_writes: int


@dataclass(frozen=True)
class CostSumRow:
    """Cost of one phase on many nodes."""

    phase: EnergyPhase
    energy_j: float
    seconds: float
    bytes: int
    cell_writes: int


@dataclass(frozen=True)
class LogRow:
    """One entry of the forget log; `envelope` is a serialised Envelope of a ForgetCommand."""

    generation: int
    campaign_id: str
    envelope: bytes


@dataclass(frozen=True)
class CampaignRow:
    """One forget, fleet-wide."""

    campaign_id: str
    request_id: str
    request_digest: bytes
    generation: int
    state: CampaignState
    created_at_ms: int
    suppressed_at_ms: int | None
    converged_at_ms: int | None
    repair_job_id: str | None
    lora_affected: bool
    version: int
    tags: tuple[str, ...]

    @property
    def seconds_to_suppress(self) -> float | None:
        """From the commit until all connected nodes had suppressed."""
        return None if self.suppressed_at_ms is None else (self.suppressed_at_ms - self.created_at_ms) / 1000

    @property
    def seconds_to_verify(self) -> float | None:
        """From the commit until the campaign converged."""
        return None if self.converged_at_ms is None else (self.converged_at_ms - self.created_at_ms) / 1000


@dataclass(frozen=True)
class ExecutionRow:
    """A campaign on one node."""

    campaign_id: str
    node_id: str
    #: Of the campaign.
    generation: int
    state: ExecutionState
    detail: str
    updated_at_ms: int
    challenge_nonce: bytes | None
    expected_probes: tuple[str, ...] | None
    receipt: bytes | None
    version: int
    checks: tuple[CheckLine, ...] = ()
    #: The node came after the commit.
    joined: bool = False
    #: Of the last erase orders, withdrawn ones among them, that no receipt has answered.
    open_challenges: tuple[bytes, ...] = ()
    held: HeldAtCommit | None = None
    #: How often the node went back to a backup since the commit.
    went_back: int = 0
    #: How often it was taken up again after the node was lost, and when the last time (Unix ms).
    returns: int = 0
    returned_at_ms: int | None = None


@dataclass(frozen=True)
class ReceiptRow:
    """An accepted receipt in figures; what a node erased is its own word."""

    campaign_id: str
    node_id: str
    payload_hash: bytes
    #: `fleet.trust.checks.checks_digest` of the lines that it was checked by.
    checks_digest: bytes
    subject_adapters_erased: int
    lora_rows_erased: int
    code_samples_erased: int
    reram_writes: int
    energy_model_name: str
    energy_model_version: str


@dataclass(frozen=True)
class CertifiedRow:
    """An execution as a certificate binds it: what was signed, by which key, and how that was checked."""

    node_id: str
    state: ExecutionState
    joined: bool
    receipt_public_key: bytes
    #: None without an accepted receipt.
    payload_hash: bytes | None
    checks_digest: bytes | None


@dataclass(frozen=True)
class ExecutionEventRow:
    """One step of an execution; `from_state` is None for its making."""

    event_id: int
    campaign_id: str
    node_id: str
    from_state: ExecutionState | None
    to_state: ExecutionState
    detail: str
    at_ms: int


@dataclass(frozen=True)
class SubjectRow:
    """A tag that the coordinator knows. A forgotten one stays, as a tombstone."""

    tag: str
    forgotten_generation: int | None
    canary: bool

    @property
    def forgotten(self) -> bool:
        """The tag carries a tombstone."""
        return self.forgotten_generation is not None


@dataclass(frozen=True)
class ContributionRow:
    """A person's integer sum from one node, under the key file of the tag."""

    tag: str
    node_id: str
    sequence: int
    count: int
    ciphertext: bytes


@dataclass(frozen=True)
class HeadStatisticsRow:
    """A person's packed statistics from one node, under the key file of the tag."""

    tag: str
    node_id: str
    sequence: int
    ciphertext: bytes


@dataclass(frozen=True)
class PublicCodesRow:
    """Codes that a node's chip makes of the public samples (PublicCodes, serialised)."""

    node_id: str
    content: bytes


@dataclass(frozen=True)
class HeadNoteRow:
    """Basis of the head of a revision; `error` is why it has none."""

    basis: bytes
    error: str


@dataclass(frozen=True)
class RevisionRow:
    """A revision; `ciphertext` is None once it was erased."""

    revision: int
    digest: bytes
    parent_digest: bytes
    built_at_generation: int
    manifest: bytes
    ciphertext: bytes | None
    key_id: str
    state: str
    has_lora: bool
    created_at_ms: int
    tags: tuple[str, ...]
    lora_tags: tuple[str, ...]


@dataclass(frozen=True)
class LearningJobRow:
    """A learning job and the checkpoint of its last finished round."""

    job_id: str
    request_id: str
    request_digest: bytes
    kind: JobKind
    state: JobState
    attempt: int
    rounds: int
    rounds_done: int
    generation: int
    campaign_id: str | None
    flower_run_id: int | None
    error: str
    sealed_state: bytes | None
    tags: tuple[str, ...]
    forget_tags: tuple[str, ...]
    revision: int | None
    metrics: Mapping[str, float]
    created_at_ms: int
    retry_at_ms: int | None


@dataclass(frozen=True)
class TreeLeafRow:
    """A leaf of the Merkle log."""

    leaf_index: int
    kind: str
    hash: bytes
    data: bytes
