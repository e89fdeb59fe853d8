"""Apps that Ray's actors run. Apart from the tests: an actor imports what an app's module imports."""

from __future__ import annotations

import os

import numpy as np
from flwr.app import Context, Message, MetricRecord, RecordDict

from fleet.sim.grid import BatchCall, BatchedApp, BatchReply, ClientApps


class Mixes(BatchedApp[dict[str, np.ndarray], int]):
    """Multiplies integers by a matrix that differs by node: exact in float64."""

    def init(self, call: BatchCall) -> dict[str, np.ndarray]:
        w = call.content.array_records["arrays"]["w"].numpy()
        return {"w": np.repeat(np.rint(w)[None], len(call), axis=0), "part": call.partitions}

    def batches(self, call: BatchCall) -> range:
        return range(2)

    def step(self, state: dict[str, np.ndarray], batch: int) -> dict[str, np.ndarray]:
        shift = (state["part"][:, None] * 7 + np.arange(state["w"].shape[1]) * 3 + batch) % 11
        state["w"] = (state["w"] * 3 + shift) % 1009
        return state

    def final(self, state: dict[str, np.ndarray]) -> BatchReply:
        return BatchReply({"w": state["w"]}, {"num-examples": np.ones(len(state["w"]), np.int64)})


class CountsRounds(ClientApps):
    """Counts in each node's context, and says which process and how many threads it has."""

    def __init__(self) -> None:
        super().__init__(count)


def count(message: Message, context: Context) -> Message:
    before = context.state.metric_records.get("seen", MetricRecord({"rounds": 0}))
    context.state["seen"] = MetricRecord({"rounds": int(before["rounds"]) + 1})  # type: ignore[arg-type]
    threads = int(os.environ["OMP_NUM_THREADS"])
    metrics = MetricRecord({**context.state["seen"], "process": os.getpid(), "threads": threads})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
