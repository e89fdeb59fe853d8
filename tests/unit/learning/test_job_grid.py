from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp.strategy import FedAvg
from reram_fleet.crypto.sealing import new_key
from reram_fleet.processes.flower import STATE_KEY, STATE_RECORD
from reram_fleet.v1.learning_pb2 import RoundNode
from reram_fleet.v1.types_pb2 import (
    LEARNING_KIND_EVALUATE_QUALITY,
    LEARNING_KIND_TRAIN_LORA,
    LEARNING_KIND_UNLEARN_LORA,
    LearningKind,
)

from fleet.learning.errors import LearningPlaneError, QuorumError
from fleet.learning.job_grid import JobGrid
from fleet.learning.state_codec import StateCodec, record_of
from tests.unit.learning.loop_grid import Clock, LoopGrid, round_node, state

NODES = (3, 1, 2)


class Job:
    """A JobGrid over a LoopGrid, with every round that it began."""

    def __init__(
        self,
        codec: StateCodec,
        *,
        kind: LearningKind = LEARNING_KIND_TRAIN_LORA,
        quorum: int = 2,
        round_offset: int = 0,
        named: Callable[[], Sequence[int]] = lambda: NODES,
    ) -> None:
        self.clock = Clock()
        self.loop = LoopGrid(codec, NODES)
        self.begun: list[int] = []

        def begin_round(round_number: int) -> list[RoundNode]:
            self.begun.append(round_number)
            return [round_node(flower_id) for flower_id in named()]

        self.grid = JobGrid(
            self.loop,
            codec,
            kind=kind,
            begin_round=begin_round,
            quorum=quorum,
            round_offset=round_offset,
            round_timeout_s=60.0,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def round(self, arrays: ArrayRecord, message_type: str = "train") -> list[Message]:
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": 1})})
        messages = [
            Message(content=content, message_type=message_type, dst_node_id=flower_id)
            for flower_id in self.grid.get_node_ids()
        ]
        return self.grid.send_and_receive(messages, timeout=60.0)


def test_a_record_for_all_nodes_is_sealed_once_and_others_apart(codec: StateCodec, arrays: ArrayRecord) -> None:
    job, other = Job(codec), record_of(state(np.ones(6)))
    nodes = job.grid.get_node_ids()
    contents = [RecordDict({"arrays": each}) for each in (arrays, arrays, other)]

    job.grid.push_messages(
        Message(content=content, message_type="train", dst_node_id=node)
        for content, node in zip(contents, nodes, strict=True)
    )

    sealed = [message.content.config_records[STATE_RECORD][STATE_KEY] for message in job.loop.sent]
    assert sealed[0] is sealed[1]
    assert sealed[2] is not sealed[0]
    assert all(codec.open(each)["rows"].numpy().tolist() == codec.first.rows.tolist() for each in sealed)


@pytest.mark.parametrize(
    ("kind", "from_strategy", "sent"),
    [
        (LEARNING_KIND_TRAIN_LORA, "train", "train.lora"),
        (LEARNING_KIND_UNLEARN_LORA, "train", "train.unlearn"),
        (LEARNING_KIND_EVALUATE_QUALITY, "evaluate", "evaluate.quality"),
    ],
)
def test_messages_leave_with_the_type_of_the_job(
    codec: StateCodec, arrays: ArrayRecord, kind: LearningKind, from_strategy: str, sent: str
) -> None:
    job = Job(codec, kind=kind)

    job.round(arrays, from_strategy)

    assert {message.metadata.message_type for message in job.loop.sent} == {sent}


def test_no_plain_array_and_no_strategy_config_leaves(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)

    job.round(arrays)

    for message in job.loop.sent:
        assert list(message.content) == ["sealed-state"]
        assert codec.first.rows.tobytes() not in repr(message.content).encode("latin-1")
        assert sorted(message.content.config_records["sealed-state"]) == ["state", "ticket"]


def test_replies_come_back_opened_and_sorted_by_node(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)

    replies = job.round(arrays)

    added = [reply.content.array_records["arrays"]["rows"].numpy()[0, 0] for reply in replies]
    assert added == [1.0, 2.0, 3.0]
    assert job.grid.last_round is not None
    assert job.grid.last_round.node_ids == ("edge-1", "edge-2", "edge-3")


def test_rounds_of_a_retry_are_numbered_after_those_that_are_done(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec, round_offset=4)

    job.round(arrays)
    job.round(arrays)

    assert job.begun == [5, 6]


def test_an_empty_round_asks_nobody(codec: StateCodec) -> None:
    job = Job(codec)

    assert job.grid.send_and_receive([], timeout=60.0) == []
    assert job.begun == []


def test_a_quorum_waits_a_while_for_the_others_the_coordinator_names(codec: StateCodec) -> None:
    job = Job(codec)
    job.loop.online = {1, 2}
    job.clock.at[5.0] = lambda: job.loop.online.add(3)

    assert job.grid.get_node_ids() == [1, 2, 3]


def test_a_quorum_does_not_wait_for_ever(codec: StateCodec) -> None:
    job = Job(codec)
    job.loop.online = {1, 2}

    assert job.grid.get_node_ids() == [1, 2]


def test_a_node_that_the_coordinator_does_not_see_live_is_left_out(codec: StateCodec) -> None:
    job = Job(codec, named=lambda: (1, 2))

    assert job.grid.get_node_ids() == [1, 2]


def test_too_few_nodes_online_is_a_quorum_error_and_not_an_endless_wait(codec: StateCodec) -> None:
    job = Job(codec)
    job.loop.online = {1}

    with pytest.raises(QuorumError, match=r"needs 2 nodes.*names 3.*1 of them online"):
        job.grid.get_node_ids()


def test_a_message_of_an_offline_node_is_never_polled(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)
    job.loop.silent = {3}
    job.clock.at[2.0] = lambda: job.loop.online.discard(3)
    job.clock.at[8.0] = lambda: (job.loop.silent.clear(), job.loop.online.add(3))

    replies = job.round(arrays)

    assert job.loop.deleted == []
    assert len(replies) == 3


def test_a_node_that_stays_offline_costs_the_grace_time_only(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)
    job.loop.silent = {3}
    job.clock.at[2.0] = lambda: job.loop.online.discard(3)

    replies = job.round(arrays)

    assert len(replies) == 2
    assert job.clock.now_s < 20.0
    assert job.grid.last_round is not None
    assert job.grid.last_round.failures == {"edge-3": "no reply"}


def test_a_round_below_quorum_fails_and_names_the_reasons(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)
    job.loop.failing = {1, 2}

    with pytest.raises(QuorumError, match=r"1 of 3 nodes .*edge-1: Flower error 2: generation 3, expected 4"):
        job.round(arrays)


def test_silent_nodes_end_a_round_at_its_timeout(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)
    job.loop.silent = {1, 2}

    with pytest.raises(QuorumError, match=r"edge-1: no reply; edge-2: no reply"):
        job.round(arrays)
    assert job.clock.now_s == pytest.approx(60.0)


@pytest.mark.parametrize("damage", ["other key", "other rows", "too large", "no weight"])
def test_a_state_that_cannot_be_used_counts_as_a_failure_of_its_node(
    codec: StateCodec, arrays: ArrayRecord, damage: str
) -> None:
    bad = {
        "other key": lambda: StateCodec(codec.job_id, new_key(), codec.first).seal(codec.first),
        "other rows": lambda: codec.seal(replace(codec.first, tags=codec.first.tags[::-1])),
        "too large": lambda: codec.seal(state([-(2**15)] * 6)),
        "no weight": lambda: codec.seal(state([1] * 6, [1, 0])),
    }
    job = Job(codec)
    job.loop.reply_state[2] = bad[damage]()

    replies = job.round(arrays)

    assert len(replies) == 2
    assert job.grid.last_round is not None
    assert list(job.grid.last_round.failures) == ["edge-2"]


def test_a_round_without_any_example_fails(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)
    job.loop.examples = dict.fromkeys(NODES, 0.0)

    with pytest.raises(QuorumError, match="none of the 3 nodes has examples"):
        job.round(arrays)


def test_metrics_are_averaged_by_examples_over_what_all_nodes_report(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)
    job.loop.examples = {1: 1.0, 2: 1.0, 3: 2.0}
    job.loop.extra_metrics = {1: {"only-here": 1.0}}

    job.round(arrays)

    assert job.grid.last_round is not None
    assert job.grid.last_round.metrics == {"loss": pytest.approx((1 + 2 + 2 * 3) / 4)}


def test_a_message_to_a_stranger_is_refused(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)
    job.grid.get_node_ids()
    message = Message(content=RecordDict({"arrays": arrays}), message_type="train", dst_node_id=99)

    with pytest.raises(LearningPlaneError, match="node 99 is not one of round 1"):
        job.grid.push_messages([message])
    assert job.loop.sent == []


def test_a_round_needs_somebody(codec: StateCodec) -> None:
    with pytest.raises(LearningPlaneError, match="quorum of 0"):
        Job(codec, quorum=0)


def test_stock_fedavg_averages_exactly(codec: StateCodec, arrays: ArrayRecord) -> None:
    job = Job(codec)
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=2, min_evaluate_nodes=0, min_available_nodes=2)

    result = strategy.start(job.grid, initial_arrays=arrays, num_rounds=2, timeout=60.0)

    # Every round, nodes 1, 2 and 3 add their own number: two on average.
    after = job.grid.sealed(result.arrays)
    np.testing.assert_array_equal(codec.open(after)["rows"].numpy(), arrays["rows"].numpy() + 4)
    assert job.begun == [1, 2]
