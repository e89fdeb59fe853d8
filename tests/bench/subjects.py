"""Subjects of the rows of `results/learning.json`: the product, or an experiment beside it.

A row is the product's if its own code path gave the figure: the engine, the rounds and the coordinator as deployed. It
is an experiment's if a network or a model of an experiment did, which is no evidence about the product.
"""

from __future__ import annotations

#: Sections whose rows an experiment gave; all others are the product's.
EXPERIMENTS = frozenset(
    {
        # The engine's rounds, but averaged by the workload: `tests.bench.workloads.averaging`.
        "cohort LoRA in the fleet",
        "judged metrics",
        # A head of its own, with an intercept and other thresholds: `tests.bench.workloads.speaker_fleet`.
        "speakers",
        "paper's protocol",
    }
)


def subject(section: str) -> str:
    """Return whose figure a section's rows are: "product" or "experiment"."""
    return "experiment" if section in EXPERIMENTS else "product"
