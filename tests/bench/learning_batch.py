"""Figures of a batch of N nodes against N single nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.figure import Figure, Target
from tests.bench.workloads import batch_of_nodes
from tests.bench.workloads.batch_of_nodes import Compared


def batch_figures() -> Iterator[Figure]:
    """Measure every seed."""
    yield from figures_of([batch_of_nodes.run(seed) for seed in batch_of_nodes.SEEDS])


def figures_of(runs: Sequence[Sequence[Compared]]) -> Iterator[Figure]:
    """Yield a figure for each thing that nodes compute: differing integers, or the largest difference."""
    for number, line in enumerate(runs[0]):
        mine = [run[number] for run in runs]
        name = f"batch of nodes, {line.what}, {line.fidelity}"
        if line.exact:
            counts = tuple(float(one.differing) for one in mine)
            yield Figure(f"{name}: integers that differ from single nodes", counts, "1", Target("=", 0))
        else:
            off = tuple(one.largest for one in mine)
            target = Target("<=", line.tolerance)
            yield Figure(f"{name}: largest difference from single nodes", off, "1", target)
