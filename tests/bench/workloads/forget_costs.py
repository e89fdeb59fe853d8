"""What ten forgets in sequence take, line by line: of head and subject adapters, and of cohort shards.

``python -m tests.bench.workloads.forget_costs [--seed N]`` forgets ten people of one seed's fleet twice over,
once out of the closed-form head and the subject adapters, once out of four shards of cohort LoRA by replay.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

import torch
from rich.console import Console
from rich.table import Table

from tests.bench.workloads import cohort_faces, exact_forgets
from tests.bench.workloads.cohort_faces import ForgetCost
from tests.bench.workloads.exact_forgets import ForgetLine


def head_table(lines: Iterable[ForgetLine]) -> Table:
    """Return a line for each forget of head and subject adapters; shares are of training all who stay."""
    table = Table(
        "forget",
        "nodes that met them",
        "exact",
        "node, CPU ms",
        "coordinator, CPU ms",
        "of a full retrain",
        "energy",
        "of a full retrain",
        title="Closed-form head and subject adapters",
    )
    for number, line in enumerate(lines, 1):
        spent, full = line.forget, line.retrain
        table.add_row(
            str(number),
            str(line.nodes),
            _yes(line.books_exact and line.head_exact and line.subjects_exact),
            f"{1e3 * spent.node_cpu_s:.1f}",
            f"{1e3 * spent.coordinator_cpu_s:.0f}",
            f"{spent.coordinator_cpu_s / full.coordinator_cpu_s:.0%}",
            f"{spent.energy_j:.3g} J",
            f"{spent.energy_j / full.energy_j:.0%}",
        )
    return table


def shard_table(costs: Iterable[ForgetCost]) -> Table:
    """Return a line for each forget by replay; shares are of all shards, before anybody left."""
    table = Table(
        "forget",
        "shard",
        "people in it",
        "from round",
        "exact",
        "CPU ms",
        "of a full retrain",
        "by theory",
        "energy",
        "of a full retrain",
        title="Cohort LoRA, four shards, by replay",
    )
    for number, cost in enumerate(costs, 1):
        table.add_row(
            str(number),
            str(cost.shard),
            str(cost.shard_people),
            str(cost.entry_round),
            _yes(cost.bitwise),
            f"{1e3 * cost.cpu_s:.0f}",
            f"{cost.share_of_cpu:.0%}",
            f"{cost.share_by_theory:.0%}",
            f"{cost.energy_j:.3g} J",
            f"{cost.share_of_energy:.0%}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables; returns 1 if a forget was not exact."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=exact_forgets.SEEDS[0])
    seed = parser.parse_args(arguments).seed
    torch.set_num_threads(1)
    lines, costs = exact_forgets.run(seed).lines, cohort_faces.run(seed).forgets
    for table in (head_table(lines), shard_table(costs)):
        Console().print(table)
    exact = [line.books_exact and line.head_exact and line.subjects_exact for line in lines]
    return 0 if all(exact) and all(cost.bitwise for cost in costs) else 1


def _yes(exact: bool) -> str:
    return "yes" if exact else "NO"


if __name__ == "__main__":
    raise SystemExit(main())
