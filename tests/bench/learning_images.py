"""Figures of the images: public classes, private classes that nodes learn and forget, masked concepts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleet.lab.verification.judging import Verdict
from fleet.lab.verification.verify_images import LEARNT, MASKED, STYLED
from tests.bench.figure import Figure, Target
from tests.bench.learning_faces import mean_figure
from tests.bench.workloads import erased_concepts, images
from tests.bench.workloads.erased_concepts import Erased
from tests.bench.workloads.images import ImagesRun


def images_figures() -> Iterator[Figure]:
    """Measure every seed: ten minutes each, more if the backbone was not trained here before."""
    yield from figures_of([images.run(seed) for seed in images.SEEDS])


def figures_of(runs: Sequence[ImagesRun]) -> Iterator[Figure]:
    """Yield the figures of these runs."""
    drawn, public = [r.drawn for r in runs], [r.drawn.public for r in runs]
    reports = [r.report for r in runs]
    forgets = [report.exact[0] for report in reports]
    styles = [report.masked[0] for report in reports]

    def each(name: str, values: Sequence[float], target: Target | None = None, unit: str = "share") -> Figure:
        return Figure(f"images: {name}", tuple(values), unit, target)

    def verdict(name: str, number: int, expected: Verdict) -> Figure:
        given = [float(report.judgements[number].verdict is expected) for report in reports]
        return each(f"{name}: {expected}", given, Target("=", 1))

    yield each("judge on real test images", [d.judge_accuracy for d in drawn])
    yield each("judge of styles on real test images", [d.judge_style_accuracy for d in drawn])
    yield each("public classes that show", [p.accuracy for p in public], Target(">=", 0.98))
    yield each("worst public class", [p.worst_class for p in public])
    yield each("public classes in the style asked for", [p.style_accuracy for p in public], Target(">=", 0.95))
    yield each("Frechet distance, judge's hidden layer", [p.distance for p in public], unit="1")
    yield each("the same of real test images (floor)", [p.real_distance for p in public], unit="1")
    shown = [report.scores[name] for report in reports for name in LEARNT]
    yield mean_figure("images: private class by the mean of two nodes", shown, "share", Target(">=", 0.95))
    yield each("private class by the mean of two nodes, each", shown, Target(">=", 0.90))
    styled = [report.scores[STYLED] for report in reports]
    yield each("private class in the style asked for", styled, Target(">=", 0.90))
    yield verdict("private class, forgotten", 0, Verdict.EXACT)
    yield each("forgotten class that still shows", [one.recognised.value for one in forgets])
    yield each("never enrolled class that shows", [one.chance.value for one in forgets if one.chance])
    yield verdict("style, forgotten", 1, Verdict.MASKED)
    yield each("masked style that shows, asked for by its name", [one.shows.value for one in styles])
    yield each("masked style, eraser stripped off", [one.stripped.value for one in styles])
    yield each("private classes, with the eraser", [report.scores[MASKED] for report in reports])
    yield each("a private class in a message", [float(d.message_bytes) for d in drawn], unit="B")
    yield each("energy to learn a class, one node", [d.learn_energy_j for d in drawn], unit="J")
    yield each("cell writes of the forgets", [float(report.cell_writes) for report in reports], Target("=", 0), "1")


def concepts_figures() -> Iterator[Figure]:
    """Measure every seed: a minute each."""
    yield from concepts_of([erased_concepts.run(seed) for seed in erased_concepts.SEEDS])


def concepts_of(runs: Sequence[tuple[Erased, Erased]]) -> Iterator[Figure]:
    """Yield the figures of these runs: of a style that is erased, then of a thing."""
    few, most = Target("<=", 0.05), Target(">=", 0.95)
    for what, half, erased in (
        ("style", "thing", [run[0] for run in runs]),
        ("thing", "style", [run[1] for run in runs]),
    ):
        for name, values, target in (
            ("shows, asked for by its name", [one.shows for one in erased], few),
            ("shows, prompt left open", [one.unasked for one in erased], few),
            ("other styles show", [one.styles for one in erased], most),
            ("things show, asked for in another way", [one.things for one in erased], most),
            (f"asked for by its name, the {half} shows", [one.other_half for one in erased], None),
            ("shows before", [one.before for one in erased], None),
            ("strip test: shows, eraser taken off", [one.stripped for one in erased], None),
        ):
            yield Figure(f"erased {what}: {name}", tuple(values), "share", target)
