from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from reram_fleet.processes.flower import NODE_ID_KEY, STATE_KEY, STATE_RECORD, TICKET_KEY
from reram_fleet.v1.learning_pb2 import RoundNode
from reram_fleet.v1.types_pb2 import Envelope, LoraShape
from reram_fleet.wire.lora_states import StateArrays

from fleet.learning.sealed_states import open_state
from fleet.learning.state_codec import StateCodec

JOB = "job-1"
TAGS = ("a" * 32, "b" * 32)
RANK = 3


def state(rows: Any, weights: Any = (1, 1)) -> StateArrays:
    """Return a state of two people with these codes, row after row."""
    codes = np.asarray(rows, np.int16).reshape(len(TAGS), RANK)
    return replace(StateArrays.empty(TAGS, LoraShape(rank=RANK)), rows=codes, row_weights=np.asarray(weights, np.uint8))


def round_node(flower_id: int) -> RoundNode:
    return RoundNode(
        node_id=f"edge-{flower_id}",
        flower_node_id=flower_id,
        ticket=Envelope(payload_type="ticket", payload=b"for %d" % flower_id),
    )


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.at: dict[float, Any] = {}

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        for due in sorted(time_s for time_s in self.at if time_s <= self.now_s):
            self.at.pop(due)()


class LoopGrid(Grid):
    """A SuperLink and its nodes in one object, with the ways of the real one that matter here."""

    def __init__(self, codec: StateCodec, node_ids: Sequence[int]) -> None:
        self.codec = codec
        self.online = set(node_ids)
        #: Nodes that take a message and never answer.
        self.silent: set[int] = set()
        self.failing: set[int] = set()
        self.sent: list[Message] = []
        self.waiting: dict[str, Message] = {}
        #: Messages that were polled while their node was offline: Flower deletes those.
        self.deleted: list[int] = []
        self.examples: dict[int, float] = {}
        self.reply_state: dict[int, bytes] = {}
        self.extra_metrics: dict[int, dict[str, Any]] = {}

    def set_run(self, run: Any) -> None:
        raise AssertionError("JobGrid never asks its grid for this")

    @property
    def run(self) -> Any:
        raise AssertionError("JobGrid never asks its grid for this")

    def create_message(self, *arguments: Any, **named: Any) -> Message:
        raise AssertionError("JobGrid never asks its grid for this")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise AssertionError("JobGrid never asks its grid for this")

    def get_node_ids(self) -> list[int]:
        return sorted(self.online)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            message_id = message.object_id
            message.metadata.__dict__["_message_id"] = message_id
            self.sent.append(message)
            self.waiting[message_id] = message
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        # Newest first: the real one gives no order either.
        for message_id in reversed(list(message_ids)):
            flower_id = self.waiting[message_id].metadata.dst_node_id
            if flower_id not in self.online:
                self.deleted.append(flower_id)
            elif flower_id not in self.silent:
                yield self._reply(self.waiting.pop(message_id), flower_id)

    def _reply(self, message: Message, flower_id: int) -> Message:
        if flower_id in self.failing:
            return Message(Error(code=2, reason="generation 3, expected 4"), reply_to=message)
        record = message.content.config_records[STATE_RECORD]
        assert record[TICKET_KEY] == round_node(flower_id).ticket.SerializeToString()
        received = open_state(JOB, self.codec.key, record[STATE_KEY])  # type: ignore[arg-type]
        sealed = self.reply_state.get(flower_id) or self.codec.seal(
            state(received.rows + flower_id, received.row_weights)
        )
        metrics = {
            "num-examples": self.examples.get(flower_id, 1.0),
            "loss": float(flower_id),
            **self.extra_metrics.get(flower_id, {}),
        }
        content = RecordDict(
            {
                STATE_RECORD: ConfigRecord({STATE_KEY: sealed, NODE_ID_KEY: f"edge-{flower_id}"}),
                "metrics": MetricRecord(metrics),
            }
        )
        return Message(content, reply_to=message)
