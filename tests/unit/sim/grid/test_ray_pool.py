"""Chunks, and the chips of scenarios, on Ray actors: the same as here. One small cluster for all tests."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fleet import sim
from fleet.sim.chip_actors import ChipActors
from fleet.sim.execution import Execution, SimulationFailedError, resume_run, run_scenario
from fleet.sim.grid import BatchCall, BatchedApp, BatchedApps, BatchReply, ClientApps, VectorGrid
from fleet.sim.grid.ray_pool import RayPool
from fleet.sim.grid.simulate import simulate
from fleet.sim.run_folder import RunFolder
from fleet.sim.scenario import Scenario

# Ray leaves open what it starts, and the files of its logs.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

NODES = 120


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


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()
        gc.collect()


def digest(arrays: ArrayRecord) -> str:
    return hashlib.sha256(arrays["w"].numpy().tobytes()).hexdigest()


def trained(app: BatchedApps | RayPool, chunk: int) -> str:
    start = ArrayRecord({"w": Array(np.arange(6, dtype=np.float64))})
    with VectorGrid(app, NODES, chunk=chunk) as grid:
        return digest(FedAvg(fraction_evaluate=0.0).start(grid, start, num_rounds=2).arrays)


@pytest.mark.parametrize("actors", [1, 2])
def test_an_integer_app_gives_the_same_on_any_number_of_actors_and_for_any_chunk(actors: int) -> None:
    here = trained(BatchedApps(Mixes()), 7)
    with RayPool(BatchedApps(Mixes()), actors=actors) as pool:
        assert {trained(pool, chunk) for chunk in (1, 50, 500)} == {here}


def test_what_a_node_keeps_goes_with_it_from_actor_to_actor() -> None:
    def rounds(replies: list[Message]) -> list[int]:
        return [reply.content["metrics"]["rounds"] for reply in replies]

    def asked(grid: Grid, *nodes: int) -> list[Message]:
        return [Message(RecordDict(), dst_node_id=node, message_type="train") for node in nodes]

    with RayPool(CountsRounds(), actors=2, threads=2) as pool, VectorGrid(pool, 4, chunk=1) as grid:
        first = grid.send_and_receive(asked(grid, 1, 2, 3, 4))
        # Node 2 is now the first chunk, on the other actor.
        second = grid.send_and_receive(asked(grid, 2, 4))
    assert rounds(first) == [1, 1, 1, 1]
    assert rounds(second) == [2, 2]
    processes = [[reply.content["metrics"]["process"] for reply in replies] for replies in (first, second)]
    assert len({*processes[0]}) == 2
    assert processes[1][0] != processes[0][1]
    assert os.getpid() not in processes[0]
    assert {reply.content["metrics"]["threads"] for reply in (*first, *second)} == {2}


def test_a_server_app_with_a_configuration_runs_on_both_engines() -> None:
    server, found = ServerApp(), []

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        start = ArrayRecord({"w": Array(np.arange(6, dtype=np.float64))})
        result = FedAvg(fraction_evaluate=0.0).start(
            grid, start, num_rounds=int(context.run_config["rounds"]), train_config=ConfigRecord({"lr": 0.1})
        )
        found.append(digest(result.arrays))

    for engine in ("inline", "ray"):
        simulate(server, BatchedApps(Mixes()), NODES, engine=engine, run_config={"rounds": 2})  # type: ignore[arg-type]
    assert found == [trained(BatchedApps(Mixes()), 50)] * 2


def test_a_pool_of_no_actors_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one actor"):
        RayPool(ClientApps(ClientApp()), actors=0)


CHIPS = Scenario.parse(
    """
name = "chips"
title = "Three chips"
question = "Are they the same wherever they are computed?"
fleet = {nodes = 3, people = 3, task = "speakers"}
time = {duration = "40min", heartbeat = "5min", sample_every = "10min"}
forgets = {at = ["20min"]}
learning = {rounds = 1}
chip = {calibrate_every = "15min"}
"""
)


@pytest.fixture(scope="module")
def computed_here(tmp_path_factory: pytest.TempPathFactory) -> sim.Run:
    return sim.run(CHIPS, output=tmp_path_factory.mktemp("here"))


def test_chips_of_a_scenario_are_the_same_on_actors_and_the_run_outlives_these(
    computed_here: sim.Run, tmp_path: Path
) -> None:
    folder = RunFolder.of(tmp_path, CHIPS, 1)
    with ChipActors(2) as actors:

        def kill(folder: RunFolder, simulation: object) -> None:
            # After people were learnt, and before one is unlearnt.
            if folder.checkpoint():
                for number in range(2):
                    ray.kill(actors._actors[number])

        with pytest.raises(SimulationFailedError, match="an actor of Ray is gone"):
            run_scenario(CHIPS, 1, tmp_path, Execution(checkpoint_every_s=0, actors=actors, watch=kill))
    failed = folder.record()
    resume_run(folder, Execution())

    assert (failed["state"], failed["digest"]) == ("failed", None)
    assert "ActorLostError" in failed["error"]
    resumed = sim.Run(tmp_path / folder.path.name)
    assert resumed.digest == computed_here.digest
    assert resumed.tables["state"].equals(computed_here.tables["state"])


class Stopped(BaseException):
    """End of a process, as far as a test needs one."""


def test_run_that_began_here_goes_on_with_an_actor(computed_here: sim.Run, tmp_path: Path) -> None:
    def stop(folder: RunFolder, simulation: object) -> None:
        if folder.checkpoint():
            raise Stopped

    with pytest.raises(Stopped):
        run_scenario(CHIPS, 1, tmp_path, Execution(checkpoint_every_s=0, watch=stop))
    folder = RunFolder.of(tmp_path, CHIPS, 1)
    with ChipActors(1) as actors:
        resume_run(folder, Execution(chunk=2, actors=actors))

    resumed = sim.Run(folder.path)
    assert resumed.digest == computed_here.digest
    assert resumed.tables["rounds"].equals(computed_here.tables["rounds"])


@pytest.mark.parametrize(("actors", "nodes", "part"), [(2, 1000, 50), (2, 21, 11), (4, 3, 1), (1, 20, 20)])
def test_every_actor_has_a_part_of_the_nodes(actors: int, nodes: int, part: int) -> None:
    assert ChipActors(actors).chunk(nodes, 50) == part
