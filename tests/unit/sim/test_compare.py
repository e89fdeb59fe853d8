"""Comparisons: told apart only by more than the seeds' spread, and never by one seed."""

from __future__ import annotations

import random

import pytest

from fleet.errors import ConflictError, InvalidInputError
from fleet.sim.compare import Told, compare, compared
from fleet.sim.execution import Execution, run_scenario
from fleet.sim.figures import FIGURES, figures_of
from fleet.sim.run_folder import RunFolder
from fleet.sim.sweep import SweepFolder, points_of

NAMES = [figure.name for figure in FIGURES]


def of_seeds(*values, name="messages"):
    return [{name: float(value)} for value in values]


@pytest.mark.parametrize(
    ("a", "b", "told", "better"),
    [
        ((10, 11, 12), (20, 21, 22), Told.DIFFERS, "a"),
        ((10, 11, 12), (11, 12, 10.5), Told.WITHIN_SPREAD, ""),
        ((10, 10, 10), (10, 10, 10), Told.EQUAL, ""),
        # Without a spread, what differs, differs.
        ((10, 10), (9, 9), Told.DIFFERS, "b"),
        ((10,), (20,), Told.NOT_TESTED, ""),
        ((10, 11, 12), (20,), Told.NOT_TESTED, ""),
        ((10,), (10,), Told.EQUAL, ""),
    ],
)
def test_sides_are_told_apart_by_more_than_the_spread_of_their_seeds(a, b, told, better):
    (line,) = compared(of_seeds(*a), of_seeds(*b))

    assert (line.told, line.better) == (told, better)
    assert line.difference == pytest.approx(sum(b) / len(b) - sum(a) / len(a))


def test_interval_of_a_difference_holds_it():
    (line,) = compared(of_seeds(10, 11, 12), of_seeds(20, 21, 22))

    # Two samples of three with a standard deviation of 1: 10 +- 2.776 * sqrt(2 / 3).
    assert line.interval == pytest.approx((10 - 2.2668, 10 + 2.2668), abs=1e-3)


def test_figure_that_one_run_lacks_is_left_out():
    assert compared(of_seeds(1, 2), [{"messages": 1.0}, {"bytes": 2.0}]) == []


def test_noise_in_all_figures_tells_nothing_apart():
    draw = random.Random(5)
    false = 0
    for _ in range(40):
        a, b = ([{name: draw.gauss(10, 1) for name in NAMES} for _ in range(4)] for _ in range(2))
        false += any(line.told is Told.DIFFERS for line in compared(a, b))

    # Without the correction more than half of the pairs would have one.
    assert false <= 5


@pytest.fixture(scope="module")
def runs(small, finished):
    """Simulate two configurations, the finished run among them, from three seeds each."""
    root = finished.folder.parent
    slower = small.changed({"time.heartbeat": "5min"})
    one = [RunFolder(finished.folder), *(run_scenario(small, seed, root, Execution()) for seed in (2, 3))]
    other = [run_scenario(slower, seed, root, Execution()) for seed in (1, 2, 3)]
    return one, other


def test_run_stands_for_its_siblings_of_other_seeds(runs):
    (one, *_), (other, *_) = runs
    body = compare(one.path, other.path)
    lines = {line["name"]: line for line in body["figures"]}

    assert [side["seeds"] for side in body["sides"]] == [[1, 2, 3], [1, 2, 3]]
    assert body["differs_in"] == {"time.heartbeat": [60.0, 300.0]}
    assert lines["messages"]["told"] == Told.DIFFERS
    assert lines["messages"]["better"] == "b"
    assert lines["forgets"]["told"] == Told.EQUAL


def test_sweep_of_several_combinations_is_no_side(small, tmp_path):
    base = small.changed({"sweep": {"time.lease": ["1h", "2h"]}})
    SweepFolder(tmp_path).begin(base, points_of(base), [1])

    with pytest.raises(InvalidInputError, match="2 combinations"):
        compare(tmp_path, tmp_path)


def test_run_that_is_not_finished_is_no_side(small, tmp_path):
    folder = RunFolder.of(tmp_path, small, 1)
    with folder.held():
        folder.begin(small, 1, force=False)

    with pytest.raises(ConflictError, match="no run that is finished"):
        compare(folder.path, folder.path)


def test_figures_are_taken_from_the_tables_that_are_there():
    tables = {
        "state": {"nodes": [4, 4], "serving": [4, 2], "joules_radio": [1.0, 3.0], "joules_infer": [0.5, 0.5]},
        "forgets": {"generation": [1, 2], "verdict": ["EXACT", None], "suppressed_last_s": [2.0, None]},
    }

    assert figures_of(tables) == {
        "forgets": 2.0,
        "exact_share": 1.0,
        "suppressed_last_s": 2.0,
        "serving_share": 0.75,
        "joules": 3.5,
        "joules_infer": 0.5,
        "joules_radio": 3.0,
    }
    assert figures_of({}) == {"forgets": 0.0}
