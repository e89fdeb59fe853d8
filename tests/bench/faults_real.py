"""Figures of faults on real processes: promises that break in a hundred runs, and planted bugs that are found."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.bench.figure import Figure, Target
from tests.bench.measuring import KeptSections
from tests.faults.real.plans import OPERATIONS, Kind
from tests.faults.real.runs import ONE_FLEET, Run, runs

RUNS = 100
#: Planted bugs whose effect is seen from outside of a process: of the forgotten, of keys, of leases.
MUTANTS = (
    "forgotten kept in SRAM",
    "key not destroyed",
    "keys of the coordinator kept",
    "head kept with a forgotten column",
    "canary reused",
)
#: A planted bug is found within so many brief runs, from that seed on.
WITHIN, FIRST = 5, 22

_RUN, _FORGETS, _BROKEN, _SECONDS = "runs", "forgets that were acknowledged", "promises that broke", "seconds of a run"
_STAND_INS = "kinds of faults that this machine does not allow"
_FAULTS = [kind for kind in Kind if kind not in OPERATIONS]


def real_figures() -> Iterator[Figure]:
    """Hurt real fleets a hundred times; what the runs of one fleet gave is kept, so that an interruption costs one."""
    kept, parts = KeptSections.of("faults"), []
    for first in range(1, RUNS + 1, ONE_FLEET):
        part = f"real processes {first}"
        if (figures := kept.figures(part)) is None:
            figures = list(_of_fleet(range(first, first + ONE_FLEET)))
            kept.keep(part, figures)
        parts.append({figure.name: figure.values for figure in figures})
    of_runs = {name: tuple(value for part in parts for value in part[name]) for name in parts[0]}
    yield Figure(_RUN, (sum(of_runs[_RUN]),), "1", Target(">=", float(RUNS)))
    yield Figure(_BROKEN, of_runs[_BROKEN], "1", Target("=", 0.0))
    yield Figure(_FORGETS, (sum(of_runs[_FORGETS]),), "1")
    yield Figure(_SECONDS, of_runs[_SECONDS], "s")
    yield Figure(_STAND_INS, (max(of_runs[_STAND_INS]),), "1")
    for kind in _FAULTS:
        yield Figure(f"{kind.value}: times", (sum(of_runs[kind.value]),), "1", Target(">=", 1.0))


def _of_fleet(seeds: Sequence[int]) -> Iterator[Figure]:
    done: list[Run] = []
    for run in runs(seeds):
        done.append(run)
        sys.stderr.write(f"seed {run.plan.seed}: {len(run.violations)} violations, {run.wall_s:.0f} s\n")
        if run.violations:
            sys.stderr.write("\n".join([*run.lines(), f"python -m tests.faults.real --seed {run.plan.seed}", ""]))
    yield Figure(_RUN, tuple(1.0 for _ in done), "1")
    yield Figure(_BROKEN, tuple(float(len(run.violations)) for run in done), "1")
    yield Figure(_FORGETS, tuple(float(run.forgets) for run in done), "1")
    yield Figure(_SECONDS, tuple(run.wall_s for run in done), "s")
    yield Figure(_STAND_INS, tuple(float(len(run.stand_ins)) for run in done), "1")
    for kind in _FAULTS:
        yield Figure(kind.value, tuple(float(Counter(step.kind for step in run.plan.steps)[kind]) for run in done), "1")


def real_mutant_figures() -> Iterator[Figure]:
    """Look for planted bugs in real processes; the number is that of the run that finds it."""
    for name in MUTANTS:
        found = _found(name)
        sys.stderr.write(f"{name}: run {found}\n")
        yield Figure(f"{name}: run that finds it", (float(found),), "1", Target("<=", float(WITHIN)))


def _found(mutant: str) -> int:
    for number, run in enumerate(runs(range(FIRST, FIRST + WITHIN), brief=True, mutant=mutant), 1):
        if run.violations:
            return number
    return WITHIN + 1
