"""Batched apps: an algorithm of nodes as `init`, `step` and `final` over the node axis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from flwr.app import Context, Message, RecordDict

from fleet.sim.grid.apps import NodeApp
from fleet.sim.grid.flower_adapter import replies_to
from fleet.sim.grid.views import NodeViews

State = TypeVar("State")
Batch = TypeVar("Batch")

#: Key of Flower's simulation in a node's configuration: number of its part of the data, from 0.
PARTITION = "partition-id"


@dataclass(frozen=True, eq=False)
class BatchCall:
    """One message to N nodes.

    Attributes
    ----------
    message_type
        `train`, `evaluate`, or one with an action, as `train.lora`.
    content
        Records of the message, the same for all of these nodes.
    contexts
        Context of each node; `partitions` has the numbers of their data.
    """

    message_type: str
    content: RecordDict
    contexts: Sequence[Context]

    @property
    def partitions(self) -> npt.NDArray[np.int64]:
        """Number of each node's part of the data, int64 [N]."""
        return np.array([context.node_config[PARTITION] for context in self.contexts], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.contexts)


@dataclass(frozen=True, eq=False)
class BatchReply:
    """Replies of N nodes.

    Attributes
    ----------
    arrays
        By name, [N, ...]. Replies are views of them, so they must not be changed any more.
    metrics
        By name, [N] or [N, length]; strategies weigh by `num-examples`.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    metrics: Mapping[str, npt.NDArray[Any]]


class BatchedApp(ABC, Generic[State, Batch]):
    """Algorithm of nodes, written over the node axis; FedJAX has the same three parts for one client.

    It is a function of its call: what it draws, it draws by (node, round), and what it keeps for a node's next round is
    in the node's context.
    """

    @abstractmethod
    def init(self, call: BatchCall) -> State:
        """Return the state of N nodes before the first step."""

    @abstractmethod
    def batches(self, call: BatchCall) -> Iterable[Batch]:
        """Return what the steps work on, one batch of N nodes after the other; nothing if there are no steps."""

    @abstractmethod
    def step(self, state: State, batch: Batch) -> State:
        """Return the state after a step; it may be the same object, changed."""

    @abstractmethod
    def final(self, state: State) -> BatchReply:
        """Return the replies."""


class BatchedApps(NodeApp):
    """A `BatchedApp` on nodes: those of a chunk that got the same record are one call.

    An error that it raises is not one node's, and ends the run.
    """

    def __init__(self, app: BatchedApp[Any, Any], *, arrays_key: str = "arrays", metrics_key: str = "metrics") -> None:
        self._app, self._arrays_key, self._metrics_key = app, arrays_key, metrics_key

    def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> Sequence[Message]:
        """Call the app once for each run of messages that carry the same record."""
        replies: list[Message] = []
        for (kind, _), group in groupby(zip(messages, contexts, strict=True), key=_record):
            asked, theirs = zip(*group, strict=True)
            call = BatchCall(kind, asked[0].content, theirs)
            state = self._app.init(call)
            for batch in self._app.batches(call):
                state = self._app.step(state, batch)
            replies += self._replies(asked, self._app.final(state))
        return replies

    def _replies(self, asked: Sequence[Message], reply: BatchReply) -> Iterator[Message]:
        arrays = {name: np.asarray(values) for name, values in reply.arrays.items()}
        metrics = {name: np.asarray(values).tolist() for name, values in reply.metrics.items()}
        if odd := [name for name, values in (arrays | metrics).items() if len(values) != len(asked)]:
            raise ValueError(f"{odd[0]!r} has no value for each of the {len(asked)} nodes")
        views = (NodeViews(arrays, index) for index in range(len(asked)))
        rows = (dict(zip(metrics, row, strict=True)) for row in zip(*metrics.values(), strict=True))
        return replies_to(asked, [(self._arrays_key, views)] if arrays else [], [(self._metrics_key, rows)])


def _record(asked: tuple[Message, Context]) -> tuple[str, int]:
    message, _ = asked
    return message.metadata.message_type, id(message.content)
