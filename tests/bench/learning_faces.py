"""Figures of the faces: head and subject adapters, exact forgets."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from edge_node.backbones.filters import FINE
from tests.bench.figure import Figure, Target
from tests.bench.workloads import exact_forgets, faces
from tests.bench.workloads.face_fleet import face_fleet

MILLI = 1e3
#: What the head has to reach on the mean of the seeds, and on every one.
LEAST_MEAN_ACCURACY, LEAST_SEED_ACCURACY = 0.98, 0.96


def mean_figure(name: str, values: Sequence[float], unit: str, target: Target | None = None) -> Figure:
    """Return a figure that is the mean over seeds."""
    return Figure(f"{name}, mean over seeds", tuple(values), unit, target, of_mean=True)


def faces_figures() -> Iterator[Figure]:
    """Yield what twenty people on eight chips give, by head and by subject adapters."""
    runs = [faces.run(seed) for seed in faces.SEEDS]
    yield Figure("faces: features", tuple(r.features for r in runs), "1", Target("<=", 1024))
    yield from _accuracy("faces, head", [r.head_accuracy for r in runs])
    earlier = [faces.head_accuracy(face_fleet(seed, layout=FINE)) for seed in faces.EARLIER_SEEDS]
    yield from _accuracy("faces, head, other seeds", earlier)
    loss = [r.head_accuracy_perfect - r.head_accuracy for r in runs]
    yield mean_figure("faces, head: accuracy lost to errors of the chips", loss, "share", Target("<=", 0.01))
    auroc = tuple(r.head.auroc for r in runs)
    yield mean_figure("faces, head: AUROC against strangers", auroc, "share", Target(">=", 0.975))
    yield Figure("faces, head: AUROC against strangers, every seed", auroc, "share")
    accepts = tuple(r.head.false_accepts for r in runs)
    name = "faces, head: false accepts at the threshold fixed beforehand"
    yield mean_figure(name, accepts, "share", Target("<=", 0.15))
    yield Figure(f"{name}, every seed", accepts, "share")
    rejects = [r.head.false_rejects for r in runs]
    yield mean_figure("faces, head: false rejects at that threshold", rejects, "share")
    hindsight = [r.head.false_accepts_at_5_percent for r in runs]
    yield mean_figure("faces, head: false accepts at 5 % false rejects in hindsight", hindsight, "share")
    subject = tuple(r.subject_accuracy for r in runs)
    yield mean_figure("faces, subject adapters alone: accuracy", subject, "share", Target(">=", 0.96))
    yield Figure("faces, subject adapters alone: accuracy, every seed", subject, "share")
    yield mean_figure(
        "faces, subject adapters alone: AUROC", [r.subject.auroc for r in runs], "share", Target(">=", 0.95)
    )
    yield mean_figure("faces: accuracy on newcomers beside a head", [r.newcomer_accuracy for r in runs], "share")
    yield Figure("faces: head, bytes", tuple(r.head_bytes for r in runs), "B")
    yield Figure("faces: statistics that a node sends", tuple(r.node_share_bytes for r in runs), "B")


def _accuracy(name: str, values: Sequence[float]) -> Iterator[Figure]:
    yield mean_figure(f"{name}: accuracy", values, "share", Target(">=", LEAST_MEAN_ACCURACY))
    yield Figure(f"{name}: accuracy, every seed", tuple(values), "share")
    below = sum(value < LEAST_SEED_ACCURACY for value in values)
    yield Figure(
        f"{name}: seeds of {len(values)} with an accuracy below {LEAST_SEED_ACCURACY}",
        (float(below),),
        "1",
        Target("=", 0),
    )


def exact_figures() -> Iterator[Figure]:
    """Yield ten forgets in sequence: exactness, and the share of a full retrain."""
    runs = [exact_forgets.run(seed) for seed in exact_forgets.SEEDS]
    lines = [line for run in runs for line in run]
    exact = tuple(statistics.fmean(line.exact for line in run) for run in runs)
    yield Figure("10 forgets in sequence: share that is exact to the bit", exact, "share", Target("=", 1))
    spread = tuple(float(len({line.nodes for line in run})) for run in runs)
    yield Figure("10 forgets in sequence: numbers of nodes that met the person", spread, "1", Target(">=", 2))
    node = tuple(max(line.forget.node_cpu_s for line in run) * MILLI for run in runs)
    yield Figure("forget: CPU of a node, worst of ten", node, "ms", Target("<=", 10))
    coordinator = tuple(max(line.forget.coordinator_cpu_s for line in run) * MILLI for run in runs)
    yield Figure("forget: CPU of the coordinator, worst of ten", coordinator, "ms", Target("<=", 500))
    for nodes in sorted({line.nodes for line in lines}):
        mine = [line for line in lines if line.nodes == nodes]
        known = f"forget of a person whom {nodes} node{'s' if nodes > 1 else ''} met"
        yield Figure(f"{known}: energy", tuple(line.forget.energy_j for line in mine), "J")
        share = tuple(line.forget.energy_j / line.retrain.energy_j for line in mine)
        yield Figure(f"{known}: energy, share of a full retrain", share, "share")
    share = tuple(line.forget.coordinator_cpu_s / line.retrain.coordinator_cpu_s for line in lines)
    yield Figure("forget: CPU of the coordinator, share of a full retrain", share, "share")
    share = tuple(line.forget.sent_bytes / line.retrain.sent_bytes for line in lines)
    yield Figure("forget: bytes sent, share of a full retrain", share, "share")
    digests = [set(exact_forgets.environment_digests(seed)) for seed in exact_forgets.SEEDS[:2]]
    yield Figure(
        "forget: different digests over BLAS kernels and thread counts",
        tuple(len(found) for found in digests),
        "1",
        Target("=", 1),
    )
