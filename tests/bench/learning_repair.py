"""Figures of approximate repair: methods beside each other, against the retrained reference."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.lab.verification.judging import Verdict
from tests.bench.figure import Figure, Target
from tests.bench.learning_faces import mean_figure
from tests.bench.workloads import approximate_repair
from tests.bench.workloads.approximate_repair import MethodRow

#: The way to forget whose figures have targets: what can be exact is, hinged NegGrad+ repairs the rest.
DEFAULT = "negative-gradient"


def repair_figures() -> Iterator[Figure]:
    """Yield five forgotten people on each of three fleets, by every method."""
    runs = [approximate_repair.run(seed) for seed in approximate_repair.SEEDS]
    methods = [row.method for row in runs[0].rows]
    for method in methods:
        rows = [next(row for row in run.rows if row.method == method) for run in runs]
        yield from _method_figures(f"repair of the shared LoRA by {method}", rows, method == DEFAULT)
    for judgement in approximate_repair.judged(runs):
        accepted = judgement.verdict is Verdict.ACCEPTED
        target = Target("=", 1) if judgement.method == DEFAULT else None
        yield Figure(f"repair by {judgement.method}: verdict is accepted", (float(accepted),), "1", target)


def _method_figures(name: str, rows: list[MethodRow], default: bool) -> Iterator[Figure]:
    def mean(what: str, values: list[float], target: Target | None = None, unit: str = "share") -> Figure:
        return mean_figure(f"{name}: {what}", values, unit, target if default else None)

    yield mean("gap to retrain", [row.gap for row in rows], Target("<=", 0.03))
    probe = [row.probe - row.reference_probe for row in rows]
    yield mean("one-photo probe above retrain", probe, Target("<=", 0.10))
    loss = [row.loss_ratio for row in rows]
    yield mean("loss on the forgotten over retrain's", loss, Target(">=", 0.5), "1")
    if default:
        yield mean("loss on the forgotten over retrain's, upper limit", loss, Target("<=", 2), "1")
    yield mean("accuracy on everybody else's test photos", [row.ta for row in rows])
    yield mean("AUC of the loss attack", [row.attack_auc for row in rows])
    yield mean("forgotten not named with the LoRA off", [row.stripped_ua for row in rows])
    yield mean("energy of a repair job", [row.energy_j for row in rows], unit="J")
