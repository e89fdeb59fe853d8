from reram_fleet.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetJobRequest(_message.Message):
    __slots__ = ("job_id", "attempt")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("kind", "rounds", "round_offset", "quorum", "sealed_state", "job_key", "round_timeout_s")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    ROUND_OFFSET_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    SEALED_STATE_FIELD_NUMBER: _ClassVar[int]
    JOB_KEY_FIELD_NUMBER: _ClassVar[int]
    ROUND_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    kind: _types_pb2.LearningKind
    rounds: int
    round_offset: int
    quorum: int
    sealed_state: bytes
    job_key: bytes
    round_timeout_s: int
    def __init__(self, kind: _Optional[_Union[_types_pb2.LearningKind, str]] = ..., rounds: _Optional[int] = ..., round_offset: _Optional[int] = ..., quorum: _Optional[int] = ..., sealed_state: _Optional[bytes] = ..., job_key: _Optional[bytes] = ..., round_timeout_s: _Optional[int] = ...) -> None: ...

class BeginRoundRequest(_message.Message):
    __slots__ = ("job_id", "attempt", "round")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    round: int
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., round: _Optional[int] = ...) -> None: ...

class BeginRoundResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[RoundNode]
    def __init__(self, nodes: _Optional[_Iterable[_Union[RoundNode, _Mapping]]] = ...) -> None: ...

class RoundNode(_message.Message):
    __slots__ = ("node_id", "flower_node_id", "ticket")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    FLOWER_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    flower_node_id: int
    ticket: _types_pb2.Envelope
    def __init__(self, node_id: _Optional[str] = ..., flower_node_id: _Optional[int] = ..., ticket: _Optional[_Union[_types_pb2.Envelope, _Mapping]] = ...) -> None: ...

class ReportRoundRequest(_message.Message):
    __slots__ = ("job_id", "attempt", "round", "sealed_state", "metrics", "node_ids")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    SEALED_STATE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    NODE_IDS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    round: int
    sealed_state: bytes
    metrics: _containers.ScalarMap[str, float]
    node_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., round: _Optional[int] = ..., sealed_state: _Optional[bytes] = ..., metrics: _Optional[_Mapping[str, float]] = ..., node_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ReportRoundResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FinishJobRequest(_message.Message):
    __slots__ = ("job_id", "attempt", "error")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    error: str
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class FinishJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
