"""What is taken from Flower besides its public API, and that this process is left as it was."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fleet.sim.grid.flower_adapter import ReplyRecords, own_copy, replies_to, stamp, task_of_run

NODE = 7


def identity() -> tuple[int | None, int | None, int | None]:
    return TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id


def message(node_id: int = NODE, **records: ArrayRecord | ConfigRecord) -> Message:
    return Message(RecordDict(dict(records)), dst_node_id=node_id, message_type="train")


def test_a_message_can_be_made_in_a_run_and_only_there() -> None:
    before = identity()
    with task_of_run(5):
        assert message().metadata.run_id == 5
    assert identity() == before
    with pytest.raises(RuntimeError, match="not set"):
        message()


def test_runs_can_be_nested() -> None:
    with task_of_run(1):
        with task_of_run(2):
            assert message().metadata.run_id == 2
        assert message().metadata.run_id == 1
    assert identity() == (None, None, None)


def test_runs_can_end_in_another_order_than_they_began() -> None:
    first, second = task_of_run(1), task_of_run(2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert message().metadata.run_id == 2
    second.__exit__(None, None, None)
    assert identity() == (None, None, None)


def test_a_run_inside_a_task_of_flowers_leaves_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_task_id", 11), ("_run_id", 22), ("_node_id", 33)):
        monkeypatch.setattr(TaskIdentity, name, value)
    with task_of_run(1):
        assert identity() == (1, 1, 1)
    assert identity() == (11, 22, 33)


def test_an_error_in_a_run_leaves_the_process_as_it_was() -> None:
    with pytest.raises(KeyError), task_of_run(1):
        raise KeyError
    assert identity() == (None, None, None)


def test_overlapping_runs_in_threads_leave_the_process_as_it_was() -> None:
    both_in, one_out = threading.Barrier(2), threading.Event()
    seen: list[int] = []

    def run(run_id: int, ends_first: bool) -> None:
        with task_of_run(run_id):
            both_in.wait()
            if not ends_first:
                one_out.wait()
                seen.append(TaskIdentity.run_id)
        if ends_first:
            one_out.set()

    threads = [threading.Thread(target=run, args=each) for each in ((1, True), (2, False))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [2]
    assert identity() == (None, None, None)


def test_a_message_is_of_the_run_that_it_is_pushed_in() -> None:
    with task_of_run(2):
        asked = message()
    stamp(asked, "1-1", 1)
    reply = Message(RecordDict(), reply_to=asked)
    assert (asked.metadata.message_id, asked.metadata.run_id) == ("1-1", 1)
    assert (reply.metadata.reply_to_message_id, reply.metadata.run_id, reply.metadata.src_node_id) == ("1-1", 1, NODE)


def test_replies_are_what_flower_makes() -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    with task_of_run(1):
        asked = [
            Message(RecordDict(), dst_node_id=node, message_type="train.lora", group_id=str(node), ttl=100.0 * node)
            for node in (4, 5, 6)
        ]
        for number, each in enumerate(asked):
            stamp(each, f"id-{number}", 1)
        ours = list(
            replies_to(
                asked,
                [("arrays", [{"w": Array(row)} for row in values])],
                [("metrics", [{"loss": float(number)} for number in range(3)])],
            )
        )
        for number, (reply, each) in enumerate(zip(ours, asked, strict=True)):
            arrays = ArrayRecord({"w": Array(values[number])})
            content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"loss": float(number)})})
            theirs = Message(content, reply_to=each)
            assert vars(reply.metadata).keys() == vars(theirs.metadata).keys()
            times = {"_created_at", "_ttl"}
            for name in vars(theirs.metadata).keys() - times:
                assert vars(reply.metadata)[name] == vars(theirs.metadata)[name], name
            expires = [m.metadata.created_at + m.metadata.ttl for m in (reply, theirs)]
            assert expires[0] == pytest.approx(expires[1], abs=1e-3)
            assert reply.content == content
            assert reply.content.object_id == content.object_id
            assert not reply.has_error()


def test_groups_of_a_replys_records_are_those_of_flower_and_change_with_it() -> None:
    content = ReplyRecords({"arrays": ArrayRecord({"w": Array(np.ones(2))}), "metrics": MetricRecord({"n": 1})})
    plain = RecordDict(dict(content))
    assert content.array_records == plain.array_records
    assert content.metric_records == plain.metric_records
    assert not content.config_records
    content.metric_records["metrics"] = MetricRecord({"n": 2})
    assert content["metrics"] == MetricRecord({"n": 2})
    with pytest.raises(TypeError):
        content.metric_records["metrics"] = ArrayRecord()  # type: ignore[assignment]


def test_a_copy_has_records_of_its_own() -> None:
    with task_of_run(1):
        asked = message(config=ConfigRecord({"lr": 0.5}), arrays=ArrayRecord({"w": Array(np.ones(2))}))
    copy = own_copy(asked)
    copy.content.config_records["config"]["lr"] = 0.0
    del copy.content["arrays"]
    assert asked.content["config"] == ConfigRecord({"lr": 0.5})
    assert "arrays" in asked.content
    assert copy.metadata == asked.metadata
