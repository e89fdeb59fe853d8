"""Figures of metrics of forgetting: how often each is right about models of which the truth is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean

from fleet.lab.verification.intervals import Rate
from tests.bench.figure import Figure, Target
from tests.bench.workloads import judged_metrics
from tests.bench.workloads.judged_metrics import REPAIRED, TRUTHS, VERDICT, Said

#: Kinds of model that a report may never take for forgotten.
KNOWN = ("untouched", "masked")
NAME = "{}: balanced accuracy on models of known truth"


def metrics_figures() -> Iterator[Figure]:
    """Yield how often each metric is right, with what it says of each kind of model."""
    said = [one for seed in judged_metrics.SEEDS for one in judged_metrics.run(seed)]
    by_metric: dict[str, list[Said]] = defaultdict(list)
    for one in said:
        by_metric[one.metric].append(one)
    models = sum(one.kind in TRUTHS for one in by_metric[VERDICT])
    yield Figure("models of known truth that metrics were judged on", (float(models),), "1", Target(">=", 100))
    accepted = fmean(one.forgotten for one in by_metric[VERDICT] if one.kind == REPAIRED)
    yield Figure("models that the fleet's repair rounds make: verdict is accepted", (accepted,), "share")
    for metric, everything in by_metric.items():
        found = [one for one in everything if one.kind in TRUTHS]
        # What decides in a report must be right more often than a coin, unless it looks for harm to others.
        name = metric if found[0].decides else f"{metric} (decides nothing)"
        low, value, high = balanced_accuracy(found)
        yield Figure(NAME.format(name), (value,), "share")
        yield Figure(f"{NAME.format(name)}, low end of the 95 % interval", (low,), "share")
        yield Figure(f"{NAME.format(name)}, high end of the 95 % interval", (high,), "share")
        for kind, forgotten in TRUTHS.items():
            right = fmean(one.forgotten is forgotten for one in found if one.kind == kind)
            target = Target("=", 1) if metric == VERDICT and kind in KNOWN else None
            yield Figure(f"{name}: right about models that are {kind}", (right,), "share", target)


def balanced_accuracy(said: Sequence[Said]) -> tuple[float, float, float]:
    """Return the mean of the shares of forgotten and of known models that a metric is right about, with an interval.

    Its ends, first and last, are the means of the ends of both exact intervals: wider than need be.
    """
    rates = [
        Rate(sum(one.forgotten is truth for one in mine), len(mine))
        for truth in (True, False)
        for mine in [[one for one in said if TRUTHS[one.kind] is truth]]
    ]
    ends = [rate.interval for rate in rates]
    return fmean(end.low for end in ends), fmean(rate.value for rate in rates), fmean(end.high for end in ends)
