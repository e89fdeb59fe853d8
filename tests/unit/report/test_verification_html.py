"""The HTML page of a verification report: complete, self-contained, reproducible, and safe to open."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from fleet.report.verification_html import verification_figures, verification_html


def rate(hits, total=40):
    return {"hits": hits, "total": total, "repeats": 8}


def line(name, value, passed=True, *, interval=True):
    ends = {"low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1)} if interval else None
    return {"name": name, "value": value, "reference": 0.5, "limit": "within 0.1", "passed": passed, "interval": ends}


def scores(auc):
    return {"attack_auc": auc, "forget_loss": 5.0, "forget_entropy": 0.4, "called_non_member": 0.9}


def document(**changes):
    pair = {"original": scores(0.9), "repaired": scores(0.52), "retrained": scores(0.5)}
    digests = line("integers as if never enrolled", 0.0, interval=False) | {"value": None, "reference": None}
    shared = {
        "kind": "shared LoRA",
        "method": "negative-gradient",
        "verdict": "APPROXIMATE, rejected",
        "lines": [line("named after 10 more rounds", 0.9, passed=False), line("loss attack, AUC", 0.5, interval=False)],
        "escalation": "detach the shared LoRA now",
    }
    head = {
        "kind": "closed-form head",
        "method": "",
        "verdict": "EXACT",
        "lines": [digests],
        "escalation": "nothing to do",
    }
    same = {
        "task": "made-up",
        "holds": False,
        "exact": [{"kind": "closed-form head", "digest": "ab12", "never_enrolled": "cd34"}],
        "approximate": [{"kind": "shared LoRA", "method": "negative-gradient", "pairs": [pair, pair]}],
        "masked": [],
        "verdicts": [head, shared],
        "scores": {"equal error rate": 0.0123},
        "energy_j": {"train": 0.5},
        "cell_writes": 0,
    }
    return same | changes


class Tags(HTMLParser):
    """Every tag of a page, with its attributes, and tags that were never closed."""

    def __init__(self, page):
        super().__init__()
        self.seen, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    return verification_html(document())


def test_every_verdict_line_and_figure_is_on_the_page(page):
    for words in (
        "closed-form head: ",
        "EXACT",
        "APPROXIMATE, rejected",
        "named after 10 more rounds",
        "0.800 to 1.000",
        "within 0.1",
        "FAILS",
        "detach the shared LoRA now",
        "equal error rate",
        "0.0123",
        "500.00 mJ",
        "Failed: named after 10 more rounds.",
        "<code>ab12</code>",
        "<code>cd34</code>",
        "Cell writes: 0",
        "Does not hold: shared LoRA",
    ):
        assert words in page


def test_page_is_well_formed_and_fetches_and_runs_nothing(page):
    tags = Tags(page)

    assert tags.open == []
    names = {tag for tag, _ in tags.seen}
    assert names.isdisjoint({"script", "img", "link", "iframe", "image", "foreignobject"})
    links = [
        value
        for _, attributes in tags.seen
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href")
    ]
    assert all(value.startswith("#") for value in links)


def test_plots_are_inside_and_equal_documents_are_equal_bytes(page):
    assert page.count("<svg") == 2
    assert verification_html(document()) == page


def test_rates_are_drawn_with_interval_value_and_reference():
    figures = verification_figures(document())
    (axis,) = figures["rates-0"].axes

    assert [text.get_text() for text in axis.get_yticklabels()] == ["named after 10 more rounds"]
    drawn = [list(map(float, curve.get_xdata())) for curve in axis.lines]
    assert drawn == [[0.8, 1.0], [0.9], [0.5]]


def test_each_person_is_drawn_for_the_three_models():
    figure = verification_figures(document())["people-0"]
    attack = next(axis for axis in figure.axes if axis.get_title("left") == "Loss attack (AUC)")

    by_label = {curve.get_label(): list(map(float, curve.get_ydata())) for curve in attack.lines}
    assert by_label == {"original": [0.9, 0.9], "repaired": [0.52, 0.52], "retrained": [0.5, 0.5]}


def test_report_of_exact_kinds_alone_has_no_plots():
    exact_only = document(approximate=[], verdicts=document()["verdicts"][:1], holds=True)

    page = verification_html(exact_only)

    assert verification_figures(exact_only) == {}
    assert "<svg" not in page
    assert "Plots" not in page
    assert "Every kind of adapter has forgotten" in page


def test_text_of_a_report_cannot_become_markup():
    hostile = document(task="<script>alert(1)</script>", scores={"<b>": 1.0})
    page = verification_html(hostile)

    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
