"""Chunks, and the chips of scenarios, on Ray actors: the same as here. One small cluster for all tests."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fleet import sim
from fleet.sim.chip_actors import ChipActors
from fleet.sim.execution import Execution, SimulationFailedError, resume_run, run_scenario
from fleet.sim.grid import BatchedApps, ClientApps, VectorGrid
from fleet.sim.grid.ray_pool import RayPool
from fleet.sim.grid.simulate import simulate
from fleet.sim.run_folder import RunFolder
from fleet.sim.scenario import Scenario
from tests.unit.sim.grid.ray_apps import CountsRounds, Mixes

# Ray leaves open what it starts, and the files of its logs.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

NODES = 120


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_prestart_worker_first_driver", "0")
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


def test_an_integer_app_gives_the_same_on_actors_and_for_any_chunk() -> None:
    here = trained(BatchedApps(Mixes()), 7)
    with RayPool(BatchedApps(Mixes()), actors=2) as pool:
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


def test_a_server_app_with_a_configuration_runs_on_both_engines_and_on_one_actor() -> None:
    server, found = ServerApp(), []

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        start = ArrayRecord({"w": Array(np.arange(6, dtype=np.float64))})
        result = FedAvg(fraction_evaluate=0.0).start(
            grid, start, num_rounds=int(context.run_config["rounds"]), train_config=ConfigRecord({"lr": 0.1})
        )
        found.append(digest(result.arrays))

    for engine in ("inline", "ray"):
        simulate(server, BatchedApps(Mixes()), NODES, engine=engine, actors=1, run_config={"rounds": 2})  # type: ignore[arg-type]
    assert found == [trained(BatchedApps(Mixes()), 50)] * 2


def test_a_pool_of_no_actors_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one actor"):
        RayPool(ClientApps(ClientApp()), actors=0)


CHIPS = Scenario.parse(
    """
name = "chips"
title = "Two chips"
question = "Are they the same wherever they are computed?"
fleet = {nodes = 2, people = 2, task = "speakers"}
time = {duration = "40min", heartbeat = "5min", sample_every = "10min"}
forgets = {at = ["20min"]}
learning = {rounds = 1}
chip = {calibrate_every = "15min"}
"""
)


class Stopped(BaseException):
    """End of a process, as far as a test needs one."""


@pytest.fixture(scope="module")
def begun_here(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was interrupted at its first checkpoint, before anybody was learnt."""

    def stop(folder: RunFolder, simulation: object) -> None:
        if folder.checkpoint():
            raise Stopped

    root = tmp_path_factory.mktemp("begun")
    with pytest.raises(Stopped):
        run_scenario(CHIPS, 1, root, Execution(checkpoint_every_s=0, watch=stop))
    return RunFolder.of(root, CHIPS, 1)


def resumed(run: RunFolder, root: Path, execution: Execution) -> sim.Run:
    """Go on with a copy of a run."""
    folder = RunFolder(shutil.copytree(run.path, root / run.path.name))
    resume_run(folder, execution)
    return sim.Run(folder.path)


@pytest.fixture(scope="module")
def computed_here(begun_here: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> sim.Run:
    return resumed(begun_here, tmp_path_factory.mktemp("here"), Execution())


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
    finished = sim.Run(folder.path)
    assert finished.digest == computed_here.digest
    assert finished.tables["state"].equals(computed_here.tables["state"])


def test_run_that_began_here_goes_on_with_an_actor(
    begun_here: RunFolder, computed_here: sim.Run, tmp_path: Path
) -> None:
    with ChipActors(1) as actors:
        finished = resumed(begun_here, tmp_path, Execution(chunk=2, actors=actors))

    assert finished.digest == computed_here.digest
    assert finished.tables["rounds"].equals(computed_here.tables["rounds"])


@pytest.mark.parametrize(("actors", "nodes", "part"), [(2, 1000, 50), (2, 21, 11), (4, 3, 1), (1, 20, 20)])
def test_every_actor_has_a_part_of_the_nodes(actors: int, nodes: int, part: int) -> None:
    assert ChipActors(actors).chunk(nodes, 50) == part
