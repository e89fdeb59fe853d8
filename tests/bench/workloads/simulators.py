"""Simulators of federated learning on the baseline workload, each in a process of its own on one core.

``python -m tests.bench.workloads.simulators NAME NODES ROUNDS`` runs one and prints the seconds of each round, its peak
memory and the weights that it has learnt as JSON. A round is timed from before the strategy configures it until its
replies are averaged; of bare arithmetic, from weights to their average.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fleet.sim.grid import BatchedApps, ClientApps, NodeApp
from fleet.sim.grid.simulate import simulate
from tests.bench.workloads.baseline_mlp import BatchedMlp, Net, bare_batch, client_app, initial, train_one
from tests.bench.workloads.other_simulators import jax_rounds, pfl_rounds

#: Longer is a hang.
LIMIT_S = 900.0
CHUNK = 100
#: Interpreter that has the extra `bench`, which does not go with the versions of the others.
BENCH_PYTHON = "RERAM_FLEET_BENCH_PYTHON"


@dataclass(frozen=True)
class SimulatorRun:
    """Seconds of each round, peak memory in bytes, and the weights that were learnt."""

    rounds_s: list[float]
    peak_bytes: int
    learnt: list[float]

    @property
    def warm_s(self) -> float:
        """Median of the rounds after the first."""
        return statistics.median(self.rounds_s[1:])


class TimedFedAvg(FedAvg):
    """Flower's FedAvg, and how long its rounds take."""

    def __init__(self) -> None:
        super().__init__(fraction_evaluate=0.0)
        self.rounds_s: list[float] = []

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Note when the round began."""
        self._began_s = time.perf_counter()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Note how long it took."""
        averaged = super().aggregate_train(server_round, replies)
        self.rounds_s.append(time.perf_counter() - self._began_s)
        return averaged


def flower_rounds(app: NodeApp, engine: str, nodes: int, rounds: int) -> tuple[list[float], list[np.ndarray]]:
    """Train by Flower's messages and FedAvg on one of the engines; returns seconds of rounds, and the arrays."""
    server, strategy, learnt = ServerApp(), TimedFedAvg(), []

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        result = strategy.start(grid, initial(), num_rounds=rounds)
        learnt.extend(array.numpy() for array in result.arrays.values())

    simulate(server, app, nodes, engine=engine, chunk=CHUNK, actors=1, keep_replies=False)  # type: ignore[arg-type]
    return strategy.rounds_s, learnt


def bare_rounds(nodes: int, rounds: int) -> tuple[list[float], list[np.ndarray]]:
    """Do the same arithmetic without messages."""
    app, seconds, average = BatchedMlp(), [], dict(Net().state_dict())
    for _ in range(rounds):
        began_s = time.perf_counter()
        average = bare_batch(app, average, nodes, CHUNK)
        seconds.append(time.perf_counter() - began_s)
    return seconds, [value.numpy() for value in average.values()]


def loop_rounds(nodes: int, rounds: int) -> tuple[list[float], list[np.ndarray]]:
    """Train node after node in plain PyTorch, and average the weights."""
    net, seconds = Net(), []
    now = {name: value.clone() for name, value in net.state_dict().items()}
    for _ in range(rounds):
        began_s = time.perf_counter()
        total = {name: torch.zeros_like(value) for name, value in now.items()}
        for node in range(nodes):
            net.load_state_dict(now)
            train_one(net, node)
            for name, value in net.state_dict().items():
                total[name] += value
        now = {name: value / nodes for name, value in total.items()}
        seconds.append(time.perf_counter() - began_s)
    return seconds, [value.numpy() for value in now.values()]


Rounds = Callable[[int, int], tuple[list[float], list[np.ndarray]]]

#: Ways to run so many rounds on so many nodes.
SIMULATORS: Mapping[str, Rounds] = {
    "vector-grid": lambda nodes, rounds: flower_rounds(BatchedApps(BatchedMlp()), "inline", nodes, rounds),
    "client-app": lambda nodes, rounds: flower_rounds(ClientApps(client_app()), "inline", nodes, rounds),
    "flower": lambda nodes, rounds: flower_rounds(ClientApps(client_app()), "flower", nodes, rounds),
    "bare-batch": bare_rounds,
    "loop": loop_rounds,
    "jax": jax_rounds,
    "pfl": pfl_rounds,
}


def measured(name: str, nodes: int, rounds: int) -> SimulatorRun | None:
    """Run a simulator in a child process on one core; None if it is not installed."""
    python = os.environ.get(BENCH_PYTHON, sys.executable) if name in ("jax", "pfl") else sys.executable
    done = subprocess.run(
        [python, "-m", __spec__.name, name, str(nodes), str(rounds)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode == _MISSING:
        return None
    if done.returncode:
        raise RuntimeError(f"{name} on {nodes} nodes ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    return SimulatorRun(**json.loads(done.stdout.splitlines()[-1]))


_MISSING = 77


def main(arguments: list[str]) -> int:
    """Run one simulator and print what it took."""
    name, nodes, rounds = arguments[0], int(arguments[1]), int(arguments[2])
    # Ray's actors are children, and get the one core too.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    try:
        seconds, learnt = SIMULATORS[name](nodes, rounds)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return _MISSING
    weights = np.concatenate([array.ravel() for array in learnt]).tolist()
    sys.stdout.write(json.dumps(asdict(SimulatorRun(seconds, _peak_bytes(), weights))) + "\n")
    return 0


def _peak_bytes() -> int:
    # Not `getrusage`, which would begin at the peak of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
