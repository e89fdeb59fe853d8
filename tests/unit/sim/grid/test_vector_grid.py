"""A Grid whose nodes are batches, under Flower's own strategies."""

from __future__ import annotations

import gc
import hashlib
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp, strategy
from flwr.serverapp.strategy import FedAvg

from fleet.sim.grid import BatchCall, BatchedApp, BatchedApps, BatchReply, ClientApps, VectorGrid

NODES = 7


class Shifts(BatchedApp[dict[str, Any], int]):
    """Adds, in three steps, a number that differs by node to the integers that it is sent."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.contents: list[RecordDict] = []

    def init(self, call: BatchCall) -> dict[str, Any]:
        self.sizes.append(len(call))
        self.contents.append(call.content)
        values = call.content.array_records["arrays"]["w"].numpy()
        return {"w": np.repeat(values[None], len(call), axis=0), "by": call.partitions}

    def batches(self, call: BatchCall) -> Iterable[int]:
        return range(3)

    def step(self, state: dict[str, Any], batch: int) -> dict[str, Any]:
        state["w"] += (1 + state["by"] % 5)[:, None].astype(state["w"].dtype)
        return state

    def final(self, state: dict[str, Any]) -> BatchReply:
        return BatchReply({"w": state["w"]}, {"num-examples": 1 + state["by"], "loss": state["by"] / 2})


client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Do for one node what `Shifts` does for many."""
    part = int(context.node_config["partition-id"])
    values = message.content.array_records["arrays"]["w"].numpy()
    for _ in range(3):
        values = values + float(1 + part % 5)
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(values)}),
            "metrics": MetricRecord({"num-examples": 1 + part, "loss": part / 2}),
        }
    )
    return Message(content, reply_to=message)


def start(width: int = 4) -> ArrayRecord:
    return ArrayRecord({"w": Array(np.arange(width, dtype=np.float64))})


def sent(grid: Grid, record: RecordDict, nodes: Sequence[int] | None = None) -> list[Message]:
    chosen = grid.get_node_ids() if nodes is None else nodes
    return [Message(record, dst_node_id=node, message_type="train") for node in chosen]


def record_of(arrays: ArrayRecord) -> RecordDict:
    return RecordDict({"arrays": arrays, "config": ConfigRecord()})


def digest(arrays: ArrayRecord) -> str:
    return hashlib.sha256(b"".join(arrays[name].numpy().tobytes() for name in sorted(arrays))).hexdigest()


def test_replies_come_sorted_by_node_whatever_the_order_of_the_messages() -> None:
    with VectorGrid(BatchedApps(Shifts()), NODES, chunk=3) as grid:
        replies = grid.send_and_receive(sent(grid, record_of(start()), [5, 2, 7, 1]))
    assert [reply.metadata.src_node_id for reply in replies] == [1, 2, 5, 7]
    assert [reply.content["metrics"]["num-examples"] for reply in replies] == [1, 2, 5, 7]


def test_chunks_are_of_the_nodes_that_were_sent_something() -> None:
    app = Shifts()
    with VectorGrid(BatchedApps(app), 100, chunk=4) as grid:
        grid.send_and_receive(sent(grid, record_of(start()), range(1, 20, 2)))
    assert app.sizes == [4, 4, 2]


def test_all_nodes_get_the_one_record_and_nothing_is_serialised(monkeypatch: pytest.MonkeyPatch) -> None:
    app, record = Shifts(), record_of(start())

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("serialised")

    with VectorGrid(BatchedApps(app), NODES, chunk=2) as grid:
        messages = sent(grid, record)
        monkeypatch.setattr(np, "save", refuse)
        for kind in (Message, RecordDict, ArrayRecord, Array):
            monkeypatch.setattr(kind, "deflate", refuse)
        replies = grid.send_and_receive(messages)
    assert all(content is record for content in app.contents)
    assert len(replies) == NODES


def test_a_batched_app_gives_what_a_client_app_gives() -> None:
    results = []
    for app in (BatchedApps(Shifts()), ClientApps(client)):
        with VectorGrid(app, NODES, chunk=3) as grid:
            results.append(FedAvg(fraction_evaluate=0.0).start(grid, start(), num_rounds=3))
    assert digest(results[0].arrays) == digest(results[1].arrays)
    assert results[0].train_metrics_clientapp == results[1].train_metrics_clientapp


@pytest.mark.parametrize("chunk", [1, 2, 50, 500])
def test_results_do_not_depend_on_the_chunks_of_an_integer_app(chunk: int) -> None:
    def result(size: int) -> str:
        with VectorGrid(BatchedApps(Shifts()), 60, chunk=size) as grid:
            return digest(FedAvg(fraction_evaluate=0.0).start(grid, start(), num_rounds=2).arrays)

    assert result(chunk) == result(7)


STRATEGIES = {
    "FedAvg": {},
    "FedAvgM": {},
    "FedAdam": {},
    "FedAdagrad": {},
    "FedYogi": {},
    "FedMedian": {},
    "FedTrimmedAvg": {},
    "FedProx": {"proximal_mu": 0.1},
    "Krum": {"num_malicious_nodes": 1},
    "MultiKrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 3},
    "Bulyan": {"num_malicious_nodes": 1},
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_stock_strategies_give_what_they_give_on_plain_messages(name: str) -> None:
    class Plain(BatchedApps):
        """Replies that hold copies, as they come over a network."""

        def __call__(self, messages: Sequence[Message], contexts: Sequence[Context]) -> Sequence[Message]:
            return [
                Message(
                    RecordDict(
                        {
                            "arrays": ArrayRecord({k: Array(v.numpy()) for k, v in reply.content["arrays"].items()}),
                            "metrics": reply.content["metrics"],
                        }
                    ),
                    reply_to=message,
                )
                for message, reply in zip(messages, super().__call__(messages, contexts), strict=True)
            ]

    results = []
    for kind in (BatchedApps, Plain):
        chosen = getattr(strategy, name)(fraction_evaluate=0.0, **STRATEGIES[name])
        with VectorGrid(kind(Shifts()), NODES, chunk=3) as grid:
            results.append(chosen.start(grid, start(), num_rounds=2))
    assert digest(results[0].arrays) == digest(results[1].arrays)
    assert not np.array_equal(results[0].arrays["w"].numpy(), start()["w"].numpy())


def test_a_wrapper_for_privacy_changes_replies_in_place() -> None:
    wrapped = strategy.DifferentialPrivacyServerSideFixedClipping(
        FedAvg(fraction_evaluate=0.0), noise_multiplier=0.0, clipping_norm=0.5, num_sampled_clients=NODES
    )
    with VectorGrid(BatchedApps(Shifts()), NODES) as grid:
        result = wrapped.start(grid, start(), num_rounds=1)
    change = result.arrays["w"].numpy() - start()["w"].numpy()
    assert 0 < np.linalg.norm(change) <= 0.5 + 1e-9


def test_messages_pushed_are_run_together_and_pulled_when_one_likes() -> None:
    app = Shifts()
    with VectorGrid(BatchedApps(app), NODES, chunk=10) as grid:
        ids = grid.push_messages(sent(grid, record_of(start())))
        assert app.sizes == []
        late = grid.pull_messages(ids[4:])
        early = grid.pull_messages(ids[:4])
        assert grid.pull_messages(ids) == []
    assert app.sizes == [NODES]
    assert [m.metadata.src_node_id for m in (*early, *late)] == list(range(1, NODES + 1))
    assert [m.metadata.reply_to_message_id for m in (*early, *late)] == ids


def test_what_a_client_app_keeps_is_there_in_the_next_round() -> None:
    counting = ClientApp()

    @counting.train()
    def count(message: Message, context: Context) -> Message:
        record = context.state.metric_records.get("seen", MetricRecord({"rounds": 0}))
        context.state["seen"] = MetricRecord({"rounds": int(record["rounds"]) + 1})  # type: ignore[arg-type]
        return Message(RecordDict({"metrics": context.state["seen"]}), reply_to=message)

    with VectorGrid(ClientApps(counting), 3, chunk=2) as grid:
        for _ in range(2):
            grid.send_and_receive(sent(grid, RecordDict(), [1, 3]))
        replies = grid.send_and_receive(sent(grid, RecordDict()))
    assert [reply.content["metrics"]["rounds"] for reply in replies] == [3, 1, 3]


def test_what_one_node_does_to_its_message_no_other_sees() -> None:
    rude = ClientApp()

    @rude.train()
    def change(message: Message, context: Context) -> Message:
        config = message.content.config_records["config"]
        seen = int(config["count"])  # type: ignore[arg-type]
        config["count"] = seen + 1
        return Message(RecordDict({"metrics": MetricRecord({"seen": seen})}), reply_to=message)

    with VectorGrid(ClientApps(rude), 4) as grid:
        replies = grid.send_and_receive(sent(grid, RecordDict({"config": ConfigRecord({"count": 0})})))
    assert [reply.content["metrics"]["seen"] for reply in replies] == [0, 0, 0, 0]


def test_an_error_of_a_client_app_is_that_nodes_reply() -> None:
    failing = ClientApp()

    @failing.train()
    def fail(message: Message, context: Context) -> Message:
        if context.node_id == 2:
            raise ValueError("no data")
        return Message(RecordDict(), reply_to=message)

    with VectorGrid(ClientApps(failing), 3) as grid:
        replies = grid.send_and_receive(sent(grid, RecordDict()))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert (replies[1].error.code, replies[1].error.reason) == (2, "<class 'ValueError'>:<'no data'>")


def test_a_node_that_is_not_there_is_unavailable() -> None:
    with VectorGrid(BatchedApps(Shifts()), [10, 30]) as grid:
        replies = grid.send_and_receive(sent(grid, record_of(start()), [20, 30, 10]))
    assert [(reply.metadata.src_node_id, reply.has_error()) for reply in replies] == [
        (10, False),
        (20, True),
        (30, False),
    ]
    assert replies[1].error.code == 5


def test_an_app_that_leaves_a_node_out_is_refused() -> None:
    class Short(Shifts):
        def final(self, state: dict[str, Any]) -> BatchReply:
            return BatchReply({"w": state["w"][:-1]}, {"num-examples": state["by"]})

    with VectorGrid(BatchedApps(Short()), 3) as grid, pytest.raises(ValueError, match="'w' has no value for each of"):
        grid.send_and_receive(sent(grid, record_of(start())))


def test_an_app_that_answers_for_another_node_is_refused() -> None:
    def swapped(messages: Sequence[Message], contexts: Sequence[Context]) -> Sequence[Message]:
        return [Message(RecordDict(), reply_to=message) for message in reversed(messages)]

    with VectorGrid(swapped, 2) as grid, pytest.raises(ValueError, match="did not answer node 1 in its place"):
        grid.send_and_receive(sent(grid, RecordDict()))


def test_replies_are_freed_without_a_collection() -> None:
    with VectorGrid(BatchedApps(Shifts()), NODES) as grid:
        chosen = FedAvg(fraction_evaluate=0.0)
        replies = grid.send_and_receive(chosen.configure_train(1, start(), ConfigRecord(), grid))
        kept = [weakref.ref(reply) for reply in replies]
        gc.disable()
        try:
            chosen.aggregate_train(1, replies)
            del replies
            assert [each() for each in kept] == [None] * NODES
        finally:
            gc.enable()


@pytest.mark.parametrize("keep", [True, False])
def test_replies_of_the_round_before_are_kept_unless_it_is_said_otherwise(keep: bool) -> None:
    with VectorGrid(BatchedApps(Shifts()), NODES, keep_replies=keep) as grid:
        before = grid.send_and_receive(sent(grid, record_of(start())))
        assert len(before) == NODES
        now = grid.send_and_receive(sent(grid, record_of(start())))
    assert len(before) == (NODES if keep else 0)
    assert len(now) == NODES


def test_two_simulations_take_turns_in_one_process() -> None:
    def result(*, beside: VectorGrid | None) -> str:
        with VectorGrid(BatchedApps(Shifts()), NODES, run_id=1) as grid:
            arrays = start()
            for number in range(3):
                if beside is not None:
                    others = beside.send_and_receive(sent(beside, record_of(start())))
                    assert {reply.metadata.run_id for reply in others} == {2}
                replies = grid.send_and_receive(sent(grid, record_of(arrays)))
                assert {reply.metadata.run_id for reply in replies} == {1}
                arrays, _ = FedAvg().aggregate_train(number, replies)  # type: ignore[assignment]
            return digest(arrays)

    with VectorGrid(BatchedApps(Shifts()), 3, run_id=2) as beside:
        interleaved = result(beside=beside)
    assert interleaved == result(beside=None)


def test_a_simulation_runs_inside_a_node_of_another() -> None:
    nesting = ClientApp()

    @nesting.train()
    def simulate(message: Message, context: Context) -> Message:
        with VectorGrid(BatchedApps(Shifts()), NODES, run_id=100 + context.node_id) as inner:
            result = FedAvg(fraction_evaluate=0.0).start(inner, start(), num_rounds=1)
        content = {"arrays": result.arrays, "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    with VectorGrid(ClientApps(nesting), 2) as grid:
        result = FedAvg(fraction_evaluate=0.0).start(grid, start(), num_rounds=2)
    with VectorGrid(BatchedApps(Shifts()), NODES) as grid:
        alone = FedAvg(fraction_evaluate=0.0).start(grid, start(), num_rounds=1)
    assert digest(result.arrays) == digest(alone.arrays)


def test_a_server_app_runs_on_it() -> None:
    server = ServerApp()
    found: list[str] = []

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        rounds = int(context.run_config["rounds"])
        result = FedAvg(fraction_evaluate=0.0).start(grid, start(), num_rounds=rounds)
        found.append(digest(result.arrays))

    with VectorGrid(BatchedApps(Shifts()), NODES, run_id=9) as grid:
        context = Context(run_id=9, node_id=0, node_config={}, state=RecordDict(), run_config={"rounds": 2})
        server(grid, context)
        expected = FedAvg(fraction_evaluate=0.0).start(grid, start(), num_rounds=2)
    assert found == [digest(expected.arrays)]


def test_a_chunk_of_no_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one node"):
        VectorGrid(BatchedApps(Shifts()), 3, chunk=0)
