"""Page of the boards: every panel, its values with units, and nothing that is fetched or run."""

from __future__ import annotations

import math
import re
from html import escape

import pytest

from fleet.metrics.boards import BOARDS
from fleet.metrics.definitions import Form, Unit
from fleet.metrics.prometheus import Prometheus
from fleet.metrics.readings import Span, read_board
from fleet.report.dashboard_html import dashboard_html
from fleet.report.quantities import text_of

SPAN = Span(1_800_000_000.0, 1_800_003_600.0)


class Answers:
    """A Prometheus that has two series for every query, one of a state that nobody named."""

    def __init__(self, *series):
        self.series, self.asked = series, []

    def __call__(self, url):
        self.asked.append(url)
        if "/query_range?" in url:
            times = [SPAN.start_s + 60 * minute for minute in range(60)]
            result = [
                {"metric": labels, "values": [[at, str(value + number)] for number, at in enumerate(times)]}
                for labels, value in self.series
            ]
        else:
            result = [{"metric": labels, "value": [SPAN.end_s, str(value)]} for labels, value in self.series]
        return {"data": {"resultType": "vector", "result": result}}


def page(*series, boards=BOARDS):
    answers = Answers(*series)
    prometheus = Prometheus("http://127.0.0.1:9090/", answers)
    readings = [read_board(prometheus, board, "node-7" if board.variable else "", SPAN) for board in boards]
    return dashboard_html(readings, source="http://127.0.0.1:9090", span=SPAN), answers


@pytest.fixture(scope="module")
def drawn():
    labels = {name: f"<{name}>" for name in ("state", "phase", "node", "verdict", "bound")}
    return page((labels, 3.0), ({**labels, "state": "lost"}, 5.0))


def test_every_panel_is_there_with_what_it_says(drawn):
    text, answers = drawn
    panels = [panel for board in BOARDS for panel in board.panels]
    plots = [panel for panel in panels if panel.form in (Form.LINES, Form.STACK)]

    assert text.count('<section class="card">') == len(panels)
    assert text.count("<svg") == len(plots)
    said = text.replace("<code>", "`").replace("</code>", "`")
    assert all(f"</summary>{escape(panel.description)}</details>" in said for panel in panels)
    assert "no data" not in text
    assert len(answers.asked) == sum(len(panel.queries) for panel in panels)
    assert ">Node node-7</h2>" in text


def test_page_fetches_nothing_and_runs_nothing(drawn):
    text, _ = drawn

    assert not re.search(r"<script|<img|<link|url\((?!#)|@import|\son\w+=", text)
    assert set(re.findall(r'(?:src|href)="([^"#][^"]*)"', text)) == set()
    assert "prefers-color-scheme: dark" in text


def test_what_labels_say_is_text(drawn):
    text, _ = drawn

    assert "&lt;node&gt;" in text
    assert "<node>" not in text


def test_same_readings_give_the_same_page(drawn):
    _, answers = drawn
    # A small one with both forms of plots.
    plots = {Form.LINES, Form.STACK}
    board = min(
        (each for each in BOARDS if plots <= {panel.form for panel in each.panels}), key=lambda b: len(b.panels)
    )

    first, again = (page(*answers.series, boards=[board])[0] for _ in range(2))
    assert first == again


def test_panels_without_data_say_so():
    text, _ = page()

    assert text.count("no data in this time") == sum(len(board.panels) for board in BOARDS)
    assert "<svg" not in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00022493, Unit.WATTS, "225 µW"),
        (0, Unit.JOULES, "0 J"),
        (27891.1, Unit.RATIO, "27,891×"),
        (37.788, Unit.RATIO, "37.8×"),
        (0.4712, Unit.SHARE, "47.1 %"),
        (20, Unit.COUNT, "20"),
        (21.2466, Unit.COUNT, "21.2"),
        (0.25, Unit.SECONDS, "250 ms"),
        (90, Unit.SECONDS, "1.5 min"),
        (86400 * 6, Unit.SECONDS, "6 d"),
        (2_500_000, Unit.BYTES, "2.5 MB"),
        (math.nan, Unit.COUNT, "-"),
    ],
)
def test_values_are_read_with_their_units(value, unit, text):
    assert text_of(value, unit) == text


def test_a_ratio_has_its_band_and_the_line_of_the_paper_is_dashed():
    series = [({"bound": bound}, value) for bound, value in (("low", 20.0), ("value", 60.0), ("high", 90.0))]
    name = "Paper's ratio: training"
    (board,) = (board for board in BOARDS if name in {panel.title for panel in board.panels})
    text, _ = page(*series, boards=[board])
    ratio = text.partition(f"{escape(name)}</h4>")[2].partition("</section>")[0]

    assert ratio.count("FillBetweenPolyCollection") == 1
    assert "stroke-dasharray: 5" in ratio
    assert "paper: up to 147.76" in ratio
