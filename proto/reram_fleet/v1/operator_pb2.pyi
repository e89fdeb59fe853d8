from reram_fleet.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VerdictClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_CLASS_UNSPECIFIED: _ClassVar[VerdictClass]
    VERDICT_CLASS_EXACT: _ClassVar[VerdictClass]
    VERDICT_CLASS_APPROXIMATE: _ClassVar[VerdictClass]
    VERDICT_CLASS_NOTHING_HELD: _ClassVar[VerdictClass]
    VERDICT_CLASS_MASKED: _ClassVar[VerdictClass]
    VERDICT_CLASS_REFUSED: _ClassVar[VerdictClass]
VERDICT_CLASS_UNSPECIFIED: VerdictClass
VERDICT_CLASS_EXACT: VerdictClass
VERDICT_CLASS_APPROXIMATE: VerdictClass
VERDICT_CLASS_NOTHING_HELD: VerdictClass
VERDICT_CLASS_MASKED: VerdictClass
VERDICT_CLASS_REFUSED: VerdictClass

class GetFleetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetFleetResponse(_message.Message):
    __slots__ = ("fleet_id", "version", "generation", "revision", "revision_digest", "nodes_registered", "nodes_connected", "subjects", "forgets_open", "superlink", "superlink_address", "log_size", "log_root", "command_public_key", "registry_public_key", "task", "restored_at_unix_ms", "nodes_awaited", "nodes_serving", "now_unix_ms", "metrics_address")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NODES_REGISTERED_FIELD_NUMBER: _ClassVar[int]
    NODES_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    FORGETS_OPEN_FIELD_NUMBER: _ClassVar[int]
    SUPERLINK_FIELD_NUMBER: _ClassVar[int]
    SUPERLINK_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LOG_SIZE_FIELD_NUMBER: _ClassVar[int]
    LOG_ROOT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    RESTORED_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    NODES_AWAITED_FIELD_NUMBER: _ClassVar[int]
    NODES_SERVING_FIELD_NUMBER: _ClassVar[int]
    NOW_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    METRICS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    version: str
    generation: int
    revision: int
    revision_digest: bytes
    nodes_registered: int
    nodes_connected: int
    subjects: int
    forgets_open: int
    superlink: str
    superlink_address: str
    log_size: int
    log_root: bytes
    command_public_key: bytes
    registry_public_key: bytes
    task: str
    restored_at_unix_ms: int
    nodes_awaited: int
    nodes_serving: int
    now_unix_ms: int
    metrics_address: str
    def __init__(self, fleet_id: _Optional[str] = ..., version: _Optional[str] = ..., generation: _Optional[int] = ..., revision: _Optional[int] = ..., revision_digest: _Optional[bytes] = ..., nodes_registered: _Optional[int] = ..., nodes_connected: _Optional[int] = ..., subjects: _Optional[int] = ..., forgets_open: _Optional[int] = ..., superlink: _Optional[str] = ..., superlink_address: _Optional[str] = ..., log_size: _Optional[int] = ..., log_root: _Optional[bytes] = ..., command_public_key: _Optional[bytes] = ..., registry_public_key: _Optional[bytes] = ..., task: _Optional[str] = ..., restored_at_unix_ms: _Optional[int] = ..., nodes_awaited: _Optional[int] = ..., nodes_serving: _Optional[int] = ..., now_unix_ms: _Optional[int] = ..., metrics_address: _Optional[str] = ...) -> None: ...

class EnrollNodeRequest(_message.Message):
    __slots__ = ("identity",)
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    identity: _types_pb2.NodeIdentity
    def __init__(self, identity: _Optional[_Union[_types_pb2.NodeIdentity, _Mapping]] = ...) -> None: ...

class EnrollNodeResponse(_message.Message):
    __slots__ = ("fleet_id", "command_public_key", "coordinator_sealing_public_key", "node_service_address", "flower_fleet_address", "flower_ca_pem", "flower_node_id", "created", "registry_public_key", "coordinator_ca_pem")
    FLEET_ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_SEALING_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NODE_SERVICE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FLOWER_FLEET_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FLOWER_CA_PEM_FIELD_NUMBER: _ClassVar[int]
    FLOWER_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_CA_PEM_FIELD_NUMBER: _ClassVar[int]
    fleet_id: str
    command_public_key: bytes
    coordinator_sealing_public_key: bytes
    node_service_address: str
    flower_fleet_address: str
    flower_ca_pem: str
    flower_node_id: int
    created: bool
    registry_public_key: bytes
    coordinator_ca_pem: str
    def __init__(self, fleet_id: _Optional[str] = ..., command_public_key: _Optional[bytes] = ..., coordinator_sealing_public_key: _Optional[bytes] = ..., node_service_address: _Optional[str] = ..., flower_fleet_address: _Optional[str] = ..., flower_ca_pem: _Optional[str] = ..., flower_node_id: _Optional[int] = ..., created: _Optional[bool] = ..., registry_public_key: _Optional[bytes] = ..., coordinator_ca_pem: _Optional[str] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("node_id", "connected", "last_contact_unix_ms", "generation", "revision", "serve_state", "quarantine_reason", "costs", "energy_model", "overhead", "inferences", "subject_adapters", "flower_node_id", "held_reason", "software_version", "quarantined_reports", "lease_until_unix_ms", "retired_at_unix_ms", "awaited_since_unix_ms")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SERVE_STATE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_REASON_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_MODEL_FIELD_NUMBER: _ClassVar[int]
    OVERHEAD_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    FLOWER_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    HELD_REASON_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_REPORTS_FIELD_NUMBER: _ClassVar[int]
    LEASE_UNTIL_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    RETIRED_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    AWAITED_SINCE_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    connected: bool
    last_contact_unix_ms: int
    generation: int
    revision: int
    serve_state: _types_pb2.ServeState
    quarantine_reason: _types_pb2.QuarantineReason
    costs: _containers.RepeatedCompositeFieldContainer[_types_pb2.PhaseCost]
    energy_model: _types_pb2.EnergyModel
    overhead: _types_pb2.DeploymentOverhead
    inferences: int
    subject_adapters: int
    flower_node_id: int
    held_reason: str
    software_version: str
    quarantined_reports: int
    lease_until_unix_ms: int
    retired_at_unix_ms: int
    awaited_since_unix_ms: int
    def __init__(self, node_id: _Optional[str] = ..., connected: _Optional[bool] = ..., last_contact_unix_ms: _Optional[int] = ..., generation: _Optional[int] = ..., revision: _Optional[int] = ..., serve_state: _Optional[_Union[_types_pb2.ServeState, str]] = ..., quarantine_reason: _Optional[_Union[_types_pb2.QuarantineReason, str]] = ..., costs: _Optional[_Iterable[_Union[_types_pb2.PhaseCost, _Mapping]]] = ..., energy_model: _Optional[_Union[_types_pb2.EnergyModel, _Mapping]] = ..., overhead: _Optional[_Union[_types_pb2.DeploymentOverhead, _Mapping]] = ..., inferences: _Optional[int] = ..., subject_adapters: _Optional[int] = ..., flower_node_id: _Optional[int] = ..., held_reason: _Optional[str] = ..., software_version: _Optional[str] = ..., quarantined_reports: _Optional[int] = ..., lease_until_unix_ms: _Optional[int] = ..., retired_at_unix_ms: _Optional[int] = ..., awaited_since_unix_ms: _Optional[int] = ...) -> None: ...

class QuarantinedReport(_message.Message):
    __slots__ = ("kind", "reason", "first_at_unix_ms", "last_at_unix_ms", "count")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIRST_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    reason: str
    first_at_unix_ms: int
    last_at_unix_ms: int
    count: int
    def __init__(self, kind: _Optional[str] = ..., reason: _Optional[str] = ..., first_at_unix_ms: _Optional[int] = ..., last_at_unix_ms: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes", "next_page_token")
    NODES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    next_page_token: str
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetNodeRequest(_message.Message):
    __slots__ = ("node_id",)
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    def __init__(self, node_id: _Optional[str] = ...) -> None: ...

class GetNodeResponse(_message.Message):
    __slots__ = ("node", "quarantined", "audit_events")
    NODE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    AUDIT_EVENTS_FIELD_NUMBER: _ClassVar[int]
    node: Node
    quarantined: _containers.RepeatedCompositeFieldContainer[QuarantinedReport]
    audit_events: _containers.RepeatedCompositeFieldContainer[_types_pb2.Envelope]
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., quarantined: _Optional[_Iterable[_Union[QuarantinedReport, _Mapping]]] = ..., audit_events: _Optional[_Iterable[_Union[_types_pb2.Envelope, _Mapping]]] = ...) -> None: ...

class ReleaseNodeRequest(_message.Message):
    __slots__ = ("node_id", "reason")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    reason: str
    def __init__(self, node_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReleaseNodeResponse(_message.Message):
    __slots__ = ("node",)
    NODE_FIELD_NUMBER: _ClassVar[int]
    node: Node
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ...) -> None: ...

class RetireNodeRequest(_message.Message):
    __slots__ = ("node_id", "reason", "discard_contributions")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DISCARD_CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    reason: str
    discard_contributions: bool
    def __init__(self, node_id: _Optional[str] = ..., reason: _Optional[str] = ..., discard_contributions: _Optional[bool] = ...) -> None: ...

class RetireNodeResponse(_message.Message):
    __slots__ = ("node", "converged_campaign_ids")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CONVERGED_CAMPAIGN_IDS_FIELD_NUMBER: _ClassVar[int]
    node: Node
    converged_campaign_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., converged_campaign_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RetryForgetRequest(_message.Message):
    __slots__ = ("campaign_id", "node_id", "reason")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    node_id: str
    reason: str
    def __init__(self, campaign_id: _Optional[str] = ..., node_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RetryForgetResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: Execution
    def __init__(self, execution: _Optional[_Union[Execution, _Mapping]] = ...) -> None: ...

class AcceptRestoreRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class AcceptRestoreResponse(_message.Message):
    __slots__ = ("node_ids",)
    NODE_IDS_FIELD_NUMBER: _ClassVar[int]
    node_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateForgetRequest(_message.Message):
    __slots__ = ("request_id", "subject_tags", "allow_unknown", "concepts")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_TAGS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    CONCEPTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    subject_tags: _containers.RepeatedScalarFieldContainer[str]
    allow_unknown: bool
    concepts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., subject_tags: _Optional[_Iterable[str]] = ..., allow_unknown: _Optional[bool] = ..., concepts: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateForgetResponse(_message.Message):
    __slots__ = ("forget", "created")
    FORGET_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    forget: Forget
    created: bool
    def __init__(self, forget: _Optional[_Union[Forget, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class Forget(_message.Message):
    __slots__ = ("campaign_id", "request_id", "generation", "state", "created_at_unix_ms", "verdicts", "repair_job_id", "seconds_to_suppress", "seconds_to_verify", "costs", "reram_writes", "energy_model", "excepted_node_ids", "may_serve", "counts", "examples", "concepts")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    REPAIR_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SECONDS_TO_SUPPRESS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_TO_VERIFY_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    RERAM_WRITES_FIELD_NUMBER: _ClassVar[int]
    ENERGY_MODEL_FIELD_NUMBER: _ClassVar[int]
    EXCEPTED_NODE_IDS_FIELD_NUMBER: _ClassVar[int]
    MAY_SERVE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CONCEPTS_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    request_id: str
    generation: int
    state: str
    created_at_unix_ms: int
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    repair_job_id: str
    seconds_to_suppress: float
    seconds_to_verify: float
    costs: _containers.RepeatedCompositeFieldContainer[_types_pb2.PhaseCost]
    reram_writes: int
    energy_model: _types_pb2.EnergyModel
    excepted_node_ids: _containers.RepeatedScalarFieldContainer[str]
    may_serve: _containers.RepeatedCompositeFieldContainer[MayServe]
    counts: _containers.RepeatedCompositeFieldContainer[StateCount]
    examples: _containers.RepeatedCompositeFieldContainer[Execution]
    concepts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, campaign_id: _Optional[str] = ..., request_id: _Optional[str] = ..., generation: _Optional[int] = ..., state: _Optional[str] = ..., created_at_unix_ms: _Optional[int] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., repair_job_id: _Optional[str] = ..., seconds_to_suppress: _Optional[float] = ..., seconds_to_verify: _Optional[float] = ..., costs: _Optional[_Iterable[_Union[_types_pb2.PhaseCost, _Mapping]]] = ..., reram_writes: _Optional[int] = ..., energy_model: _Optional[_Union[_types_pb2.EnergyModel, _Mapping]] = ..., excepted_node_ids: _Optional[_Iterable[str]] = ..., may_serve: _Optional[_Iterable[_Union[MayServe, _Mapping]]] = ..., counts: _Optional[_Iterable[_Union[StateCount, _Mapping]]] = ..., examples: _Optional[_Iterable[_Union[Execution, _Mapping]]] = ..., concepts: _Optional[_Iterable[str]] = ...) -> None: ...

class StateCount(_message.Message):
    __slots__ = ("state", "nodes")
    STATE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    state: str
    nodes: int
    def __init__(self, state: _Optional[str] = ..., nodes: _Optional[int] = ...) -> None: ...

class MayServe(_message.Message):
    __slots__ = ("node_id", "until_unix_ms", "last_contact_unix_ms")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    UNTIL_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    until_unix_ms: int
    last_contact_unix_ms: int
    def __init__(self, node_id: _Optional[str] = ..., until_unix_ms: _Optional[int] = ..., last_contact_unix_ms: _Optional[int] = ...) -> None: ...

class Execution(_message.Message):
    __slots__ = ("campaign_id", "node_id", "state", "detail", "updated_at_unix_ms", "generation", "receipt")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    node_id: str
    state: str
    detail: str
    updated_at_unix_ms: int
    generation: int
    receipt: _types_pb2.Envelope
    def __init__(self, campaign_id: _Optional[str] = ..., node_id: _Optional[str] = ..., state: _Optional[str] = ..., detail: _Optional[str] = ..., updated_at_unix_ms: _Optional[int] = ..., generation: _Optional[int] = ..., receipt: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("adapter_kind", "verdict", "basis")
    ADAPTER_KIND_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    adapter_kind: str
    verdict: VerdictClass
    basis: str
    def __init__(self, adapter_kind: _Optional[str] = ..., verdict: _Optional[_Union[VerdictClass, str]] = ..., basis: _Optional[str] = ...) -> None: ...

class GetForgetRequest(_message.Message):
    __slots__ = ("campaign_id",)
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    def __init__(self, campaign_id: _Optional[str] = ...) -> None: ...

class GetForgetResponse(_message.Message):
    __slots__ = ("forget",)
    FORGET_FIELD_NUMBER: _ClassVar[int]
    forget: Forget
    def __init__(self, forget: _Optional[_Union[Forget, _Mapping]] = ...) -> None: ...

class ListForgetsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListForgetsResponse(_message.Message):
    __slots__ = ("forgets", "next_page_token")
    FORGETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    forgets: _containers.RepeatedCompositeFieldContainer[Forget]
    next_page_token: str
    def __init__(self, forgets: _Optional[_Iterable[_Union[Forget, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListExecutionsRequest(_message.Message):
    __slots__ = ("campaign_id", "node_id", "states", "page_size", "page_token")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    node_id: str
    states: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    page_token: str
    def __init__(self, campaign_id: _Optional[str] = ..., node_id: _Optional[str] = ..., states: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListExecutionsResponse(_message.Message):
    __slots__ = ("executions", "next_page_token")
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    executions: _containers.RepeatedCompositeFieldContainer[Execution]
    next_page_token: str
    def __init__(self, executions: _Optional[_Iterable[_Union[Execution, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchForgetRequest(_message.Message):
    __slots__ = ("campaign_id",)
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    def __init__(self, campaign_id: _Optional[str] = ...) -> None: ...

class WatchForgetResponse(_message.Message):
    __slots__ = ("forget",)
    FORGET_FIELD_NUMBER: _ClassVar[int]
    forget: Forget
    def __init__(self, forget: _Optional[_Union[Forget, _Mapping]] = ...) -> None: ...

class GetCertificateRequest(_message.Message):
    __slots__ = ("campaign_id",)
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    def __init__(self, campaign_id: _Optional[str] = ...) -> None: ...

class GetCertificateResponse(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: str
    def __init__(self, certificate: _Optional[str] = ...) -> None: ...

class ListEvidenceRequest(_message.Message):
    __slots__ = ("campaign_id", "tree_size", "node_id", "page_token")
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    TREE_SIZE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    campaign_id: str
    tree_size: int
    node_id: str
    page_token: str
    def __init__(self, campaign_id: _Optional[str] = ..., tree_size: _Optional[int] = ..., node_id: _Optional[str] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEvidenceResponse(_message.Message):
    __slots__ = ("nodes", "next_page_token")
    NODES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedScalarFieldContainer[str]
    next_page_token: str
    def __init__(self, nodes: _Optional[_Iterable[str]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StartLearningRequest(_message.Message):
    __slots__ = ("request_id", "kind", "rounds", "shards")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    kind: _types_pb2.LearningKind
    rounds: int
    shards: int
    def __init__(self, request_id: _Optional[str] = ..., kind: _Optional[_Union[_types_pb2.LearningKind, str]] = ..., rounds: _Optional[int] = ..., shards: _Optional[int] = ...) -> None: ...

class StartLearningResponse(_message.Message):
    __slots__ = ("job", "created", "jobs", "skipped_shards")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_SHARDS_FIELD_NUMBER: _ClassVar[int]
    job: LearningJob
    created: bool
    jobs: _containers.RepeatedCompositeFieldContainer[LearningJob]
    skipped_shards: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, job: _Optional[_Union[LearningJob, _Mapping]] = ..., created: _Optional[bool] = ..., jobs: _Optional[_Iterable[_Union[LearningJob, _Mapping]]] = ..., skipped_shards: _Optional[_Iterable[int]] = ...) -> None: ...

class LearningJob(_message.Message):
    __slots__ = ("job_id", "request_id", "kind", "state", "attempt", "rounds", "rounds_done", "generation", "created_at_unix_ms", "error", "flower_run_id", "revision", "campaign_id", "metrics", "shard")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_DONE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FLOWER_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CAMPAIGN_ID_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    request_id: str
    kind: _types_pb2.LearningKind
    state: str
    attempt: int
    rounds: int
    rounds_done: int
    generation: int
    created_at_unix_ms: int
    error: str
    flower_run_id: int
    revision: int
    campaign_id: str
    metrics: _containers.ScalarMap[str, float]
    shard: int
    def __init__(self, job_id: _Optional[str] = ..., request_id: _Optional[str] = ..., kind: _Optional[_Union[_types_pb2.LearningKind, str]] = ..., state: _Optional[str] = ..., attempt: _Optional[int] = ..., rounds: _Optional[int] = ..., rounds_done: _Optional[int] = ..., generation: _Optional[int] = ..., created_at_unix_ms: _Optional[int] = ..., error: _Optional[str] = ..., flower_run_id: _Optional[int] = ..., revision: _Optional[int] = ..., campaign_id: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., shard: _Optional[int] = ...) -> None: ...

class GetLearningRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetLearningResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: LearningJob
    def __init__(self, job: _Optional[_Union[LearningJob, _Mapping]] = ...) -> None: ...

class ListLearningRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLearningResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[LearningJob]
    def __init__(self, jobs: _Optional[_Iterable[_Union[LearningJob, _Mapping]]] = ...) -> None: ...

class GetEnergyReportRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetEnergyReportResponse(_message.Message):
    __slots__ = ("totals", "energy_model")
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_MODEL_FIELD_NUMBER: _ClassVar[int]
    totals: _containers.RepeatedCompositeFieldContainer[_types_pb2.PhaseCost]
    energy_model: _types_pb2.EnergyModel
    def __init__(self, totals: _Optional[_Iterable[_Union[_types_pb2.PhaseCost, _Mapping]]] = ..., energy_model: _Optional[_Union[_types_pb2.EnergyModel, _Mapping]] = ...) -> None: ...

class CohortShard(_message.Message):
    __slots__ = ("shard", "rounds", "members", "log", "replay_from", "digest", "replay_job_id", "audit")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FROM_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REPLAY_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    shard: int
    rounds: int
    members: _containers.RepeatedCompositeFieldContainer[CohortMember]
    log: _containers.RepeatedCompositeFieldContainer[CohortRound]
    replay_from: int
    digest: bytes
    replay_job_id: str
    audit: CohortAudit
    def __init__(self, shard: _Optional[int] = ..., rounds: _Optional[int] = ..., members: _Optional[_Iterable[_Union[CohortMember, _Mapping]]] = ..., log: _Optional[_Iterable[_Union[CohortRound, _Mapping]]] = ..., replay_from: _Optional[int] = ..., digest: _Optional[bytes] = ..., replay_job_id: _Optional[str] = ..., audit: _Optional[_Union[CohortAudit, _Mapping]] = ...) -> None: ...

class CohortMember(_message.Message):
    __slots__ = ("subject_tag", "entry")
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    subject_tag: str
    entry: int
    def __init__(self, subject_tag: _Optional[str] = ..., entry: _Optional[int] = ...) -> None: ...

class CohortRound(_message.Message):
    __slots__ = ("inputs", "rewritten", "nodes")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    inputs: str
    rewritten: bool
    nodes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, inputs: _Optional[str] = ..., rewritten: _Optional[bool] = ..., nodes: _Optional[_Iterable[str]] = ...) -> None: ...

class CohortAudit(_message.Message):
    __slots__ = ("state", "job_id", "lines", "detail")
    STATE_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    state: str
    job_id: str
    lines: _containers.RepeatedCompositeFieldContainer[CohortAuditLine]
    detail: str
    def __init__(self, state: _Optional[str] = ..., job_id: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[CohortAuditLine, _Mapping]]] = ..., detail: _Optional[str] = ...) -> None: ...

class CohortAuditLine(_message.Message):
    __slots__ = ("name", "holds", "expected", "got")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    GOT_FIELD_NUMBER: _ClassVar[int]
    name: str
    holds: bool
    expected: str
    got: str
    def __init__(self, name: _Optional[str] = ..., holds: _Optional[bool] = ..., expected: _Optional[str] = ..., got: _Optional[str] = ...) -> None: ...

class GetCohortsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCohortsResponse(_message.Message):
    __slots__ = ("shards", "cohorts")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    COHORTS_FIELD_NUMBER: _ClassVar[int]
    shards: int
    cohorts: _containers.RepeatedCompositeFieldContainer[CohortShard]
    def __init__(self, shards: _Optional[int] = ..., cohorts: _Optional[_Iterable[_Union[CohortShard, _Mapping]]] = ...) -> None: ...

class AuditCohortRequest(_message.Message):
    __slots__ = ("shard",)
    SHARD_FIELD_NUMBER: _ClassVar[int]
    shard: int
    def __init__(self, shard: _Optional[int] = ...) -> None: ...

class AuditCohortResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: LearningJob
    def __init__(self, job: _Optional[_Union[LearningJob, _Mapping]] = ...) -> None: ...

class DropLoraRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DropLoraResponse(_message.Message):
    __slots__ = ("revision", "rows")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    rows: int
    def __init__(self, revision: _Optional[int] = ..., rows: _Optional[int] = ...) -> None: ...
