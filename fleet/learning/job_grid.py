"""Seam between Flower's stock strategies and a learning job.

A strategy sees a Grid with plain arrays and "train" or "evaluate" messages. What leaves this process is the job's own
message type, with the state sealed under the job key and the coordinator's ticket for that node.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from reram_fleet.processes.flower import MESSAGE_TYPES, NODE_ID_KEY, STATE_KEY, STATE_RECORD, TICKET_KEY
from reram_fleet.v1.learning_pb2 import RoundNode
from reram_fleet.v1.types_pb2 import LEARNING_KIND_EVALUATE_QUALITY, LearningKind
from reram_fleet.wire.lora_states import StateArrays

from fleet.learning.errors import LearningPlaneError, QuorumError, StateError
from fleet.learning.state_codec import StateCodec

# Below Flower's own logger: what it says is seen with `flwr log`.
logger = logging.getLogger("flwr.reram_fleet.job_grid")

# Records of an opened reply, as FedAvg expects them by default.
ARRAYS_RECORD = "arrays"
METRICS_RECORD = "metrics"
NUM_EXAMPLES = "num-examples"
#: Samples that a node can have trained with; it is what its reply weighs in the average.
MAX_EXAMPLES = 2**22


@dataclass(frozen=True)
class Pace:
    """Waiting times of a round, in seconds."""

    #: Between two looks for replies.
    poll_s: float = 0.5
    #: Between two looks for nodes before a round.
    gather_poll_s: float = 1.0
    #: A quorum that is online waits this long for the others that the coordinator names.
    gather_s: float = 10.0
    #: A quorum that has answered waits this long for missing nodes of which all are offline.
    offline_grace_s: float = 10.0
    #: Added to the timeout of a round to get the lifetime of its messages in Flower's database.
    message_slack_s: float = 60.0


@dataclass(frozen=True)
class RoundOutcome:
    """Replies of one round."""

    #: Counted from 1 over all attempts of the job.
    round_number: int
    #: Nodes whose replies were used, sorted.
    node_ids: tuple[str, ...]
    #: State that they started from, and on how many examples they computed in all: for `StateCodec.averaged`.
    before: StateArrays
    examples: int
    #: Averages over these nodes, weighted by their numbers of examples.
    metrics: Mapping[str, float]
    #: Reason by node id of those that were asked in vain.
    failures: Mapping[str, str]


class JobGrid(Grid):
    """A Grid that runs the rounds of one learning job; `grid` is what really carries its messages.

    Parameters
    ----------
    begin_round
        Returns the live nodes and their tickets for a round number (LearningService.BeginRound).
    quorum
        Replies that a round needs, at least 1.
    round_offset
        Rounds that earlier attempts have finished.
    round_timeout_s
        Longest wait for a quorum to come online, and then again for its replies.
    """

    def __init__(
        self,
        grid: Grid,
        codec: StateCodec,
        *,
        kind: LearningKind,
        begin_round: Callable[[int], Sequence[RoundNode]],
        quorum: int,
        round_offset: int = 0,
        round_timeout_s: float,
        pace: Pace = Pace(),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if quorum < 1:
            raise LearningPlaneError(f"a round needs at least one reply, got a quorum of {quorum}")
        self.last_round: RoundOutcome | None = None
        self._grid, self._codec, self._kind = grid, codec, kind
        self._begin_round, self._quorum = begin_round, quorum
        self._round, self._round_timeout_s = round_offset + 1, round_timeout_s
        self._pace, self._clock, self._sleep = pace, clock, sleep
        self._state = codec.first
        # Nodes of the round to come by Flower id, and of unanswered messages by message id.
        self._nodes: dict[int, RoundNode] = {}
        self._asked: dict[str, RoundNode] = {}

    def sealed(self, arrays: ArrayRecord) -> bytes:
        """Seal what a strategy has made of the last round, as `StateCodec.averaged`; before any, the first state."""
        return self._codec.seal(self._settled(arrays))

    # What the run's own Grid answers.

    def set_run(self, run: Any) -> None:
        """Set the Flower run."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """The Flower run."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Build a message; nothing is sealed before it is pushed."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    # What this Grid adds.

    def get_node_ids(self) -> list[int]:
        """Return the Flower ids of the nodes of the next round, once a quorum of them is online.

        `QuorumError` if no quorum comes online within the round's timeout.
        """
        if not self._nodes:
            self._nodes = self._gather()
        return sorted(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Seal each message for its node and send it; ids in the same order, empty where it was refused."""
        # A strategy sends all nodes one record: it is sealed once, under the one key that all of them have.
        sealed: dict[int, tuple[ArrayRecord, bytes]] = {}
        outgoing = [self._sealed(message, sealed) for message in messages]
        if not outgoing:
            return []
        ids = list(self._grid.push_messages(outgoing))
        for message_id, message in zip(ids, outgoing, strict=True):
            if message_id:
                self._asked[message_id] = self._nodes[message.metadata.dst_node_id]
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that have come, opened; a reply that cannot be used is left out.

        Messages to nodes that are offline are not asked for: Flower answers such a question by deleting the message,
        and the node would never see it.
        """
        return [reply for reply, _ in self._pull(message_ids, self._online(), {})]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Run one round; return the usable replies sorted by node id (a float sum depends on order).

        `QuorumError` if fewer usable replies than the quorum come in time.
        """
        messages = list(messages)
        if not messages:
            return []
        self.get_node_ids()
        asked = {self._nodes[message.metadata.dst_node_id].node_id for message in messages}
        message_ids = [message_id for message_id in self.push_messages(messages) if message_id]
        failures: dict[str, str] = {}
        limit_s = self._round_timeout_s if timeout is None else min(timeout, self._round_timeout_s)
        replies = self._collect(message_ids, failures, self._clock() + limit_s)
        for node_id in asked - replies.keys() - failures.keys():
            failures[node_id] = "no reply"
        self._conclude(replies, failures, len(asked))
        return [replies[node_id] for node_id in sorted(replies)]

    def _settled(self, arrays: ArrayRecord) -> StateArrays:
        last = self.last_round
        if last is None or self._kind == LEARNING_KIND_EVALUATE_QUALITY:
            return self._codec.first
        return self._codec.averaged(last.before, arrays, last.examples, len(last.node_ids))

    def _gather(self) -> dict[int, RoundNode]:
        started = self._clock()
        while True:
            named = {node.flower_node_id: node for node in self._begin_round(self._round)}
            online = self._online()
            ready = {flower_id: node for flower_id, node in named.items() if flower_id in online}
            waited_s = self._clock() - started
            if len(ready) >= self._quorum and (len(ready) == len(named) or waited_s >= self._pace.gather_s):
                return ready
            if waited_s >= self._round_timeout_s:
                raise QuorumError(
                    f"round {self._round} needs {self._quorum} nodes; after {waited_s:.0f} s the coordinator "
                    f"names {len(named)} and Flower sees {len(ready)} of them online"
                )
            self._sleep(self._pace.gather_poll_s)

    def _sealed(self, message: Message, sealed: dict[int, tuple[ArrayRecord, bytes]]) -> Message:
        metadata, content = message.metadata, message.content
        node = self._nodes.get(metadata.dst_node_id)
        if node is None:
            raise LearningPlaneError(f"node {metadata.dst_node_id} is not one of round {self._round}")
        arrays = next(iter(content.array_records.values()))
        if id(arrays) not in sealed:
            # Kept with its record, or another one could get the same id.
            self._state = self._settled(arrays)
            sealed[id(arrays)] = arrays, self._codec.seal(self._state)
        _, state = sealed[id(arrays)]
        record = ConfigRecord({STATE_KEY: state, TICKET_KEY: node.ticket.SerializeToString()})
        # Nothing else goes: the ticket carries job, attempt and round, signed.
        return Message(
            content=RecordDict({STATE_RECORD: record}),
            dst_node_id=metadata.dst_node_id,
            message_type=MESSAGE_TYPES[self._kind],
            ttl=self._round_timeout_s + self._pace.message_slack_s,
        )

    def _collect(self, message_ids: Sequence[str], failures: dict[str, str], deadline: float) -> dict[str, Message]:
        replies: dict[str, Message] = {}
        offline_since: float | None = None
        while True:
            online = self._online()
            for reply, node in self._pull(message_ids, online, failures):
                replies[node.node_id] = reply
            missing = [self._asked[message_id] for message_id in message_ids if message_id in self._asked]
            now = self._clock()
            if not missing or now >= deadline:
                return replies
            if any(node.flower_node_id in online for node in missing):
                offline_since = None
            elif offline_since is None:
                offline_since = now
            elif len(replies) >= self._quorum and now - offline_since >= self._pace.offline_grace_s:
                return replies
            self._sleep(self._pace.poll_s)

    def _online(self) -> set[int]:
        return set(self._grid.get_node_ids())

    def _pull(
        self, message_ids: Iterable[str], online: set[int], failures: dict[str, str]
    ) -> Iterable[tuple[Message, RoundNode]]:
        asked = [message_id for message_id in message_ids if message_id in self._asked]
        askable = [message_id for message_id in asked if self._asked[message_id].flower_node_id in online]
        if not askable:
            return
        for reply in self._grid.pull_messages(askable):
            node = self._asked.pop(reply.metadata.reply_to_message_id, None)
            if node is None:
                continue
            try:
                if reply.has_error():
                    raise StateError(f"Flower error {reply.error.code}: {reply.error.reason}")
                reply.content = self._opened(reply.content, node)
            except StateError as error:
                logger.warning("round %d: node %s: %s", self._round, node.node_id, error)
                failures[node.node_id] = str(error)
            else:
                yield reply, node

    def _opened(self, content: RecordDict, node: RoundNode) -> RecordDict:
        record = content.config_records.get(STATE_RECORD)
        metrics = content.metric_records.get(METRICS_RECORD)
        if record is None or metrics is None:
            raise StateError(f"the reply has no {STATE_RECORD!r} or no {METRICS_RECORD!r} record")
        if record.get(NODE_ID_KEY) != node.node_id:
            raise StateError(f"the reply names node {record.get(NODE_ID_KEY)!r}")
        examples = metrics.get(NUM_EXAMPLES)
        if not isinstance(examples, int | float) or not 0 <= examples <= MAX_EXAMPLES:
            raise StateError(f"the reply's {NUM_EXAMPLES} is {examples!r}, expected 0 to {MAX_EXAMPLES}")
        if odd := [name for name, value in metrics.items() if not _is_finite(value)]:
            raise StateError(f"the reply's {odd[0]} is {metrics[odd[0]]!r}")
        opened = RecordDict({METRICS_RECORD: metrics})
        if self._kind != LEARNING_KIND_EVALUATE_QUALITY:
            sealed = record.get(STATE_KEY)
            if not isinstance(sealed, bytes):
                raise StateError("the reply has no state")
            opened[ARRAYS_RECORD] = self._codec.open(sealed)
        return opened

    def _conclude(self, replies: Mapping[str, Message], failures: Mapping[str, str], asked: int) -> None:
        reasons = "; ".join(f"{node_id}: {reason}" for node_id, reason in sorted(failures.items()))
        if len(replies) < self._quorum:
            raise QuorumError(
                f"round {self._round}: {len(replies)} of {asked} nodes gave a usable reply, "
                f"{self._quorum} are needed ({reasons})"
            )
        used = tuple(sorted(replies))
        examples, metrics = _average_metrics([replies[name].content.metric_records[METRICS_RECORD] for name in used])
        if examples == 0:
            raise QuorumError(f"round {self._round}: none of the {len(replies)} nodes has examples")
        self.last_round = RoundOutcome(self._round, used, self._state, round(examples), metrics, dict(failures))
        logger.info("round %d: %d of %d nodes; %s", self._round, len(replies), asked, reasons or "no failures")
        self._round += 1
        self._nodes, self._asked = {}, {}


def _is_finite(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(number, int | float) and math.isfinite(number) for number in values)


def _average_metrics(records: Sequence[MetricRecord]) -> tuple[float, dict[str, float]]:
    """Return the number of examples, and the mean of each metric weighted by them.

    Metrics that are lists, or that not every record has, are dropped from the records: FedAvg refuses a round in which
    one node reports a metric that another does not.
    """
    scalars = [
        {name: float(value) for name, value in record.items() if isinstance(value, int | float)} for record in records
    ]
    common = set.intersection(*(set(values) for values in scalars))
    for record in records:
        for name in set(record) - common:
            del record[name]
    examples = sum(values[NUM_EXAMPLES] for values in scalars)
    if examples == 0:
        return 0.0, {}
    return examples, {
        name: sum(values[name] * values[NUM_EXAMPLES] for values in scalars) / examples
        for name in sorted(common - {NUM_EXAMPLES})
    }
