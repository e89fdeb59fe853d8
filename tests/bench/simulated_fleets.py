"""Figures of simulated fleets: how long they take, how much memory, and whether a run is the same however it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tests.bench.figure import Figure, Target
from tests.bench.measuring import ROOT

#: Longer is a hang.
_LIMIT_S = 3600.0
_GB = 1e9

#: One forget of a whole fleet, without the heartbeats of a day around it.
_FORGET = {
    "fleet.people": 20,
    "forgets.at": ["10min"],
    "time.duration": "20min",
    "time.heartbeat": "1h",
    "time.lease": "1d",
    "time.sample_every": "10min",
}
#: A fleet that sleeps most of the time, and whose people and nodes come and go.
_LONG = {
    "fleet.nodes": 1000,
    "fleet.people": 100,
    "time.heartbeat": "12h",
    "time.lease": "7d",
    "time.lost_after": "30d",
    "time.sample_every": "1d",
    "forgets.at": [],
    "forgets.every": "7d",
    "enrolments.per_day": 0.2,
    "churn.outages_per_day": 0.02,
    "churn.outage": "1d",
    "churn.crashes_per_day": 0.01,
    "churn.joins_per_day": 0.05,
    "churn.retirements_per_day": 0.05,
}
#: Real people on real chips: twenty of them, two on each node.
_FACES = {
    "fleet.task": "faces",
    "fleet.people": 20,
    "fleet.head": False,
    "learning.rounds": 5,
    "forgets.at": ["10min", "30min", "50min"],
    "time.duration": "1h",
    "time.heartbeat": "1h",
    "time.lease": "1d",
    "time.sample_every": "30min",
}
#: A small fleet in which everything happens: its digest is that of whatever chunks, threads, actors and interruptions.
_EVERYTHING = {
    "fleet.task": "speakers",
    "fleet.nodes": 20,
    "fleet.people": 4,
    "learning.rounds": 2,
    "forgets.at": ["1h", "2h"],
    "time.duration": "3h",
    "link.loss": 0.01,
    "churn.crashes_per_day": 4,
}


def simulated(changes: Mapping[str, Any], *options: str, kernels: str = "") -> dict[str, Any]:
    """Simulate the first forget with some values changed, in a process of its own; returns what it saw.

    `kernels` are torch's, for another processor (`ATEN_CPU_CAPABILITY`); by default this one's.
    """
    command = [sys.executable, "-m", "tests.bench.workloads.simulated_run", "first-forget", json.dumps(changes)]
    environment = {**os.environ, **({"ATEN_CPU_CAPABILITY": kernels} if kernels else {})}
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=_LIMIT_S, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(name: str, changes: Mapping[str, Any], most_s: float | None = None, most_b: float | None = None) -> Any:
    seen = simulated(changes)
    yield Figure(f"{name}: the whole run", (seen["seconds"],), "s", Target("<=", most_s) if most_s else None)
    for phase, seconds in seen["phases"].items():
        yield Figure(f"{name}: {phase}", (seconds,), "s")
    yield Figure(f"{name}: peak memory", (seen["peak_bytes"],), "B", Target("<=", most_b) if most_b else None)
    forgets = seen["forgets"]
    # One that was ordered when a node was out of reach, or last of all, need not have.
    done = [forget for forget in forgets if forget["state"] == "converged"]
    yield Figure(f"{name}: forgets that converged", (len(done) / len(forgets),), "1")
    exact = sum("EXACT" in forget["verdict"].split() for forget in done) / len(done)
    yield Figure(f"{name}: of these, with a verdict EXACT", (exact,), "1", Target("=", 1.0))
    yield Figure(f"{name}: nodes held", (seen["state"]["held"],), "1", Target("=", 0.0))


def forget_figures() -> Iterator[Figure]:
    """Yield what one forget takes, by the size of the fleet."""
    for nodes, most_s in ((1000, None), (10_000, 180.0)):
        seen = simulated({**_FORGET, "fleet.nodes": nodes})
        name = f"one forget, {nodes} nodes"
        yield Figure(name, (seen["phases"]["simulated time"],), "s", Target("<=", most_s) if most_s else None)
        yield Figure(f"{name}: setting the fleet up", (seen["seconds"] - seen["phases"]["simulated time"],), "s")
        yield Figure(f"{name}: peak memory", (seen["peak_bytes"],), "B")
        (forget,) = seen["forgets"]
        done = forget["verified"] + forget["not_affected"]
        yield Figure(f"{name}: nodes that are verified", (done / nodes,), "1", Target("=", 1.0))


def long_figures(days: int) -> Iterator[Figure]:
    """Yield what so many days of 1,000 nodes take."""
    most_s = 600.0 if days >= 365 else None
    yield from _run(f"{days} days of 1000 nodes", {**_LONG, "time.duration": f"{days}d"}, most_s)


def faces_figures(nodes: int) -> Iterator[Figure]:
    """Yield what a fleet takes whose chips are tile-accurate, and which learns and forgets real people."""
    places = {"fleet.nodes": nodes, "fleet.nodes_per_person": nodes // 10}
    most_s, most_b = (900.0, 8 * _GB) if nodes == 10_000 else (None, None)
    yield from _run(f"faces on {nodes} nodes", {**_FACES, **places}, most_s, most_b)


def digest_figures() -> Iterator[Figure]:
    """Yield how many digests runs have that must have the same."""
    ways = [
        *(("--chunk", str(chunk)) for chunk in (1, 50, 500)),
        ("--threads", "2"),
        ("--save-at", "3"),
        ("--save-at", "11"),
        ("--actors", "1"),
        ("--actors", "2", "--chunk", "7", "--save-at", "5"),
    ]
    digests = [simulated(_EVERYTHING, *way)["digest"] for way in ways]
    digests += [simulated(_EVERYTHING, kernels=kernels)["digest"] for kernels in ("default", "avx2")]
    name = f"digests of {len(digests)} runs: chunks, threads, checkpoints, Ray, kernels of other processors"
    yield Figure(name, (len(set(digests)),), "1", Target("=", 1.0))
