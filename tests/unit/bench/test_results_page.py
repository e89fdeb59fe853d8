"""RESULTS.md: in step with results/*.json, and never better than they are."""

from __future__ import annotations

import pytest

from tests.bench.paper_items import PAPER_ITEMS
from tests.bench.product_items import PRODUCT_ITEMS
from tests.bench.results_item import Figures, Item, Verdict
from tests.bench.results_page import PAGE, page


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


def test_a_figure_shows_its_range_where_runs_differ():
    figures = Figures([row("a", 0.90, 0.94), row("b", 1.0, 1.0)])

    assert figures.value("a") == "0.920 (0.900 to 0.940)"
    assert figures.value("b") == "1.000"


def test_an_item_without_a_figure_in_the_files_is_an_error():
    item = Item("x", "-", lambda f: f.value("never measured"), Verdict.HOLDS, "-", "-")

    with pytest.raises(KeyError):
        item.cells(Figures([]))
