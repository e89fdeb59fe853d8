from reram_fleet.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConnectRequest(_message.Message):
    __slots__ = ("hello", "heartbeat", "suppressed", "receipt", "contribution", "revision_result", "telemetry", "public_codes", "forget_log")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    REVISION_RESULT_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_CODES_FIELD_NUMBER: _ClassVar[int]
    FORGET_LOG_FIELD_NUMBER: _ClassVar[int]
    hello: _types_pb2.Envelope
    heartbeat: Heartbeat
    suppressed: Suppressed
    receipt: _types_pb2.Envelope
    contribution: _types_pb2.Envelope
    revision_result: RevisionResult
    telemetry: Telemetry
    public_codes: _types_pb2.Envelope
    forget_log: ForgetLogRange
    def __init__(self, hello: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., suppressed: _Optional[_Union[Suppressed, _Mapping]] = ..., receipt: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ..., contribution: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ..., revision_result: _Optional[_Union[RevisionResult, _Mapping]] = ..., telemetry: _Optional[_Union[Telemetry, _Mapping]] = ..., public_codes: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ..., forget_log: _Optional[_Union[ForgetLogRange, _Mapping]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("challenge", "forget_log", "lease", "revision", "erase", "receipt_ack", "contribution_ack", "public_codes_request", "restore_notice")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    FORGET_LOG_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ERASE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_ACK_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_ACK_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_CODES_REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESTORE_NOTICE_FIELD_NUMBER: _ClassVar[int]
    challenge: Challenge
    forget_log: ForgetLogRange
    lease: _types_pb2.Envelope
    revision: RevisionOffer
    erase: EraseOrder
    receipt_ack: ReceiptAck
    contribution_ack: ContributionAck
    public_codes_request: PublicCodesRequest
    restore_notice: _types_pb2.Envelope
    def __init__(self, challenge: _Optional[_Union[Challenge, _Mapping]] = ..., forget_log: _Optional[_Union[ForgetLogRange, _Mapping]] = ..., lease: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ..., revision: _Optional[_Union[RevisionOffer, _Mapping]] = ..., erase: _Optional[_Union[EraseOrder, _Mapping]] = ..., receipt_ack: _Optional[_Union[ReceiptAck, _Mapping]] = ..., contribution_ack: _Optional[_Union[ContributionAck, _Mapping]] = ..., public_codes_request: _Optional[_Union[PublicCodesRequest, _Mapping]] = ..., restore_notice: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ...) -> None: ...

class Challenge(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    def __init__(self, nonce: _Optional[bytes] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("fleet_id", "node_id", "challenge_nonce", "generation", "log_head", "revision", "revision_digest", "boot_id", "software_version", "receipt_counter", "session_public_key", "last_receipt_hash", "metrics_port", "chip", "concepts")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_NONCE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    LOG_HEAD_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_COUNTER_FIELD_NUMBER: _ClassVar[int]
    SESSION_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    LAST_RECEIPT_HASH_FIELD_NUMBER: _ClassVar[int]
    METRICS_PORT_FIELD_NUMBER: _ClassVar[int]
    CHIP_FIELD_NUMBER: _ClassVar[int]
    CONCEPTS_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    node_id: str
    challenge_nonce: bytes
    generation: int
    log_head: bytes
    revision: int
    revision_digest: bytes
    boot_id: str
    software_version: str
    receipt_counter: int
    session_public_key: bytes
    last_receipt_hash: bytes
    metrics_port: int
    chip: _types_pb2.ChipFigures
    concepts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, fleet_id: _Optional[str] = ..., node_id: _Optional[str] = ..., challenge_nonce: _Optional[bytes] = ..., generation: _Optional[int] = ..., log_head: _Optional[bytes] = ..., revision: _Optional[int] = ..., revision_digest: _Optional[bytes] = ..., boot_id: _Optional[str] = ..., software_version: _Optional[str] = ..., receipt_counter: _Optional[int] = ..., session_public_key: _Optional[bytes] = ..., last_receipt_hash: _Optional[bytes] = ..., metrics_port: _Optional[int] = ..., chip: _Optional[_Union[_types_pb2.ChipFigures, _Mapping]] = ..., concepts: _Optional[_Iterable[str]] = ...) -> None: ...

class SessionKey(_message.Message):
    __slots__ = ("fleet_id", "node_id", "generation", "public_key")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    node_id: str
    generation: int
    public_key: bytes
    def __init__(self, fleet_id: _Optional[str] = ..., node_id: _Optional[str] = ..., generation: _Optional[int] = ..., public_key: _Optional[bytes] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("lease_nonce", "generation", "serve_state", "quarantine_reason", "interval_ms")
    LEASE_NONCE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SERVE_STATE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_REASON_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    lease_nonce: bytes
    generation: int
    serve_state: _types_pb2.ServeState
    quarantine_reason: _types_pb2.QuarantineReason
    interval_ms: int
    def __init__(self, lease_nonce: _Optional[bytes] = ..., generation: _Optional[int] = ..., serve_state: _Optional[_Union[_types_pb2.ServeState, str]] = ..., quarantine_reason: _Optional[_Union[_types_pb2.QuarantineReason, str]] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class Suppressed(_message.Message):
    __slots__ = ("generation", "log_head", "session_key", "heartbeat")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    LOG_HEAD_FIELD_NUMBER: _ClassVar[int]
    SESSION_KEY_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    generation: int
    log_head: bytes
    session_key: _types_pb2.Envelope
    heartbeat: Heartbeat
    def __init__(self, generation: _Optional[int] = ..., log_head: _Optional[bytes] = ..., session_key: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("fleet_id", "node_id", "subject_tag", "sequence", "generation", "adapter", "statistics", "ticket")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    node_id: str
    subject_tag: str
    sequence: int
    generation: int
    adapter: _types_pb2.Sealed
    statistics: _types_pb2.Sealed
    ticket: _types_pb2.Envelope
    def __init__(self, fleet_id: _Optional[str] = ..., node_id: _Optional[str] = ..., subject_tag: _Optional[str] = ..., sequence: _Optional[int] = ..., generation: _Optional[int] = ..., adapter: _Optional[_Union[_types_pb2.Sealed, _Mapping]] = ..., statistics: _Optional[_Union[_types_pb2.Sealed, _Mapping]] = ..., ticket: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ...) -> None: ...

class PublicCodesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PublicCodes(_message.Message):
    __slots__ = ("fleet_id", "node_id", "features", "person", "bytes_per_code", "codes")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    PERSON_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_CODE_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    node_id: str
    features: int
    person: _containers.RepeatedScalarFieldContainer[int]
    bytes_per_code: int
    codes: bytes
    def __init__(self, fleet_id: _Optional[str] = ..., node_id: _Optional[str] = ..., features: _Optional[int] = ..., person: _Optional[_Iterable[int]] = ..., bytes_per_code: _Optional[int] = ..., codes: _Optional[bytes] = ...) -> None: ...

class RevisionResult(_message.Message):
    __slots__ = ("revision", "digest", "active", "refusal", "overhead")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    OVERHEAD_FIELD_NUMBER: _ClassVar[int]
    revision: int
    digest: bytes
    active: bool
    refusal: str
    overhead: _types_pb2.DeploymentOverhead
    def __init__(self, revision: _Optional[int] = ..., digest: _Optional[bytes] = ..., active: _Optional[bool] = ..., refusal: _Optional[str] = ..., overhead: _Optional[_Union[_types_pb2.DeploymentOverhead, _Mapping]] = ...) -> None: ...

class Telemetry(_message.Message):
    __slots__ = ("costs", "energy_model", "inferences", "stale_inferences_refused", "subject_adapters")
    COSTS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_MODEL_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_FIELD_NUMBER: _ClassVar[int]
    STALE_INFERENCES_REFUSED_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    costs: _containers.RepeatedCompositeFieldContainer[_types_pb2.PhaseCost]
    energy_model: _types_pb2.EnergyModel
    inferences: int
    stale_inferences_refused: int
    subject_adapters: int
    def __init__(self, costs: _Optional[_Iterable[_Union[_types_pb2.PhaseCost, _Mapping]]] = ..., energy_model: _Optional[_Union[_types_pb2.EnergyModel, _Mapping]] = ..., inferences: _Optional[int] = ..., stale_inferences_refused: _Optional[int] = ..., subject_adapters: _Optional[int] = ...) -> None: ...

class ForgetLogRange(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_types_pb2.Envelope]
    def __init__(self, entries: _Optional[_Iterable[_Union[_types_pb2.Envelope, _Mapping]]] = ...) -> None: ...

class RestoreNotice(_message.Message):
    __slots__ = ("fleet_id", "node_id", "generation", "log_head", "contributions")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    LOG_HEAD_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    node_id: str
    generation: int
    log_head: bytes
    contributions: _containers.RepeatedCompositeFieldContainer[KnownContribution]
    def __init__(self, fleet_id: _Optional[str] = ..., node_id: _Optional[str] = ..., generation: _Optional[int] = ..., log_head: _Optional[bytes] = ..., contributions: _Optional[_Iterable[_Union[KnownContribution, _Mapping]]] = ...) -> None: ...

class KnownContribution(_message.Message):
    __slots__ = ("subject_tag", "sequence")
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    subject_tag: str
    sequence: int
    def __init__(self, subject_tag: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class RevisionOffer(_message.Message):
    __slots__ = ("manifest", "content")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    manifest: _types_pb2.Envelope
    content: _types_pb2.Sealed
    def __init__(self, manifest: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ..., content: _Optional[_Union[_types_pb2.Sealed, _Mapping]] = ...) -> None: ...

class EraseOrder(_message.Message):
    __slots__ = ("generation", "campaign_id", "revision", "challenge_nonce", "probes")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHALLENGE_NONCE_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    generation: int
    campaign_id: str
    revision: int
    challenge_nonce: bytes
    probes: _containers.RepeatedCompositeFieldContainer[Probe]
    def __init__(self, generation: _Optional[int] = ..., campaign_id: _Optional[str] = ..., revision: _Optional[int] = ..., challenge_nonce: _Optional[bytes] = ..., probes: _Optional[_Iterable[_Union[Probe, _Mapping]]] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("codes",)
    CODES_FIELD_NUMBER: _ClassVar[int]
    codes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, codes: _Optional[_Iterable[int]] = ...) -> None: ...

class ReceiptAck(_message.Message):
    __slots__ = ("generation", "receipt_hash", "accepted", "reason")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_HASH_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    generation: int
    receipt_hash: bytes
    accepted: bool
    reason: str
    def __init__(self, generation: _Optional[int] = ..., receipt_hash: _Optional[bytes] = ..., accepted: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ContributionAck(_message.Message):
    __slots__ = ("subject_tag", "sequence", "refusal")
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    subject_tag: str
    sequence: int
    refusal: str
    def __init__(self, subject_tag: _Optional[str] = ..., sequence: _Optional[int] = ..., refusal: _Optional[str] = ...) -> None: ...
