"""Subjects of the rows of `results/learning.json`: the product, or an experiment beside it.

A row is the product's if its own code path gave the figure: the engine, the rounds and the coordinator as deployed. It
is an experiment's if a network or a model of an experiment did, which is no evidence about the product.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Rows of each section that an experiment gave, by a regular expression of their names; all others are the product's.
EXPERIMENTS: Mapping[str, str] = {
    # LoRA on two layers, trained in cohorts: `fleet.lab.replay`.
    "federated LoRA": "",
    "cohort LoRA": "",
    # The engine's rounds, but averaged and rounded by the workload: `tests.bench.workloads.fleet_cohorts`.
    "cohort LoRA in the fleet": "",
    # The same: `tests.bench.workloads.lora_lives`.
    "judged metrics": "",
    "continual learning": "LoRA",
    "batch of nodes": "hidden layer|round of a cohort",
    # A head of its own, with an intercept and other thresholds: `tests.bench.workloads.speaker_fleet`.
    "speakers": "",
    "paper's protocol": "",
}


def subject(section: str, name: str) -> str:
    """Return whose figure a row is: "product" or "experiment"."""
    pattern = EXPERIMENTS.get(section)
    return "product" if pattern is None or re.search(pattern, name) is None else "experiment"
