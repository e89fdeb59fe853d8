"""Figures of simulators of federated learning, side by side: what a node and round costs, and memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import numpy as np

from tests.bench.figure import Figure, Target
from tests.bench.workloads.simulators import SimulatorRun, measured

TURNS, ROUNDS = 3, 5
NAMES: Mapping[str, str] = {
    "vector-grid": "VectorGrid",
    "bare-batch": "bare batched torch",
    "jax": "JAX, vmap",
    "loop": "torch, a loop",
    "pfl": "pfl 0.6.0",
    "client-app": "any ClientApp",
    "flower": "Flower on Ray",
}
#: Numbers of nodes by simulator; all have the first.
COMPARED = 200
FLEETS: Mapping[str, tuple[int, ...]] = {
    "vector-grid": (COMPARED, 10, 30, 100, 1000, 3000, 10_000),
    "bare-batch": (COMPARED, 10, 30, 100, 1000, 3000, 10_000),
    "jax": (COMPARED, 100, 1000, 10_000),
    **dict.fromkeys(("loop", "pfl", "client-app", "flower"), (COMPARED,)),
}
#: Where the targets are: a node and round with messages, and what it may cost above bare arithmetic.
TARGETS_AT, MOST_S, MOST_ABOVE_S = (COMPARED, 10_000), 0.32e-3, 0.12e-3
MOST_BYTES, MOST_BYTES_PER_NODE = 400e6, 45e3
COST = "{}, {} nodes: a node and round"

Runs = dict[tuple[str, int], SimulatorRun | None]


def measured_once() -> Runs:
    """Run every simulator once at each number of nodes."""
    return {
        (name, nodes): measured(name, nodes, ROUNDS) for nodes in _sizes() for name in FLEETS if nodes in FLEETS[name]
    }


def _sizes() -> list[int]:
    return sorted({nodes for sizes in FLEETS.values() for nodes in sizes})


def grid_figures() -> Iterator[Figure]:
    """Yield costs of a node and round, the median of the rounds after the first; one value per turn."""
    turns = [measured_once() for _ in range(TURNS)]
    for (name, nodes), first in turns[0].items():
        if first is None:
            sys.stderr.write(f"{NAMES[name]} is not installed: its figures are left out (extra `bench`)\n")
            continue
        target = Target("<=", MOST_S) if name == "vector-grid" and nodes in TARGETS_AT else None
        yield Figure(COST.format(NAMES[name], nodes), _costs(turns, name, nodes), "s", target)
    for nodes in FLEETS["vector-grid"]:
        pairs = zip(_costs(turns, "vector-grid", nodes), _costs(turns, "bare-batch", nodes), strict=True)
        target = Target("<=", MOST_ABOVE_S) if nodes in TARGETS_AT else None
        yield Figure(f"VectorGrid above bare arithmetic, {nodes} nodes", tuple(a - b for a, b in pairs), "s", target)
        memory = tuple(float(run.peak_bytes) for turn in turns if (run := turn["vector-grid", nodes]))
        most = Target("<=", MOST_BYTES + MOST_BYTES_PER_NODE * nodes)
        yield Figure(f"memory of VectorGrid, {nodes} nodes", memory, "B", most)
    for name in ("flower", "pfl", "client-app"):
        if turns[0][name, COMPARED] is not None:
            ours, theirs = (_costs(turns, each, COMPARED) for each in ("vector-grid", name))
            ratios = tuple(b / a for a, b in zip(ours, theirs, strict=True))
            yield Figure(f"{NAMES[name]} over VectorGrid, {COMPARED} nodes", ratios, "1")
    for name in FLEETS:
        runs = [(turn[name, COMPARED], turn["flower", COMPARED]) for turn in turns]
        apart = tuple(float(np.abs(np.subtract(a.learnt, b.learnt)).max()) for a, b in runs if a and b)
        if name != "flower" and apart:
            title = f"{NAMES[name]}: weights after {ROUNDS} rounds, furthest from Flower's own simulation"
            yield Figure(title, apart, "1", Target("<=", 1e-5))


def _costs(turns: list[Runs], name: str, nodes: int) -> tuple[float, ...]:
    return tuple(run.warm_s / nodes for turn in turns if (run := turn[name, nodes]))
