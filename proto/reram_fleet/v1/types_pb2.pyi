from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuditEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIT_EVENT_KIND_UNSPECIFIED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_NODE_ENROLLED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_NODE_HELD: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_NODE_RELEASED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_NODE_RETIRED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_NODE_RETRIED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_NODE_LOST: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_NODE_PASSED_OVER: _ClassVar[AuditEventKind]

class LearningKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEARNING_KIND_UNSPECIFIED: _ClassVar[LearningKind]
    LEARNING_KIND_TRAIN_LORA: _ClassVar[LearningKind]
    LEARNING_KIND_UNLEARN_LORA: _ClassVar[LearningKind]
    LEARNING_KIND_EVALUATE_QUALITY: _ClassVar[LearningKind]
    LEARNING_KIND_TRAIN_COHORT: _ClassVar[LearningKind]
    LEARNING_KIND_REPLAY_COHORT: _ClassVar[LearningKind]

class NeuronLaw(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NEURON_LAW_UNSPECIFIED: _ClassVar[NeuronLaw]
    NEURON_LAW_RECTIFIER: _ClassVar[NeuronLaw]
    NEURON_LAW_TANH: _ClassVar[NeuronLaw]

class SubjectAdapterKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUBJECT_ADAPTER_KIND_UNSPECIFIED: _ClassVar[SubjectAdapterKind]
    SUBJECT_ADAPTER_KIND_TRAINED: _ClassVar[SubjectAdapterKind]

class EnergyPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENERGY_PHASE_UNSPECIFIED: _ClassVar[EnergyPhase]
    ENERGY_PHASE_PROGRAM: _ClassVar[EnergyPhase]
    ENERGY_PHASE_INFER: _ClassVar[EnergyPhase]
    ENERGY_PHASE_TRAIN: _ClassVar[EnergyPhase]
    ENERGY_PHASE_ERASE: _ClassVar[EnergyPhase]
    ENERGY_PHASE_VERIFY: _ClassVar[EnergyPhase]
    ENERGY_PHASE_RADIO: _ClassVar[EnergyPhase]

class PaperRatio(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAPER_RATIO_UNSPECIFIED: _ClassVar[PaperRatio]
    PAPER_RATIO_TRAINING: _ClassVar[PaperRatio]
    PAPER_RATIO_DEPLOYMENT: _ClassVar[PaperRatio]
    PAPER_RATIO_INFERENCE: _ClassVar[PaperRatio]

class ServeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVE_STATE_UNSPECIFIED: _ClassVar[ServeState]
    SERVE_STATE_SERVING: _ClassVar[ServeState]
    SERVE_STATE_QUARANTINED: _ClassVar[ServeState]

class QuarantineReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUARANTINE_REASON_UNSPECIFIED: _ClassVar[QuarantineReason]
    QUARANTINE_REASON_NO_LEASE: _ClassVar[QuarantineReason]
    QUARANTINE_REASON_LEASE_EXPIRED: _ClassVar[QuarantineReason]
    QUARANTINE_REASON_BEHIND_GENERATION: _ClassVar[QuarantineReason]
    QUARANTINE_REASON_GAP: _ClassVar[QuarantineReason]
    QUARANTINE_REASON_HELD: _ClassVar[QuarantineReason]
    QUARANTINE_REASON_STARTING: _ClassVar[QuarantineReason]

class ReceiptOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECEIPT_OUTCOME_UNSPECIFIED: _ClassVar[ReceiptOutcome]
    RECEIPT_OUTCOME_ERASED: _ClassVar[ReceiptOutcome]
    RECEIPT_OUTCOME_NOT_AFFECTED: _ClassVar[ReceiptOutcome]
AUDIT_EVENT_KIND_UNSPECIFIED: AuditEventKind
AUDIT_EVENT_KIND_NODE_ENROLLED: AuditEventKind
AUDIT_EVENT_KIND_NODE_HELD: AuditEventKind
AUDIT_EVENT_KIND_NODE_RELEASED: AuditEventKind
AUDIT_EVENT_KIND_NODE_RETIRED: AuditEventKind
AUDIT_EVENT_KIND_NODE_RETRIED: AuditEventKind
AUDIT_EVENT_KIND_NODE_LOST: AuditEventKind
AUDIT_EVENT_KIND_NODE_PASSED_OVER: AuditEventKind
LEARNING_KIND_UNSPECIFIED: LearningKind
LEARNING_KIND_TRAIN_LORA: LearningKind
LEARNING_KIND_UNLEARN_LORA: LearningKind
LEARNING_KIND_EVALUATE_QUALITY: LearningKind
LEARNING_KIND_TRAIN_COHORT: LearningKind
LEARNING_KIND_REPLAY_COHORT: LearningKind
NEURON_LAW_UNSPECIFIED: NeuronLaw
NEURON_LAW_RECTIFIER: NeuronLaw
NEURON_LAW_TANH: NeuronLaw
SUBJECT_ADAPTER_KIND_UNSPECIFIED: SubjectAdapterKind
SUBJECT_ADAPTER_KIND_TRAINED: SubjectAdapterKind
ENERGY_PHASE_UNSPECIFIED: EnergyPhase
ENERGY_PHASE_PROGRAM: EnergyPhase
ENERGY_PHASE_INFER: EnergyPhase
ENERGY_PHASE_TRAIN: EnergyPhase
ENERGY_PHASE_ERASE: EnergyPhase
ENERGY_PHASE_VERIFY: EnergyPhase
ENERGY_PHASE_RADIO: EnergyPhase
PAPER_RATIO_UNSPECIFIED: PaperRatio
PAPER_RATIO_TRAINING: PaperRatio
PAPER_RATIO_DEPLOYMENT: PaperRatio
PAPER_RATIO_INFERENCE: PaperRatio
SERVE_STATE_UNSPECIFIED: ServeState
SERVE_STATE_SERVING: ServeState
SERVE_STATE_QUARANTINED: ServeState
QUARANTINE_REASON_UNSPECIFIED: QuarantineReason
QUARANTINE_REASON_NO_LEASE: QuarantineReason
QUARANTINE_REASON_LEASE_EXPIRED: QuarantineReason
QUARANTINE_REASON_BEHIND_GENERATION: QuarantineReason
QUARANTINE_REASON_GAP: QuarantineReason
QUARANTINE_REASON_HELD: QuarantineReason
QUARANTINE_REASON_STARTING: QuarantineReason
RECEIPT_OUTCOME_UNSPECIFIED: ReceiptOutcome
RECEIPT_OUTCOME_ERASED: ReceiptOutcome
RECEIPT_OUTCOME_NOT_AFFECTED: ReceiptOutcome

class Envelope(_message.Message):
    __slots__ = ("payload_type", "payload", "key_id", "signature")
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    payload_type: str
    payload: bytes
    key_id: str
    signature: bytes
    def __init__(self, payload_type: _Optional[str] = ..., payload: _Optional[bytes] = ..., key_id: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Sealed(_message.Message):
    __slots__ = ("purpose", "ciphertext")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    ciphertext: bytes
    def __init__(self, purpose: _Optional[str] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class ForgetCommand(_message.Message):
    __slots__ = ("fleet_id", "generation", "previous_hash", "campaign_id", "subject_tags", "issued_at_unix_ms", "nodes_root", "nodes", "concepts")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_HASH_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_TAGS_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    NODES_ROOT_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    CONCEPTS_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    generation: int
    previous_hash: bytes
    campaign_id: str
    subject_tags: _containers.RepeatedScalarFieldContainer[str]
    issued_at_unix_ms: int
    nodes_root: bytes
    nodes: int
    concepts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, fleet_id: _Optional[str] = ..., generation: _Optional[int] = ..., previous_hash: _Optional[bytes] = ..., campaign_id: _Optional[str] = ..., subject_tags: _Optional[_Iterable[str]] = ..., issued_at_unix_ms: _Optional[int] = ..., nodes_root: _Optional[bytes] = ..., nodes: _Optional[int] = ..., concepts: _Optional[_Iterable[str]] = ...) -> None: ...

class EnrolmentTicket(_message.Message):
    __slots__ = ("fleet_id", "subject_tag", "node_ids", "expires_at_unix_ms")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    NODE_IDS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    subject_tag: str
    node_ids: _containers.RepeatedScalarFieldContainer[str]
    expires_at_unix_ms: int
    def __init__(self, fleet_id: _Optional[str] = ..., subject_tag: _Optional[str] = ..., node_ids: _Optional[_Iterable[str]] = ..., expires_at_unix_ms: _Optional[int] = ...) -> None: ...

class AuditEvent(_message.Message):
    __slots__ = ("fleet_id", "kind", "node_id", "reason", "at_unix_ms", "generation", "campaign_id")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    kind: AuditEventKind
    node_id: str
    reason: str
    at_unix_ms: int
    generation: int
    campaign_id: str
    def __init__(self, fleet_id: _Optional[str] = ..., kind: _Optional[_Union[AuditEventKind, str]] = ..., node_id: _Optional[str] = ..., reason: _Optional[str] = ..., at_unix_ms: _Optional[int] = ..., generation: _Optional[int] = ..., campaign_id: _Optional[str] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("fleet_id", "node_id", "generation", "sequence", "request_nonce", "max_age_ms", "heartbeat_interval_ms")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_NONCE_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    node_id: str
    generation: int
    sequence: int
    request_nonce: bytes
    max_age_ms: int
    heartbeat_interval_ms: int
    def __init__(self, fleet_id: _Optional[str] = ..., node_id: _Optional[str] = ..., generation: _Optional[int] = ..., sequence: _Optional[int] = ..., request_nonce: _Optional[bytes] = ..., max_age_ms: _Optional[int] = ..., heartbeat_interval_ms: _Optional[int] = ...) -> None: ...

class JobTicket(_message.Message):
    __slots__ = ("fleet_id", "node_id", "job_id", "attempt", "round", "kind", "generation", "expires_at_unix_ms", "job_key", "subject_tags", "forget_tags", "lora", "concept")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    JOB_KEY_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_TAGS_FIELD_NUMBER: _ClassVar[int]
    FORGET_TAGS_FIELD_NUMBER: _ClassVar[int]
    LORA_FIELD_NUMBER: _ClassVar[int]
    CONCEPT_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    node_id: str
    job_id: str
    attempt: int
    round: int
    kind: LearningKind
    generation: int
    expires_at_unix_ms: int
    job_key: Sealed
    subject_tags: _containers.RepeatedScalarFieldContainer[str]
    forget_tags: _containers.RepeatedScalarFieldContainer[str]
    lora: LoraShape
    concept: str
    def __init__(self, fleet_id: _Optional[str] = ..., node_id: _Optional[str] = ..., job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., round: _Optional[int] = ..., kind: _Optional[_Union[LearningKind, str]] = ..., generation: _Optional[int] = ..., expires_at_unix_ms: _Optional[int] = ..., job_key: _Optional[_Union[Sealed, _Mapping]] = ..., subject_tags: _Optional[_Iterable[str]] = ..., forget_tags: _Optional[_Iterable[str]] = ..., lora: _Optional[_Union[LoraShape, _Mapping]] = ..., concept: _Optional[str] = ...) -> None: ...

class LoraShape(_message.Message):
    __slots__ = ("features", "rank", "alpha", "a_seed", "scale_bits", "neurons", "segments", "law")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    A_SEED_FIELD_NUMBER: _ClassVar[int]
    SCALE_BITS_FIELD_NUMBER: _ClassVar[int]
    NEURONS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    LAW_FIELD_NUMBER: _ClassVar[int]
    features: int
    rank: int
    alpha: float
    a_seed: int
    scale_bits: int
    neurons: int
    segments: int
    law: NeuronLaw
    def __init__(self, features: _Optional[int] = ..., rank: _Optional[int] = ..., alpha: _Optional[float] = ..., a_seed: _Optional[int] = ..., scale_bits: _Optional[int] = ..., neurons: _Optional[int] = ..., segments: _Optional[int] = ..., law: _Optional[_Union[NeuronLaw, str]] = ...) -> None: ...

class SubjectAdapter(_message.Message):
    __slots__ = ("subject_tag", "count", "code_sum", "kind")
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CODE_SUM_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    subject_tag: str
    count: int
    code_sum: _containers.RepeatedScalarFieldContainer[int]
    kind: SubjectAdapterKind
    def __init__(self, subject_tag: _Optional[str] = ..., count: _Optional[int] = ..., code_sum: _Optional[_Iterable[int]] = ..., kind: _Optional[_Union[SubjectAdapterKind, str]] = ...) -> None: ...

class LoraState(_message.Message):
    __slots__ = ("subject_tags", "rank", "neurons", "rows", "row_weights", "branches", "branch_weights", "row_branches")
    SUBJECT_TAGS_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    NEURONS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ROW_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    BRANCH_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ROW_BRANCHES_FIELD_NUMBER: _ClassVar[int]
    subject_tags: _containers.RepeatedScalarFieldContainer[str]
    rank: int
    neurons: int
    rows: bytes
    row_weights: bytes
    branches: bytes
    branch_weights: bytes
    row_branches: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, subject_tags: _Optional[_Iterable[str]] = ..., rank: _Optional[int] = ..., neurons: _Optional[int] = ..., rows: _Optional[bytes] = ..., row_weights: _Optional[bytes] = ..., branches: _Optional[bytes] = ..., branch_weights: _Optional[bytes] = ..., row_branches: _Optional[_Iterable[int]] = ...) -> None: ...

class LoraRow(_message.Message):
    __slots__ = ("subject_tag", "codes", "branch")
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    subject_tag: str
    codes: _containers.RepeatedScalarFieldContainer[int]
    branch: int
    def __init__(self, subject_tag: _Optional[str] = ..., codes: _Optional[_Iterable[int]] = ..., branch: _Optional[int] = ...) -> None: ...

class LoraBranch(_message.Message):
    __slots__ = ("codes",)
    CODES_FIELD_NUMBER: _ClassVar[int]
    codes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, codes: _Optional[_Iterable[int]] = ...) -> None: ...

class SharedLora(_message.Message):
    __slots__ = ("shape", "rows", "branches")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    shape: LoraShape
    rows: _containers.RepeatedCompositeFieldContainer[LoraRow]
    branches: _containers.RepeatedCompositeFieldContainer[LoraBranch]
    def __init__(self, shape: _Optional[_Union[LoraShape, _Mapping]] = ..., rows: _Optional[_Iterable[_Union[LoraRow, _Mapping]]] = ..., branches: _Optional[_Iterable[_Union[LoraBranch, _Mapping]]] = ...) -> None: ...

class ClosedFormHead(_message.Message):
    __slots__ = ("subject_tags", "features", "codes", "scale_bits", "threshold")
    SUBJECT_TAGS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    SCALE_BITS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    subject_tags: _containers.RepeatedScalarFieldContainer[str]
    features: int
    codes: bytes
    scale_bits: int
    threshold: int
    def __init__(self, subject_tags: _Optional[_Iterable[str]] = ..., features: _Optional[int] = ..., codes: _Optional[bytes] = ..., scale_bits: _Optional[int] = ..., threshold: _Optional[int] = ...) -> None: ...

class Eraser(_message.Message):
    __slots__ = ("concept", "codes")
    CONCEPT_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    concept: str
    codes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, concept: _Optional[str] = ..., codes: _Optional[_Iterable[int]] = ...) -> None: ...

class RevisionContent(_message.Message):
    __slots__ = ("subjects", "shared_lora", "head", "cohort_shards", "erasers")
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    SHARED_LORA_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    COHORT_SHARDS_FIELD_NUMBER: _ClassVar[int]
    ERASERS_FIELD_NUMBER: _ClassVar[int]
    subjects: _containers.RepeatedCompositeFieldContainer[SubjectAdapter]
    shared_lora: SharedLora
    head: ClosedFormHead
    cohort_shards: int
    erasers: _containers.RepeatedCompositeFieldContainer[Eraser]
    def __init__(self, subjects: _Optional[_Iterable[_Union[SubjectAdapter, _Mapping]]] = ..., shared_lora: _Optional[_Union[SharedLora, _Mapping]] = ..., head: _Optional[_Union[ClosedFormHead, _Mapping]] = ..., cohort_shards: _Optional[int] = ..., erasers: _Optional[_Iterable[_Union[Eraser, _Mapping]]] = ...) -> None: ...

class RevisionManifest(_message.Message):
    __slots__ = ("fleet_id", "revision", "digest", "parent_digest", "built_at_generation", "subject_tags", "has_shared_lora", "has_head", "cohort_shards", "concepts")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PARENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BUILT_AT_GENERATION_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_TAGS_FIELD_NUMBER: _ClassVar[int]
    HAS_SHARED_LORA_FIELD_NUMBER: _ClassVar[int]
    HAS_HEAD_FIELD_NUMBER: _ClassVar[int]
    COHORT_SHARDS_FIELD_NUMBER: _ClassVar[int]
    CONCEPTS_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    revision: int
    digest: bytes
    parent_digest: bytes
    built_at_generation: int
    subject_tags: _containers.RepeatedScalarFieldContainer[str]
    has_shared_lora: bool
    has_head: bool
    cohort_shards: int
    concepts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, fleet_id: _Optional[str] = ..., revision: _Optional[int] = ..., digest: _Optional[bytes] = ..., parent_digest: _Optional[bytes] = ..., built_at_generation: _Optional[int] = ..., subject_tags: _Optional[_Iterable[str]] = ..., has_shared_lora: _Optional[bool] = ..., has_head: _Optional[bool] = ..., cohort_shards: _Optional[int] = ..., concepts: _Optional[_Iterable[str]] = ...) -> None: ...

class PhaseCost(_message.Message):
    __slots__ = ("phase", "energy_j", "seconds", "bytes", "cell_writes")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ENERGY_J_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CELL_WRITES_FIELD_NUMBER: _ClassVar[int]
    phase: EnergyPhase
    energy_j: float
    seconds: float
    bytes: int
    cell_writes: int
    def __init__(self, phase: _Optional[_Union[EnergyPhase, str]] = ..., energy_j: _Optional[float] = ..., seconds: _Optional[float] = ..., bytes: _Optional[int] = ..., cell_writes: _Optional[int] = ...) -> None: ...

class EnergyModel(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class DeploymentOverhead(_message.Message):
    __slots__ = ("energy_j", "seconds", "bytes", "cell_writes", "reprogramming_ratio", "reprogramming_energy_j", "reprogramming_seconds", "reprogramming_cell_writes", "radio_energy_j", "reprogramming_ratio_with_radio")
    ENERGY_J_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CELL_WRITES_FIELD_NUMBER: _ClassVar[int]
    REPROGRAMMING_RATIO_FIELD_NUMBER: _ClassVar[int]
    REPROGRAMMING_ENERGY_J_FIELD_NUMBER: _ClassVar[int]
    REPROGRAMMING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REPROGRAMMING_CELL_WRITES_FIELD_NUMBER: _ClassVar[int]
    RADIO_ENERGY_J_FIELD_NUMBER: _ClassVar[int]
    REPROGRAMMING_RATIO_WITH_RADIO_FIELD_NUMBER: _ClassVar[int]
    energy_j: float
    seconds: float
    bytes: int
    cell_writes: int
    reprogramming_ratio: float
    reprogramming_energy_j: float
    reprogramming_seconds: float
    reprogramming_cell_writes: int
    radio_energy_j: float
    reprogramming_ratio_with_radio: float
    def __init__(self, energy_j: _Optional[float] = ..., seconds: _Optional[float] = ..., bytes: _Optional[int] = ..., cell_writes: _Optional[int] = ..., reprogramming_ratio: _Optional[float] = ..., reprogramming_energy_j: _Optional[float] = ..., reprogramming_seconds: _Optional[float] = ..., reprogramming_cell_writes: _Optional[int] = ..., radio_energy_j: _Optional[float] = ..., reprogramming_ratio_with_radio: _Optional[float] = ...) -> None: ...

class ChipFigures(_message.Message):
    __slots__ = ("ratios", "endurance_left")
    RATIOS_FIELD_NUMBER: _ClassVar[int]
    ENDURANCE_LEFT_FIELD_NUMBER: _ClassVar[int]
    ratios: _containers.RepeatedCompositeFieldContainer[RatioBand]
    endurance_left: float
    def __init__(self, ratios: _Optional[_Iterable[_Union[RatioBand, _Mapping]]] = ..., endurance_left: _Optional[float] = ...) -> None: ...

class RatioBand(_message.Message):
    __slots__ = ("ratio", "value", "low", "high")
    RATIO_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    ratio: PaperRatio
    value: float
    low: float
    high: float
    def __init__(self, ratio: _Optional[_Union[PaperRatio, str]] = ..., value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class AdapterDigest(_message.Message):
    __slots__ = ("subject_tag", "digest")
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    subject_tag: str
    digest: bytes
    def __init__(self, subject_tag: _Optional[str] = ..., digest: _Optional[bytes] = ...) -> None: ...

class ProbeResult(_message.Message):
    __slots__ = ("subject_tag",)
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    subject_tag: str
    def __init__(self, subject_tag: _Optional[str] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("fleet_id", "node_id", "campaign_id", "generation", "command_hash", "outcome", "counter", "previous_receipt_hash", "adapters_digest_before", "adapters_digest_after", "active_adapters", "lora_digest", "revision_digest", "subject_adapters_erased", "lora_rows_erased", "code_samples_erased", "keys_destroyed", "costs", "energy_model", "reram_writes", "challenge_nonce", "probe_results", "suppress_seconds", "erase_seconds", "finished_at_unix_ms", "software_version", "statement", "head_digest", "erasers_digest")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_HASH_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_RECEIPT_HASH_FIELD_NUMBER: _ClassVar[int]
    ADAPTERS_DIGEST_BEFORE_FIELD_NUMBER: _ClassVar[int]
    ADAPTERS_DIGEST_AFTER_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    LORA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REVISION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_ADAPTERS_ERASED_FIELD_NUMBER: _ClassVar[int]
    LORA_ROWS_ERASED_FIELD_NUMBER: _ClassVar[int]
    CODE_SAMPLES_ERASED_FIELD_NUMBER: _ClassVar[int]
    KEYS_DESTROYED_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_MODEL_FIELD_NUMBER: _ClassVar[int]
    RERAM_WRITES_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_NONCE_FIELD_NUMBER: _ClassVar[int]
    PROBE_RESULTS_FIELD_NUMBER: _ClassVar[int]
    SUPPRESS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    HEAD_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ERASERS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    node_id: str
    campaign_id: str
    generation: int
    command_hash: bytes
    outcome: ReceiptOutcome
    counter: int
    previous_receipt_hash: bytes
    adapters_digest_before: bytes
    adapters_digest_after: bytes
    active_adapters: _containers.RepeatedCompositeFieldContainer[AdapterDigest]
    lora_digest: bytes
    revision_digest: bytes
    subject_adapters_erased: int
    lora_rows_erased: int
    code_samples_erased: int
    keys_destroyed: int
    costs: _containers.RepeatedCompositeFieldContainer[PhaseCost]
    energy_model: EnergyModel
    reram_writes: int
    challenge_nonce: bytes
    probe_results: _containers.RepeatedCompositeFieldContainer[ProbeResult]
    suppress_seconds: float
    erase_seconds: float
    finished_at_unix_ms: int
    software_version: str
    statement: str
    head_digest: bytes
    erasers_digest: bytes
    def __init__(self, fleet_id: _Optional[str] = ..., node_id: _Optional[str] = ..., campaign_id: _Optional[str] = ..., generation: _Optional[int] = ..., command_hash: _Optional[bytes] = ..., outcome: _Optional[_Union[ReceiptOutcome, str]] = ..., counter: _Optional[int] = ..., previous_receipt_hash: _Optional[bytes] = ..., adapters_digest_before: _Optional[bytes] = ..., adapters_digest_after: _Optional[bytes] = ..., active_adapters: _Optional[_Iterable[_Union[AdapterDigest, _Mapping]]] = ..., lora_digest: _Optional[bytes] = ..., revision_digest: _Optional[bytes] = ..., subject_adapters_erased: _Optional[int] = ..., lora_rows_erased: _Optional[int] = ..., code_samples_erased: _Optional[int] = ..., keys_destroyed: _Optional[int] = ..., costs: _Optional[_Iterable[_Union[PhaseCost, _Mapping]]] = ..., energy_model: _Optional[_Union[EnergyModel, _Mapping]] = ..., reram_writes: _Optional[int] = ..., challenge_nonce: _Optional[bytes] = ..., probe_results: _Optional[_Iterable[_Union[ProbeResult, _Mapping]]] = ..., suppress_seconds: _Optional[float] = ..., erase_seconds: _Optional[float] = ..., finished_at_unix_ms: _Optional[int] = ..., software_version: _Optional[str] = ..., statement: _Optional[str] = ..., head_digest: _Optional[bytes] = ..., erasers_digest: _Optional[bytes] = ...) -> None: ...

class NodeIdentity(_message.Message):
    __slots__ = ("node_id", "receipt_public_key", "sealing_public_key", "flower_public_key", "possession")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SEALING_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    FLOWER_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    POSSESSION_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    receipt_public_key: bytes
    sealing_public_key: bytes
    flower_public_key: str
    possession: bytes
    def __init__(self, node_id: _Optional[str] = ..., receipt_public_key: _Optional[bytes] = ..., sealing_public_key: _Optional[bytes] = ..., flower_public_key: _Optional[str] = ..., possession: _Optional[bytes] = ...) -> None: ...
