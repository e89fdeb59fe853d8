"""Figures of fault histories: promises that break, planted bugs that are found, and which faults met which states."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import get_context

from fleet.sim.faults.drawing import drawn
from fleet.sim.faults.kinds import FAULTS
from fleet.sim.faults.observing import STATES
from fleet.sim.faults.search import search
from tests.bench.faults_real import real_figures, real_mutant_figures
from tests.bench.figure import Figure, Target
from tests.faults.mutants import MUTANTS

RUNS = 1000
#: A planted bug is found within the histories of so many seeds, in which the product as it is breaks nothing.
WITHIN = 200
#: Events that each history has at least.
EVENTS = 200


def clean_figures() -> Iterator[Figure]:
    """Run the histories of a thousand seeds over the product as it is."""
    *_, (_, total) = search(range(1, RUNS + 1), _processes())
    yield Figure("histories", (float(total.runs),), "1", Target(">=", float(RUNS)))
    yield Figure("histories that break a promise", (float(len(total.failed)),), "1", Target("=", 0.0))
    yield Figure("events of the shortest history", (float(total.fewest_events),), "1", Target(">=", float(EVENTS)))
    yield Figure("events of all histories", (float(total.events),), "1")
    yield Figure("histories per second", (total.runs / total.wall_s,), "1/s")
    yield Figure("simulated over real time", (total.simulated_s / total.wall_s,), "1")
    met = Counter(fault for fault, _ in total.met.elements())
    yield Figure("kinds of faults that were met", (float(len(met)),), "1", Target("=", float(len(FAULTS))))
    for fault in FAULTS:
        for state in STATES:
            yield Figure(f"{fault.value}: {state}", (float(total.met[fault.value, state]),), "1")


def mutant_figures() -> Iterator[Figure]:
    """Look for each planted bug in the histories of the first seeds; the number is that of the one that finds it."""
    with get_context("spawn").Pool(_processes()) as pool:
        for mutant, found in zip(MUTANTS, pool.map(_found, range(len(MUTANTS)), chunksize=1), strict=True):
            yield Figure(f"{mutant.name}: history that finds it", (float(found),), "1", Target("<=", float(WITHIN)))


def _found(number: int) -> int:
    seeds = range(1, WITHIN + 1)
    return next((seed for seed in seeds if MUTANTS[number].outcome(drawn(seed)).violations), WITHIN + 1)


def _processes() -> int:
    return len(os.sched_getaffinity(0))


SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "clean": clean_figures,
    "mutants": mutant_figures,
    "real processes": real_figures,
    "real mutants": real_mutant_figures,
}
