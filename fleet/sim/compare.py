"""Comparison of two configurations, figure by figure: whether they differ by more than their seeds' spread.

The test is Welch's: it takes few seeds and sides whose spreads differ, as those of a calm and a stormy scenario do. The
figures of a pair of configurations are tested together, so the p values are Holm's: with twenty figures one would else
be told apart by chance. With one seed on a side there is no spread to compare with, and no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fleet.documents import Document, document
from fleet.errors import ConflictError, InvalidInputError, NotFoundError
from fleet.sim.figures import FIGURES, Better
from fleet.sim.run_folder import RunFolder, RunState
from fleet.sim.sweep import SweepFolder

#: Differences with a p value below this are told from the seeds' spread.
SIGNIFICANT = 0.05
#: Differences that are smaller, as a share of the value, are rounding.
_ROUNDING = 1e-12
_TEST = "Welch's t test between the seeds of both sides, p values corrected by Holm for the number of figures"


class Told(StrEnum):
    """Outcome for one figure."""

    DIFFERS = "differs"
    WITHIN_SPREAD = "within the seeds' spread"
    EQUAL = "equal"
    NOT_TESTED = "not tested: one seed"


@dataclass(frozen=True, slots=True)
class Side:
    """Figure of one side, over its seeds."""

    seeds: int
    mean: float
    #: Standard deviation between seeds; None for one.
    spread: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """Comparison of one figure; `difference` is b less a, and its interval holds 95 % (Welch)."""

    name: str
    label: str
    unit: str
    a: Side
    b: Side
    difference: float
    interval: tuple[float, float] | None
    #: Holm's.
    p_value: float | None
    told: Told
    better: str


def group_of(path: Path) -> tuple[str, list[RunFolder]]:
    """Return what a side is called, and its runs, one a seed.

    The folder of a run stands for all finished runs beside it that differ by their seeds only; the folder of a sweep
    for its runs, if it has one combination of values.
    """
    if SweepFolder.is_one(path):
        points = SweepFolder(path).runs()
        if len(points) != 1:
            raise InvalidInputError(
                f"{path} has {len(points)} combinations of values, and a side of a comparison one",
                hint="name the folder of one of its runs: the others of its combination come with it. "
                f"`fleet sim report {path}` compares all combinations",
            )
        runs = [run for run in points[0][1] if run.record()["state"] == RunState.FINISHED]
    else:
        runs = RunFolder(path).siblings()
    if not runs:
        raise ConflictError(f"{path} has no run that is finished", hint="`fleet sim resume` goes on")
    return runs[0].record()["name"], runs


def compare(a: Path, b: Path) -> Document:
    """Compare two sides, each the folder of a run or of a sweep; see `group_of`.

    `NotFoundError` if a folder is none of these, or the sides have no figure in common.
    """
    sides = [group_of(path) for path in (a, b)]
    values = [[run.record()["figures"] for run in runs] for _, runs in sides]
    lines = compared(values[0], values[1])
    if not lines:
        raise NotFoundError(f"{a} and {b} have no figure in common")
    return document(
        "SimulationComparison",
        test=_TEST,
        significant=SIGNIFICANT,
        sides=[
            {
                "name": name,
                "configuration": runs[0].record()["configuration"],
                "seeds": [run.record()["seed"] for run in runs],
                "runs": [str(run.path) for run in runs],
            }
            for name, runs in sides
        ],
        differs_in=_changes(*(runs[0] for _, runs in sides)),
        figures=[asdict(line) for line in lines],
    )


def compared(a: Sequence[Mapping[str, float]], b: Sequence[Mapping[str, float]]) -> list[Line]:
    """Compare the figures of some runs with those of others; figures that not every run has are left out."""
    shared = [figure for figure in FIGURES if all(figure.name in run for run in (*a, *b))]
    drawn = {f.name: (_side([run[f.name] for run in a]), _side([run[f.name] for run in b])) for f in shared}
    tests = {name: _welch(*sides) for name, sides in drawn.items()}
    # What is equal from every seed is no test that could tell something apart by chance.
    corrected = _holm({name: test[0] for name, test in tests.items() if test is not None and not _equal(*drawn[name])})
    lines = []
    for figure in shared:
        one, other = drawn[figure.name]
        difference = other.mean - one.mean
        test = tests[figure.name]
        if _equal(one, other):
            told = Told.EQUAL
        elif test is None:
            told = Told.NOT_TESTED
        else:
            told = Told.DIFFERS if corrected[figure.name] < SIGNIFICANT else Told.WITHIN_SPREAD
        better = ""
        if told is Told.DIFFERS and figure.better is not Better.NEITHER:
            better = "b" if (difference > 0) == (figure.better is Better.MORE) else "a"
        lines.append(
            Line(
                figure.name,
                figure.label,
                figure.unit,
                one,
                other,
                difference,
                None if test is None else test[1],
                corrected.get(figure.name),
                told,
                better,
            )
        )
    return lines


def _side(values: Sequence[float]) -> Side:
    mean = fmean(values)
    if len(values) == 1:
        return Side(1, mean, None)
    spread = stdev(values)
    # Sums of floats that are equal but for their order have a spread of rounding.
    return Side(len(values), mean, spread if spread > _ROUNDING * abs(mean) else 0.0)


def _equal(one: Side, other: Side) -> bool:
    return not (one.spread or other.spread) and abs(other.mean - one.mean) <= _ROUNDING * abs(one.mean)


def _welch(a: Side, b: Side) -> tuple[float, tuple[float, float]] | None:
    """Return the p value and the interval of b less a; None if a side has one seed."""
    if a.spread is None or b.spread is None:
        return None
    difference = b.mean - a.mean
    of_means = [side**2 / seeds for side, seeds in ((a.spread, a.seeds), (b.spread, b.seeds))]
    error = sqrt(sum(of_means))
    if not error:
        # No spread at all: what differs, differs.
        return float(_equal(a, b)), (difference, difference)
    from scipy.stats import t

    freedom = error**4 / (of_means[0] ** 2 / (a.seeds - 1) + of_means[1] ** 2 / (b.seeds - 1))
    half = error * float(t.ppf(0.975, freedom))
    return 2 * float(t.sf(abs(difference) / error, freedom)), (difference - half, difference + half)


def _holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p values that hold for all together (Holm, 1979)."""
    corrected, floor = {}, 0.0
    for rank, (name, value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        floor = max(floor, min(1.0, (len(p_values) - rank) * value))
        corrected[name] = floor
    return corrected


def _changes(a: RunFolder, b: RunFolder) -> dict[str, list[Any]]:
    """Return the values in which two scenarios differ, by dotted key."""
    plain = [_flat(run.scenario().model_dump(mode="json", exclude={"title", "question", "reading"})) for run in (a, b)]
    keys = dict.fromkeys((*plain[0], *plain[1]))
    return {
        key: [plain[0].get(key), plain[1].get(key)]
        for key in keys
        if key != "name" and plain[0].get(key) != plain[1].get(key)
    }


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return flat
