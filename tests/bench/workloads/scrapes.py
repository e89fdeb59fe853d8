"""Scrapes of a large fleet: how long each takes over HTTP, and how large it is.

The fleet is a simulated one, which stands still in the middle of a forget. Its chips are made up: what each says of
itself is put in, as long as a real one's.
"""

from __future__ import annotations

import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from reram_fleet.processes.monitoring import serve_monitoring
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.metrics import pages
from fleet.coordinator.metrics.calls import CallMeter
from fleet.coordinator.metrics.health import Health
from fleet.coordinator.metrics.nodes import targets
from fleet.domain.node import EnergyPhase
from fleet.sim.fleet import SimulatedFleet
from fleet.store.rows import NodeCostRow
from tests.bench.figure import Figure, Target
from tests.bench.workloads.still_fleet import still_fleet

SCRAPES = 5
MOST_BYTES = 2e6
MOST_S = 0.5


def scrapes(nodes: int) -> Iterator[Figure]:
    """Yield size and time of `/metrics`, of the largest shard of nodes, and of all shards together."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = still_fleet(nodes, Path(folder))
        coordinator = fleet.plane.stepped.coordinator
        fleet.forget()
        while min(member.generation for member in fleet.present) < 1:
            fleet.scheduler.run_until(fleet.scheduler.now_s + 1)
        _said_by_all(fleet)
        server, port = serve_monitoring("127.0.0.1", 0, pages(coordinator, CallMeter(), Health(coordinator)))
        try:
            host = f"127.0.0.1:{port}"
            sizes, seconds = _scraped(host, "/metrics")
            yield Figure(f"{nodes} nodes: /metrics", sizes, "B", Target("<=", MOST_BYTES))
            yield Figure(f"{nodes} nodes: /metrics, scraped", seconds, "s", Target("<=", MOST_S))
            shards = [labels for each in targets(coordinator, host) if "__param_of" in (labels := each["labels"])]
            found = [
                _scraped(host, f"/metrics/nodes?shard={shard['__param_shard']}&of={shard['__param_of']}")
                for shard in shards
            ]
            sizes, seconds = max(found, key=lambda each: max(each[0]))
            yield Figure(f"{nodes} nodes: largest of {len(shards)} shards", sizes, "B", Target("<=", MOST_BYTES))
            slowest = max((each[1] for each in found), key=max)
            yield Figure(f"{nodes} nodes: slowest of {len(shards)} shards", slowest, "s", Target("<=", MOST_S))
            whole = sum(max(each[0]) for each in found)
            yield Figure(f"{nodes} nodes: all shards", (whole,), "B")
        finally:
            server.shutdown()
            server.server_close()


def _said_by_all(fleet: SimulatedFleet) -> None:
    """Let every node have said what its telemetry, its hello and its last revision would."""
    chip = types.ChipFigures(
        ratios=[
            types.RatioBand(ratio=ratio, value=2.0, low=1.0, high=3.0)
            for ratio in types.PaperRatio.values()
            if ratio != types.PAPER_RATIO_UNSPECIFIED
        ],
        endurance_left=0.99,
    )
    with fleet.plane.stepped.transaction() as unit:
        nodes = unit.tx.nodes.list()
        overhead = types.DeploymentOverhead(energy_j=1e-5, seconds=1e-3, bytes=4096, reprogramming_ratio=300.0)
        said = {"overhead": overhead.SerializeToString(), "chip": chip.SerializeToString(), "inferences": 1000}
        for node in nodes:
            unit.tx.nodes.touch(node.node_id, **said)
        unit.tx.nodes.save_costs(
            [NodeCostRow(node.node_id, phase, 1.234567e-5, 1e-3, 4096, 0) for node in nodes for phase in EnergyPhase]
        )


def _scraped(host: str, path: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return sizes (B) and durations (s) of some scrapes, without compression."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    sizes, seconds = [], []
    for _ in range(SCRAPES):
        began_s = time.perf_counter()
        with opener.open(f"http://{host}{path}", timeout=60) as answer:
            sizes.append(float(len(answer.read())))
        seconds.append(time.perf_counter() - began_s)
    return tuple(sizes), tuple(seconds)
