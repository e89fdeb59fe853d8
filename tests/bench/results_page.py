"""`python -m tests.bench.results_page`: write RESULTS.md from `results/*.json`.

One row for each item of the paper and of the product's promises. A figure of ours is always looked up, and so is what
follows from it wherever a target or a figure of the paper decides that; a test holds page and files together.
"""

from __future__ import annotations

import sys

from tests.bench.measuring import ROOT, write_whole
from tests.bench.paper_items import PAPER_ITEMS
from tests.bench.product_items import PRODUCT_ITEMS
from tests.bench.results_item import Figures

PAGE = ROOT / "RESULTS.md"


def page(figures: Figures) -> str:
    """Return RESULTS.md."""
    parts = [
        "# Results",
        "",
        "Written by `make results` from [results/](results/), which have every figure and its command.",
        "",
        "- A figure is the mean or the median over runs, with the lowest and the highest in brackets.",
        "- *holds*: every run, or the mean where the target is one, reaches the target, set beforehand unless the row",
        "  says otherwise.",
        "- *consistent with the paper*: its figure lies within 2 points of the range of our seeds, or the paper's",
        "  ratio lies within 5 to 95 % of the draws of one way to count it. It never means that the paper's",
        "  measurement was repeated.",
        "- *as published* splits the data as the paper does, *honest* tests on nothing that was learnt from.",
        "- *not reached* and *not measured* say what is missing. No chip here is real.",
        "",
    ]
    for title, items in (("The paper, arXiv 2601.10037", PAPER_ITEMS), ("What the product promises", PRODUCT_ITEMS)):
        parts += [f"## {title}", "", "| Item | Paper | Ours | Verdict | How sure | Command |", "|" + " -- |" * 6]
        parts += [f"| {' | '.join(item.cells(figures))} |" for item in items]
        parts.append("")
    return "\n".join(parts)


def main() -> int:
    """Write the page."""
    write_whole(PAGE, page(Figures.load()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
