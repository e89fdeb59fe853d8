"""Figures of the images: public classes, private classes by their own LoRA, an erased class."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from tests.bench.figure import Figure, Target
from tests.bench.learning_faces import mean_figure
from tests.bench.workloads import erased_concepts, federated_images, images
from tests.bench.workloads.erased_concepts import Erased
from tests.bench.workloads.federated_images import FederatedClass
from tests.bench.workloads.images import ImagesRun


def images_figures() -> Iterator[Figure]:
    """Measure every seed: minutes each, more if the backbone was not trained here before."""
    yield from figures_of([images.run(seed) for seed in images.SEEDS])


def figures_of(runs: Sequence[ImagesRun]) -> Iterator[Figure]:
    """Yield the figures of these runs."""

    def each(name: str, values: Sequence[float], target: Target | None = None, unit: str = "share") -> Figure:
        return Figure(f"images: {name}", tuple(values), unit, target)

    yield each("judge on real test images", [r.judge_accuracy for r in runs])
    yield each("judge of styles on real test images", [r.judge_style_accuracy for r in runs])
    yield each("public classes that show", [r.public.accuracy for r in runs], Target(">=", 0.98))
    yield each("worst public class", [r.public.worst_class for r in runs])
    yield each("public classes in the style asked for", [r.public.style_accuracy for r in runs], Target(">=", 0.95))
    yield each("Frechet distance, judge's hidden layer", [r.public.distance for r in runs], unit="1")
    yield each("the same of real test images (floor)", [r.public.real_distance for r in runs], unit="1")
    private = [one for r in runs for one in r.private]
    shown = [one.accuracy for one in private]
    yield mean_figure("images: private class by its own LoRA", shown, "share", Target(">=", 0.95))
    yield each("private class by its own LoRA, each", shown, Target(">=", 0.90))
    styled = [one.style_accuracy for one in private]
    yield each("private class in the style asked for, each", styled, Target(">=", 0.90))
    exact = [statistics.fmean(one.exact for one in r.private) for r in runs]
    yield each("forgotten: adapters and images as never enrolled, to the bit", exact, Target("=", 1))
    within = [float(one.never_enrolled_low <= one.forgotten <= one.never_enrolled_high) for one in private]
    yield each("forgotten: within never enrolled's binomial interval (95 %)", within, Target("=", 1))
    yield each("forgotten class that still shows, other noise", [one.forgotten_again for one in private])
    chance = [one.again_p for one in private]
    yield each("how likely one model's samples differ as much (Fisher)", chance)
    yield each("never enrolled class that shows", [one.never_enrolled for one in private])
    yield each("erased public class that shows", [r.erased.erased for r in runs], Target("<=", 0.05))
    yield each("the other public classes, with the eraser", [r.erased.retain for r in runs], Target(">=", 0.97))
    yield each("erased class, eraser stripped off", [r.erased.stripped for r in runs])
    yield each("private classes, with the eraser", [r.erased.private for r in runs])
    yield each("SRAM of a private class", [r.adapter_bytes for r in runs], unit="B")
    yield each("energy to learn a class, one node", [r.learn_energy_j for r in runs], unit="J")
    yield each("cell writes after programming", [r.cell_writes_after_programming for r in runs], Target("=", 0), "1")


def federated_figures() -> Iterator[Figure]:
    """Measure every seed: two minutes each; the backbones are those of `images_figures`."""
    yield from federated_of([federated_images.run(seed) for seed in images.SEEDS])


def federated_of(runs: Sequence[Sequence[FederatedClass]]) -> Iterator[Figure]:
    """Yield the figures of these runs: classes as the real fleet keeps them."""
    classes = [one for run in runs for one in run]
    mean = [one.mean for one in classes]
    yield mean_figure("images: private class by the mean of two nodes", mean, "share", Target(">=", 0.95))
    yield Figure("images: private class by the mean of two nodes, each", tuple(mean), "share", Target(">=", 0.90))
    own = [one.own for one in classes]
    yield mean_figure("images: private class by one node's own codes, half of the images", own, "share", None)
    sizes = [float(one.message_bytes) for one in classes]
    yield Figure("images: a private class in a message", tuple(sizes), "B", None)


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
