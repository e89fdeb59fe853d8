"""`python -m tests.bench`: what a thing costs in time beside another that does the same work, and in memory.

Nothing is asserted: read the ratios, not the milliseconds.
"""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table

from tests.bench import fleet_memory
from tests.bench.crossbar_pairs import crossbar_pairs
from tests.bench.engine_pairs import engine_pairs
from tests.bench.face_backbones import FLEETS
from tests.bench.grid_figures import NAMES, measured_once
from tests.bench.model_pairs import model_pairs
from tests.bench.side_by_side import REPEATS, side_by_side
from tests.bench.training_pairs import training_pairs


def times() -> Table:
    """Measure every pair."""
    table = Table("work", "ms", "beside", "ms", "ratio", title=f"Side by side, one thread, {REPEATS} turns")
    for pairs in (crossbar_pairs, model_pairs, engine_pairs, training_pairs):
        for pair in pairs():
            timing = side_by_side(pair)
            table.add_row(
                pair.name,
                f"{1e3 * timing.ours_s:.3g}",
                pair.beside,
                f"{1e3 * timing.theirs_s:.3g}",
                f"{timing.ratio:.2f}",
            )
    return table


def memory() -> Table:
    """Measure the fleets, each in a process of its own."""
    table = Table("one photo, tile-accurate", "nodes", "peak memory", "seconds", title="Fleets of chips")
    for backbone in FLEETS:
        for nodes in (1, fleet_memory.NODES):
            run = fleet_memory.measured(backbone, nodes)
            table.add_row(backbone, str(nodes), f"{run.peak_bytes / 1e6:.0f} MB", f"{run.seconds:.2f}")
    return table


def simulators() -> Table:
    """Measure simulators of federated learning, each in a process of its own on one core."""
    table = Table("simulator", "nodes", "ms per node and round", "peak memory", title="A model of 10,026 parameters")
    for (name, nodes), run in measured_once().items():
        cost = "not installed" if run is None else f"{1e3 * run.warm_s / nodes:.3f}"
        table.add_row(NAMES[name], str(nodes), cost, "" if run is None else f"{run.peak_bytes / 1e6:.0f} MB")
    return table


def main() -> None:
    """Measure everything and print the tables."""
    torch.set_num_threads(1)
    for table in (times(), memory(), simulators()):
        Console().print(table)


if __name__ == "__main__":
    main()
