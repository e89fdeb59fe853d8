"""Figures of continual learning: people and tasks arrive, some people leave, and nobody comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from tests.bench.figure import Figure, Target
from tests.bench.learning_faces import mean_figure
from tests.bench.workloads import continual
from tests.bench.workloads.continual import ContinualRun, Life

#: From best to last, on those known before: what more people to be taken for may cost, and training on.
FORGETTING = {
    "closed-form head": Target("<=", 0.03),
    "subject adapters": Target("<=", 0.03),
    "cohort LoRA on small chips": Target("<=", 0.05),
}
#: Accepted more often than by a fleet that never knew them: what is repaired may be off by as much.
RESURFACED = Target("<=", 0.05)
#: As for the head of faces and that of voices. Set after measuring.
STRANGERS = Target("<=", 0.15)


def continual_figures() -> Iterator[Figure]:
    """Measure every seed."""
    yield from figures_of([continual.run(seed) for seed in continual.SEEDS])


def figures_of(runs: Sequence[ContinualRun]) -> Iterator[Figure]:
    """Yield the figures of these runs."""
    yield from _life("continual, faces", [run.faces for run in runs])
    yield from _life("continual, voices", [run.voices for run in runs])
    unchanged = tuple(float(run.first_task_unchanged) for run in runs)
    name = "continual: faces' codes and answers are bitwise the same after voices arrive on the same nodes"
    yield Figure(name, unchanged, "1", Target("=", 1))


def _life(name: str, lives: Sequence[Life]) -> Iterator[Figure]:
    for number, trajectory in enumerate(lives[0].trajectories):
        lines = [life.trajectories[number] for life in lives]
        what = f"{name}, {trajectory.learner}"
        for wave in range(1, len(trajectory.known_before) + 1):
            known = [line.known_before[wave - 1] for line in lines]
            yield mean_figure(f"{what}: accuracy after wave {wave + 1} on those known before", known, "share")
            everybody = [line.everybody[wave] for line in lines]
            yield mean_figure(f"{what}: accuracy after wave {wave + 1} on everybody", everybody, "share")
        final = [line.everybody[-1] for line in lines]
        yield mean_figure(f"{what}: accuracy after {continual.MORE_ROUNDS} more rounds", final, "share")
        forgetting = [line.forgetting for line in lines]
        target = FORGETTING.get(trajectory.learner)
        yield mean_figure(f"{what}: forgetting (best less last)", forgetting, "share", target)
        below = [line.joint - line.everybody[-1] for line in lines]
        yield mean_figure(f"{what}: accuracy below that of everybody at once", below, "share")
    for number, first in enumerate(lives[0].resurfacing):
        kinds = [life.resurfacing[number] for life in lives]
        what = f"{name}, forgotten people in a {first.kind} after {continual.MORE_ROUNDS} more rounds"
        yield Figure(f"{what}: named", tuple(line.named for line in kinds), "share", Target("=", 0))
        excess = [line.accepted - line.never_enrolled for line in kinds]
        yield mean_figure(f"{what}: accepted, above never enrolled", excess, "share", RESURFACED)
        yield mean_figure(f"{what}: accepted", [line.accepted for line in kinds], "share")
        yield mean_figure(f"{what}: strangers accepted", [line.strangers for line in kinds], "share", STRANGERS)
        back = [line.named_if_let_back for line in kinds]
        yield mean_figure(f"{what}: named, had their old adapter been let back in", back, "share")
        equal = fmean(line.as_if_never_enrolled for line in kinds)
        yield Figure(f"{what}: integers as if never enrolled", (equal,), "share", Target("=", 1))
    refused = tuple(life.returns_refused for life in lives)
    yield Figure(f"{name}: ways back that are refused to forgotten tags", refused, "share", Target("=", 1))
