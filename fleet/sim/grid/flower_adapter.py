"""Adapter to what Flower keeps private: whose task this process is, and the ids of messages.

All that the simulator takes from Flower besides its public API is here, and is pinned by a test of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.app.message.typeddict import TypedDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode, SType
from flwr.serverapp import ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

#: How `Array` names the format of its bytes: that of `numpy.save`.
NUMPY_BYTES: str = SType.NUMPY
#: Task of the ServerApp in its run; a simulation has no other.
_TASK_ID = 1

_lock = threading.Lock()
#: Runs that are entered now, by a key of each entry, and the identity from before the first of them.
_entered: dict[object, int] = {}
_before: tuple[int | None, int | None, int | None] = (None, None, None)


@contextmanager
def task_of_run(run_id: int) -> Iterator[None]:
    """Let this process make messages, as the ServerApp of a run.

    Flower has one identity per process, and no message is made without it. Simulations may be nested, follow each other
    or overlap, in threads too: the newest that has not ended is the process's task, and after the last the identity is
    what it was before the first.
    """
    global _before
    entry = object()
    with _lock:
        if not _entered:
            _before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
        _entered[entry] = run_id
        _identify(_TASK_ID, run_id, SUPERLINK_NODE_ID)
    try:
        yield
    finally:
        with _lock:
            del _entered[entry]
            if _entered:
                _identify(_TASK_ID, list(_entered.values())[-1], SUPERLINK_NODE_ID)
            else:
                _identify(*_before)


def _identify(task_id: int | None, run_id: int | None, node_id: int | None) -> None:
    # Past the setters, which take no None.
    for name, value in (("_task_id", task_id), ("_run_id", run_id), ("_node_id", node_id)):
        setattr(TaskIdentity, name, value)


def stamp(message: Message, message_id: str, run_id: int) -> None:
    """Give a message its id and its run, whoever's task the process was when it was made."""
    metadata = message.metadata.__dict__
    metadata["_message_id"], metadata["_run_id"] = message_id, run_id


Copied = TypeVar("Copied")


class ReplyRecords(RecordDict):
    """Content of a reply.

    A group of a `RecordDict`'s records refers to itself, so that each reply of which a strategy has seen one stays in
    memory until Python looks for circles. Here groups do not, and take a quarter of the time.
    """

    @property
    def array_records(self) -> TypedDict[str, ArrayRecord]:
        """Records of arrays."""
        return _group(self, _NO_ARRAYS, ArrayRecord)

    @property
    def metric_records(self) -> TypedDict[str, MetricRecord]:
        """Records of metrics."""
        return _group(self, _NO_METRICS, MetricRecord)

    def deflate(self) -> bytes:
        """Return the bytes of a `RecordDict`: they name its class."""
        return RecordDict(dict(self)).deflate()


_NO_ARRAYS, _NO_METRICS = RecordDict().array_records, RecordDict().metric_records


def _group(records: ReplyRecords, like: Copied, kind: type) -> Copied:
    data = {key: record for key, record in records.__dict__["_data"].items() if isinstance(record, kind)}
    return _like(like, recorddict=records, _data=data)


def replies_to(
    messages: Sequence[Message],
    arrays: Iterable[tuple[str, Iterable[Mapping[str, Array]]]],
    metrics: Iterable[tuple[str, Iterable[Mapping[str, Any]]]],
) -> Iterator[Message]:
    """Yield the replies to messages of one chunk, whose contents have the same keys.

    The first is made by Flower, with all its checks; the others are copies of it with other values, which takes a
    quarter of the time.

    Parameters
    ----------
    arrays, metrics
        By the key of a record, the values of that record in each reply.
    """
    keys = [key for key, _ in (*arrays, *metrics)]
    rows = zip(*(values for _, values in arrays), *(values for _, values in metrics), strict=True)
    first: Message | None = None
    for message, row in zip(messages, rows, strict=True):
        if first is None:
            records = [ArrayRecord() for _ in arrays] + [MetricRecord() for _ in metrics]
            for record, values in zip(records, row, strict=True):
                for name, value in values.items():
                    record[name] = value
                record.__dict__["_data"] = values
            first = Message(ReplyRecords(dict(zip(keys, records, strict=True))), reply_to=message)
            yield first
            continue
        like = zip(keys, first.content.values(), row, strict=True)
        content = _like(first.content, _data={key: _like(record, _data=values) for key, record, values in like})
        asked = message.metadata
        metadata = _like(
            first.metadata,
            _run_id=asked.run_id,
            _src_node_id=asked.dst_node_id,
            _dst_node_id=asked.src_node_id,
            _reply_to_message_id=asked.message_id,
            _group_id=asked.group_id,
            _ttl=asked.created_at + asked.ttl - first.metadata.created_at,
        )
        yield _like(first, _metadata=metadata, _content=content)


def _like(thing: Copied, **changes: object) -> Copied:
    """Return a copy of an object of Flower's that differs in private fields."""
    copied = object.__new__(type(thing))
    copied.__dict__.update(thing.__dict__, **changes)
    return copied


def run_flowers_simulation(server_app: ServerApp, client_app: ClientApp, nodes: int, actors: int) -> None:
    """Run apps on Flower's own simulation; this process is then again whose task it was.

    `RuntimeError` if the ServerApp fails.
    """
    # It takes long to import, and nothing else needs it.
    from flwr.simulation import run_simulation

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": actors}}
    with task_of_run(1):
        run_simulation(server_app, client_app, nodes, backend_config=resources)  # type: ignore[arg-type]


def own_copy(message: Message) -> Message:
    """Return a message with records of its own: what one node changes in them, another one does not see."""
    return make_message(message.metadata, RecordDict({name: each.copy() for name, each in message.content.items()}))


def run_of(run_id: int) -> Run:
    """Return what Flower says of a run."""
    return Run.create_empty(run_id)


def raised(message: Message, error: Exception) -> Message:
    """Return the reply to a message at which an app has raised an error, worded as Flower's own simulation does."""
    reason = f"{type(error)}:<'{error}'>"
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def unavailable(message: Message) -> Message:
    """Return the reply to a message to a node that is not there."""
    reason = f"there is no node {message.metadata.dst_node_id}"
    return Message(Error(ErrorCode.NODE_UNAVAILABLE, reason), reply_to=message)
