from reram_fleet.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TagRefusal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TAG_REFUSAL_UNSPECIFIED: _ClassVar[TagRefusal]
    TAG_REFUSAL_QUARANTINED: _ClassVar[TagRefusal]
    TAG_REFUSAL_UNKNOWN_TAG: _ClassVar[TagRefusal]
    TAG_REFUSAL_FORGOTTEN_TAG: _ClassVar[TagRefusal]
    TAG_REFUSAL_FORGOTTEN_CONCEPT: _ClassVar[TagRefusal]
TAG_REFUSAL_UNSPECIFIED: TagRefusal
TAG_REFUSAL_QUARANTINED: TagRefusal
TAG_REFUSAL_UNKNOWN_TAG: TagRefusal
TAG_REFUSAL_FORGOTTEN_TAG: TagRefusal
TAG_REFUSAL_FORGOTTEN_CONCEPT: TagRefusal

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("node_id", "task", "serve_state", "quarantine_reason", "generation", "revision", "revision_digest", "subject_tags", "costs", "energy_model", "overhead", "reram_writes", "transitions", "connected", "supernode", "accept_threshold")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    SERVE_STATE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_REASON_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_TAGS_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    ENERGY_MODEL_FIELD_NUMBER: _ClassVar[int]
    OVERHEAD_FIELD_NUMBER: _ClassVar[int]
    RERAM_WRITES_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    SUPERNODE_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    task: str
    serve_state: _types_pb2.ServeState
    quarantine_reason: _types_pb2.QuarantineReason
    generation: int
    revision: int
    revision_digest: bytes
    subject_tags: _containers.RepeatedScalarFieldContainer[str]
    costs: _containers.RepeatedCompositeFieldContainer[_types_pb2.PhaseCost]
    energy_model: _types_pb2.EnergyModel
    overhead: _types_pb2.DeploymentOverhead
    reram_writes: int
    transitions: _containers.RepeatedCompositeFieldContainer[ServeTransition]
    connected: bool
    supernode: str
    accept_threshold: float
    def __init__(self, node_id: _Optional[str] = ..., task: _Optional[str] = ..., serve_state: _Optional[_Union[_types_pb2.ServeState, str]] = ..., quarantine_reason: _Optional[_Union[_types_pb2.QuarantineReason, str]] = ..., generation: _Optional[int] = ..., revision: _Optional[int] = ..., revision_digest: _Optional[bytes] = ..., subject_tags: _Optional[_Iterable[str]] = ..., costs: _Optional[_Iterable[_Union[_types_pb2.PhaseCost, _Mapping]]] = ..., energy_model: _Optional[_Union[_types_pb2.EnergyModel, _Mapping]] = ..., overhead: _Optional[_Union[_types_pb2.DeploymentOverhead, _Mapping]] = ..., reram_writes: _Optional[int] = ..., transitions: _Optional[_Iterable[_Union[ServeTransition, _Mapping]]] = ..., connected: _Optional[bool] = ..., supernode: _Optional[str] = ..., accept_threshold: _Optional[float] = ...) -> None: ...

class ServeTransition(_message.Message):
    __slots__ = ("at_unix_ms", "serve_state", "quarantine_reason", "generation")
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    SERVE_STATE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_REASON_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    at_unix_ms: int
    serve_state: _types_pb2.ServeState
    quarantine_reason: _types_pb2.QuarantineReason
    generation: int
    def __init__(self, at_unix_ms: _Optional[int] = ..., serve_state: _Optional[_Union[_types_pb2.ServeState, str]] = ..., quarantine_reason: _Optional[_Union[_types_pb2.QuarantineReason, str]] = ..., generation: _Optional[int] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("frames", "channels", "values")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    frames: int
    channels: int
    values: bytes
    def __init__(self, frames: _Optional[int] = ..., channels: _Optional[int] = ..., values: _Optional[bytes] = ...) -> None: ...

class EnrollRequest(_message.Message):
    __slots__ = ("samples", "ticket")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    ticket: _types_pb2.Envelope
    def __init__(self, samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ..., ticket: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("count", "infer_cost", "train_cost")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    INFER_COST_FIELD_NUMBER: _ClassVar[int]
    TRAIN_COST_FIELD_NUMBER: _ClassVar[int]
    count: int
    infer_cost: _types_pb2.PhaseCost
    train_cost: _types_pb2.PhaseCost
    def __init__(self, count: _Optional[int] = ..., infer_cost: _Optional[_Union[_types_pb2.PhaseCost, _Mapping]] = ..., train_cost: _Optional[_Union[_types_pb2.PhaseCost, _Mapping]] = ...) -> None: ...

class IdentifyRequest(_message.Message):
    __slots__ = ("samples",)
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    def __init__(self, samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ...) -> None: ...

class IdentifyResponse(_message.Message):
    __slots__ = ("backbone_only", "quarantine_reason", "generation", "answers")
    BACKBONE_ONLY_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_REASON_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    backbone_only: bool
    quarantine_reason: _types_pb2.QuarantineReason
    generation: int
    answers: _containers.RepeatedCompositeFieldContainer[Answer]
    def __init__(self, backbone_only: _Optional[bool] = ..., quarantine_reason: _Optional[_Union[_types_pb2.QuarantineReason, str]] = ..., generation: _Optional[int] = ..., answers: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("best_tag", "score", "accepted", "best_tag_subject_only", "best_tag_without_head")
    BEST_TAG_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    BEST_TAG_SUBJECT_ONLY_FIELD_NUMBER: _ClassVar[int]
    BEST_TAG_WITHOUT_HEAD_FIELD_NUMBER: _ClassVar[int]
    best_tag: str
    score: float
    accepted: bool
    best_tag_subject_only: str
    best_tag_without_head: str
    def __init__(self, best_tag: _Optional[str] = ..., score: _Optional[float] = ..., accepted: _Optional[bool] = ..., best_tag_subject_only: _Optional[str] = ..., best_tag_without_head: _Optional[str] = ...) -> None: ...

class AuthenticateRequest(_message.Message):
    __slots__ = ("subject_tag", "samples")
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    subject_tag: str
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    def __init__(self, subject_tag: _Optional[str] = ..., samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ...) -> None: ...

class AuthenticateResponse(_message.Message):
    __slots__ = ("refusal", "quarantine_reason", "generation", "accepted", "score", "threshold", "sample_scores")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_REASON_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_SCORES_FIELD_NUMBER: _ClassVar[int]
    refusal: TagRefusal
    quarantine_reason: _types_pb2.QuarantineReason
    generation: int
    accepted: bool
    score: float
    threshold: float
    sample_scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, refusal: _Optional[_Union[TagRefusal, str]] = ..., quarantine_reason: _Optional[_Union[_types_pb2.QuarantineReason, str]] = ..., generation: _Optional[int] = ..., accepted: _Optional[bool] = ..., score: _Optional[float] = ..., threshold: _Optional[float] = ..., sample_scores: _Optional[_Iterable[float]] = ...) -> None: ...

class RunRoundRequest(_message.Message):
    __slots__ = ("ticket", "sealed_state")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    SEALED_STATE_FIELD_NUMBER: _ClassVar[int]
    ticket: _types_pb2.Envelope
    sealed_state: bytes
    def __init__(self, ticket: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ..., sealed_state: _Optional[bytes] = ...) -> None: ...

class RunRoundResponse(_message.Message):
    __slots__ = ("node_id", "sealed_state", "num_examples", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SEALED_STATE_FIELD_NUMBER: _ClassVar[int]
    NUM_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    sealed_state: bytes
    num_examples: int
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, node_id: _Optional[str] = ..., sealed_state: _Optional[bytes] = ..., num_examples: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("subject_tag", "class_name", "count", "seed", "style")
    SUBJECT_TAG_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    subject_tag: str
    class_name: str
    count: int
    seed: int
    style: str
    def __init__(self, subject_tag: _Optional[str] = ..., class_name: _Optional[str] = ..., count: _Optional[int] = ..., seed: _Optional[int] = ..., style: _Optional[str] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("refusal", "quarantine_reason", "generation", "levels", "rows", "columns", "infer_cost", "channels")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_REASON_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    INFER_COST_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    refusal: TagRefusal
    quarantine_reason: _types_pb2.QuarantineReason
    generation: int
    levels: bytes
    rows: int
    columns: int
    infer_cost: _types_pb2.PhaseCost
    channels: int
    def __init__(self, refusal: _Optional[_Union[TagRefusal, str]] = ..., quarantine_reason: _Optional[_Union[_types_pb2.QuarantineReason, str]] = ..., generation: _Optional[int] = ..., levels: _Optional[bytes] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ..., infer_cost: _Optional[_Union[_types_pb2.PhaseCost, _Mapping]] = ..., channels: _Optional[int] = ...) -> None: ...
