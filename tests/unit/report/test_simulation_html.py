"""The page of simulated runs: a plot where there are data, and none where there are none."""

from __future__ import annotations

import pytest

from fleet.report.pareto import Axis, ParetoPoint, front, pareto
from fleet.report.simulation_html import simulation_html
from fleet.report.simulation_plots import run_plots
from fleet.report.sweep_plots import response_figure, responses

HOUR = 3600.0


def a_run(**tables):
    return {
        "title": "Nodes <b>that</b> forget",
        "question": "Do they?",
        "reading": "Look at `serving`.",
        "name": "test",
        "seed": 3,
        "state": "finished",
        "now_s": 6 * HOUR,
        "duration_s": 6 * HOUR,
        "wall_clock_s": 4.0,
        "configuration": "ab" * 32,
        "digest": "cd" * 32,
        "figures": [{"name": "joules", "label": "energy", "unit": "J", "better": "less", "value": 0.002}],
        "tables": tables,
    }


STATE = {
    "t_s": [0.0, 3 * HOUR, 6 * HOUR],
    "nodes": [4, 4, 4],
    "serving": [4, 3, 4],
    "held": [0, 0, 0],
    "joules_program": [1.0, 1.0, 1.0],
    "joules_radio": [1e-3, 2e-3, 3e-3],
    "wear_max": [0.0, 0.0, 0.0],
}


def drawn(run):
    return {plot.panel.title: [curve.label for curve in plot.panel.curves] for plot in run_plots(run)}


def test_only_what_a_run_has_is_drawn():
    assert drawn(a_run()) == {}
    assert drawn(a_run(state=STATE)) == {
        "Nodes": ["in the fleet", "serving"],
        "Energy by phase, all nodes": ["program", "radio"],
    }


def test_answers_of_zero_are_a_result_and_drawn():
    answers = {"t_s": [0.0, HOUR], "enrolled_accuracy": [1.0, 0.9], "accepted_strangers": [0.0, 0.0]}

    assert drawn(a_run(answers=answers)) == {"Answers": ["enrolled, recognised", "strangers, accepted"]}


def test_time_is_in_a_unit_that_one_can_read():
    (nodes, _) = run_plots(a_run(state=STATE))

    assert nodes.panel.x_label == "virtual time (hours)"
    assert list(nodes.panel.curves[0].x) == [0.0, 3.0, 6.0]


def test_forget_that_is_under_way_has_the_points_that_it_has():
    forgets = {"generation": [1], "created_s": [HOUR], "suppressed_p50_s": [0.2], "converged_s": [None]}

    assert drawn(a_run(forgets=forgets)) == {"From command to forgotten": ["half of the nodes"]}


def test_distribution_of_many_forgets_counts_those_that_are_not_done():
    forgets = {"generation": list(range(10)), "created_s": [HOUR] * 10, "converged_s": [1.0] * 5 + [None] * 5}
    shares = {plot.panel.title: plot.panel.curves for plot in run_plots(a_run(forgets=forgets))}

    assert max(shares["Forgets that are done by then"][0].y) == 0.5


def test_page_is_the_same_for_the_same_data_and_text_stays_text():
    run = a_run(state=STATE)
    page = simulation_html([run], [])

    assert page == simulation_html([run], [])
    assert "<b>that</b>" not in page
    assert "<code>serving</code>" in page
    assert "energy</td><td>2 mJ" in page
    assert page.count("<svg") == 2


LESS, MORE = (Axis(name, more, str) for name, more in (("cost", False), ("good", True)))


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([("a", 1, 1), ("b", 2, 2), ("c", 3, 1.5)], ["a", "b"]),
        ([("a", 1, 1), ("b", 1, 2)], ["b"]),
        ([("a", 1, 1), ("b", 1, 1)], ["a", "b"]),
    ],
)
def test_front_is_what_no_other_point_beats(points, best):
    found = [ParetoPoint(*point) for point in points]

    assert [point.label for point in front(found, LESS, MORE)] == best
    assert pareto(found, LESS, MORE).axes[0].get_xlabel() == "cost (less is better)"


def figures(**values):
    return [{"name": k, "label": k, "unit": "", "better": "less", "value": v} for k, v in values.items()]


def test_response_is_a_figure_that_differs_between_points_by_more_than_rounding():
    sweep = {"points": [{"values": {"k": k}, "runs": [figures(same=1, alike=1 + k / 1000, other=k)]} for k in (1, 2)]}

    assert [(each.name, each.values) for each in responses(sweep)] == [("other", [[1], [2]])]


@pytest.mark.parametrize(
    ("values", "line"), [(("30min", "2h"), "-"), ((10, 20), "-"), (("22nm", "180nm-1t1r"), "None")]
)
def test_line_is_drawn_between_quantities_and_not_between_names(values, line):
    sweep = {
        "points": [
            {"values": {"key": value}, "runs": [figures(a=n), figures(a=n + 1)]} for n, value in enumerate(values)
        ]
    }
    figure = response_figure(sweep, responses(sweep)[0])

    assert figure.axes[0].lines[0].get_linestyle() == line
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == list(map(str, values))
