"""`python -m tests.bench.results_page`: write RESULTS.md from `results/*.json`.

One entry for each item of the paper and of the product's promises. A figure of ours is always looked up, and so is what
follows from it wherever a target or a figure of the paper decides that; a test holds page and files together.
"""

from __future__ import annotations

import sys
import textwrap

from fleet.report.style import save_figures
from tests.bench.links_plot import links_plot
from tests.bench.measuring import ROOT, write_whole
from tests.bench.paper_items import PAPER_ITEMS
from tests.bench.product_items import PRODUCT_ITEMS
from tests.bench.results_item import Figures, Item
from tests.bench.simulators_plot import simulators_plot

PAGE = ROOT / "RESULTS.md"
IMAGES = ROOT / "docs" / "images"


def page(figures: Figures) -> str:
    """Return RESULTS.md."""
    parts = [
        "# Results",
        "",
        "Written by `make results` from [results/](results/), which have every figure and its command.",
        "",
        "- A figure is the mean or the median over runs, with the lowest and the highest in brackets.",
        "- *holds*: every run, or the mean where the target is one, reaches the target, set beforehand unless the",
        "  entry says otherwise.",
        "- *consistent with the paper*: its figure lies within 2 points of the range of our seeds, or the paper's",
        "  ratio lies within 5 to 95 % of the draws of one way to count it. It never means that the paper's",
        "  measurement was repeated.",
        "- *as published* splits the data as the paper does, *honest* tests on nothing that was learnt from.",
        "- *not reached* and *not measured* say what is missing. No chip here is real.",
        "",
    ]
    for title, items in (("The paper, arXiv 2601.10037", PAPER_ITEMS), ("What the product promises", PRODUCT_ITEMS)):
        parts += [f"## {title}", ""]
        parts += [line for item in items for line in _entry(item, figures)]
        parts.append("")
    return "\n".join(parts)


def _entry(item: Item, figures: Figures) -> list[str]:
    """Return an item as a list of its own, wrapped, so that a changed figure is a changed line."""
    name, paper, ours, verdict, sure, command = item.cells(figures)
    said = {"Paper": paper, "Ours": ours, "How sure": sure, "Command": command}
    lines = [
        f"- {verdict}: {name}",
        *(f"  - {label}: {text}" for label, text in said.items() if text.strip("`") != "-"),
    ]
    return [wrapped for line in lines for wrapped in _wrapped(line)]


def _wrapped(line: str) -> list[str]:
    indent = " " * (line.index("-") + 2)
    return textwrap.wrap(line, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def main() -> int:
    """Write the page, and the pictures of the coordinator under load and of simulators."""
    figures = Figures.load()
    write_whole(PAGE, page(figures))
    save_figures({"links": links_plot(figures)}, IMAGES)
    if figures.named("memory of VectorGrid"):
        save_figures({"simulators": simulators_plot(figures)}, IMAGES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
