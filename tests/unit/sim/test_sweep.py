"""Sweeps: every combination of values from every seed, in one folder."""

from __future__ import annotations

import pytest

from fleet.errors import NotFoundError
from fleet.sim.reports import sweep_document, write_report
from fleet.sim.running import Session
from fleet.sim.scenario import ScenarioError
from fleet.sim.sweep import SweepFolder, points_of


def test_points_are_every_combination_each_checked(small):
    points = points_of(small.changed({"sweep": {"fleet.nodes": [3, 4], "time.lease": ["1h", "2h"]}}))

    assert [point.values for point in points] == [
        {"fleet.nodes": nodes, "time.lease": lease} for nodes in (3, 4) for lease in ("1h", "2h")
    ]
    assert [point.scenario.fleet.nodes for point in points] == [3, 3, 4, 4]
    assert points[-1].label == "fleet.nodes = 4, time.lease = 2h"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "no values"),
        ({"time.lease": []}, "1 to 1000"),
        ({"fleet.nodes": list(range(1, 1002))}, "1 to 1000"),
        ({"fleet.nodes": [5, 0]}, r"fleet\.nodes"),
        ({"fleet.nods": [5]}, r"fleet\.nods"),
        ({"name.first": ["a"]}, "names no value"),
    ],
)
def test_values_that_cannot_be_gone_through_are_refused(small, values, why):
    with pytest.raises(ScenarioError, match=why):
        points_of(small.changed({"sweep": values}))


@pytest.fixture(scope="module")
def swept(small, tmp_path_factory):
    base = small.changed({"sweep": {"time.heartbeat": ["30s", "5min"]}})
    points = points_of(base)
    folder = SweepFolder.of(tmp_path_factory.mktemp("runs"), points)
    folder.begin(base, points, [1])
    with Session(50, 20.0, None, "inline", None) as session:
        session.sweep(folder)
    return folder, base, points


def test_sweep_runs_every_point_and_more_seeds_go_into_the_same_folder(swept):
    folder, base, points = swept
    first = {run.path.name: run.record()["started_at_unix_ms"] for _, runs in folder.runs() for run in runs}
    folder.begin(base, points, [2])
    with Session(50, 20.0, None, "inline", None) as session:
        session.sweep(folder)

    found = folder.runs()
    assert [values for values, _ in found] == [{"time.heartbeat": "30s"}, {"time.heartbeat": "5min"}]
    assert [[run.record()["seed"] for run in runs] for _, runs in found] == [[1, 2], [1, 2]]
    # What was finished was not simulated again.
    now = {run.path.name: run.record()["started_at_unix_ms"] for _, runs in found for run in runs}
    assert first.items() <= now.items()


def test_report_of_a_sweep_has_what_differs_and_no_more(swept, tmp_path):
    folder, _, _ = swept
    page = write_report([folder.path], tmp_path / "sweep.html").read_text()
    messages = [
        [figure["value"] for run in point["runs"] for figure in run if figure["name"] == "messages"]
        for point in sweep_document(folder)["points"]
    ]

    assert min(messages[0]) > max(messages[1])
    assert "<td>messages</td>" in page
    assert "<td>forgets</td>" not in page
    assert "30s" in page


def test_folder_that_is_no_sweep_is_told(tmp_path):
    with pytest.raises(NotFoundError, match="no folder of a sweep"):
        SweepFolder(tmp_path).record()
