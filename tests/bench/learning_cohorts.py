"""Figures of the fleet's own LoRA in cohort shards."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.figure import Figure, Target
from tests.bench.learning_faces import mean_figure
from tests.bench.workloads import fleet_cohorts


def fleet_cohort_figures() -> Iterator[Figure]:
    """Yield what four shards cost in the fleet, and one of them trained again without a person."""
    runs = [fleet_cohorts.run(seed) for seed in fleet_cohorts.SEEDS]
    for what in ("accuracy", "auroc", "known_accepted", "strangers_accepted"):
        for name in ("closed_form", "one_shard", "four_shards"):
            values = [getattr(getattr(run, name), what) for run in runs]
            title = f"fleet's LoRA, {name.replace('_', ' ')}: {what.replace('_', ' ')}"
            yield mean_figure(title, values, "share")
    lost = [run.one_shard.accuracy - run.four_shards.accuracy for run in runs]
    yield mean_figure("fleet's LoRA, four shards: accuracy lost to one", lost, "share", Target("<=", 0.05))
    lost = [run.one_shard.auroc - run.four_shards.auroc for run in runs]
    yield mean_figure("fleet's LoRA, four shards: AUROC lost to one", lost, "share", Target("<=", 0.02))
    exact = tuple(run.exact for run in runs)
    yield Figure(
        "fleet's LoRA: shards trained without a person that are exact to the bit", exact, "share", Target("=", 1)
    )
    share = tuple(run.share_of_retrain for run in runs)
    yield Figure("fleet's LoRA: rows trained for a forget, share of a full retrain", share, "share")
