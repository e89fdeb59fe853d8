"""RESULTS.md: in step with results/*.json, and never better than they are."""

from __future__ import annotations

import pytest

from tests.bench.paper_items import PAPER_ITEMS
from tests.bench.product_items import PRODUCT_ITEMS
from tests.bench.results_item import Figures, Item, Verdict
from tests.bench.results_page import PAGE, page

#: The draws of two ways to count a ratio: way, end, value.
COUNTED = [("a", "5th", 1.0), ("a", "95th", 2.0), ("b", "5th", 4.0), ("b", "95th", 6.0)]


def row(name, *values, holds=None):
    return {"name": name, "value": sum(values) / len(values), "spread": [min(values), max(values)], "holds": holds}


def test_the_page_is_what_the_results_files_say():
    assert PAGE.read_text(encoding="utf-8") == page(Figures.load()), "run `make results`"


def test_no_figure_of_the_paper_is_called_reproduced():
    text = page(Figures.load())

    assert "reproduced" not in text.lower()
    assert text.count("not measured") > 1


@pytest.mark.parametrize("paper", ["98.5 %", "147.76x", "387.95x", "48.44x"])
def test_the_figures_that_the_paper_is_known_for_have_an_item(paper):
    assert any(paper in item.paper for item in PAPER_ITEMS)


def test_every_item_has_a_command_unless_nothing_was_measured():
    figures = Figures.load()
    for item in (*PAPER_ITEMS, *PRODUCT_ITEMS):
        cells = item.cells(figures)
        assert (f"**{Verdict.NOT_MEASURED}**" in cells) == ("`-`" in cells), item.item


def test_one_target_that_fails_is_not_reached():
    figures = Figures([row("a", 1.0, holds=True), row("b", 0.2, holds=False)])

    assert figures.holds("a") is Verdict.HOLDS
    assert figures.holds("a", "b") is Verdict.NOT_REACHED


def test_consistent_is_within_two_points_of_the_range_of_the_seeds():
    figures = Figures([row("a", 0.90, 0.94)])

    assert figures.consistent({"a": 0.955}) is Verdict.CONSISTENT
    assert figures.consistent({"a": 0.965}) is Verdict.NOT_REACHED


@pytest.mark.parametrize(
    ("paper", "verdict"), [(1.5, Verdict.NOT_REACHED), (2.0, Verdict.CONSISTENT), (9.5, Verdict.NOT_REACHED)]
)
def test_a_ratio_is_consistent_within_5_to_95_percent_of_the_draws_of_every_run(paper, verdict):
    low, high = (f"a: {end} percentile of the draws" for end in ("5th", "95th"))
    figures = Figures([row(low, 1.0, 2.0), row(high, 9.0, 10.0)])

    assert figures.ratio_consistent(paper, "a") is verdict


def test_a_ratio_may_be_counted_in_one_way_of_several():
    rows = [row(f"{way}: {end} percentile of the draws", at) for way, end, at in COUNTED]

    assert Figures(rows).ratio_consistent(5.0, "a", "b") is Verdict.CONSISTENT
    assert Figures(rows).ratio_consistent(5.0, "a") is Verdict.NOT_REACHED


def test_every_verdict_on_something_measured_follows_from_the_figures():
    fixed = [item.verdict for item in (*PAPER_ITEMS, *PRODUCT_ITEMS) if isinstance(item.verdict, Verdict)]

    assert set(fixed) == {Verdict.NOT_MEASURED}


def test_a_figure_shows_its_range_where_runs_differ():
    figures = Figures([row("a", 0.90, 0.94), row("b", 1.0, 1.0)])

    assert figures.value("a") == "0.920 (0.900 to 0.940)"
    assert figures.value("b") == "1.000"


def test_an_item_without_a_figure_in_the_files_is_an_error():
    item = Item("x", "-", lambda f: f.value("never measured"), Verdict.HOLDS, "-", "-")

    with pytest.raises(KeyError):
        item.cells(Figures([]))
