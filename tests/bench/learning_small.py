"""Figures of small chips: what a LoRA beside every layer adds, and which part of that is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.figure import Figure, Target
from tests.bench.learning_faces import mean_figure
from tests.bench.workloads import exact_states, small_chips
from tests.bench.workloads.small_chips import Rates, SmallChipsRun

_TITLES = {
    "faces-64": "faces, 64 columns",
    "speakers-4": "JapaneseVowels, reservoir of 4 units",
    "speakers-8": "JapaneseVowels, reservoir of 8 units",
    "fsdd-8": "FSDD, liquid of 8 neurons",
}
#: What a federated LoRA has to add to a chip that has none; a reservoir of eight units leaves little to add.
_LEAST_GAIN = {"faces-64": 0.08, "speakers-4": 0.03, "fsdd-8": 0.03}
#: What it may lack of the same recipe on everybody's samples, and accept of strangers beyond the closed form.
_MOST_BELOW_CENTRAL, _MOST_ACCEPTS = 0.015, 0.05


def small_chips_figures() -> Iterator[Figure]:
    """Yield rates of three small machines, without LoRA, by closed form, and by LoRA."""
    for task, title in _TITLES.items():
        yield from _of_task(task, title, [small_chips.run(task, seed) for seed in small_chips.SEEDS])


def _of_task(task: str, title: str, runs: Sequence[SmallChipsRun]) -> Iterator[Figure]:
    yield from _rates(f"{title}, no LoRA", [run.without_lora for run in runs])
    yield from _rates(f"{title}, no LoRA, by what drives the neurons", [run.drives for run in runs])
    yield from _rates(f"{title}, closed form on A x too", [run.closed_form for run in runs])
    yield from _rates(f"{title}, federated LoRA", [run.federated for run in runs])
    yield from _rates(f"{title}, LoRA trained at one node", [run.central for run in runs])
    gain = [run.federated.accuracy - run.without_lora.accuracy for run in runs]
    least = _LEAST_GAIN.get(task)
    yield mean_figure(f"{title}: accuracy that the LoRA adds", gain, "share", Target(">=", least) if least else None)
    trained = [run.federated.accuracy - run.closed_form.accuracy for run in runs]
    yield mean_figure(f"{title}: the trained part of that", trained, "share")
    below = [run.central.accuracy - run.federated.accuracy for run in runs]
    yield mean_figure(f"{title}: accuracy below one node's", below, "share", Target("<=", _MOST_BELOW_CENTRAL))
    accepts = [run.federated.false_accepts - run.closed_form.false_accepts for run in runs]
    yield mean_figure(
        f"{title}: strangers accepted beyond the closed form", accepts, "share", Target("<=", _MOST_ACCEPTS)
    )


def _rates(name: str, rates: Sequence[Rates]) -> Iterator[Figure]:
    yield mean_figure(f"{name}: accuracy", [r.accuracy for r in rates], "share")
    yield mean_figure(f"{name}: AUROC", [r.auroc for r in rates], "share")
    yield mean_figure(f"{name}: false accepts at the fixed threshold", [r.false_accepts for r in rates], "share")


def exact_states_figures() -> Iterator[Figure]:
    """Yield how many integers of a cohort's LoRA are others when it is computed in another way."""
    runs = [exact_states.run("faces-64", seed) for seed in small_chips.SEEDS]
    title = f"cohort of faces-64 after {exact_states.ROUNDS} rounds"
    yield Figure(f"{title}: integers", tuple(float(run.integers) for run in runs), "1")
    for way in runs[0].differ:
        others = tuple(float(run.differ[way]) for run in runs)
        yield Figure(f"{title}, {way}: integers that differ", others, "1", Target("=", 0))
    codes = tuple(float(run.other_codes) for run in runs)
    yield Figure(f"{title}: kernels and threads under which a captured code differs", codes, "1", Target("=", 0))
