"""The tables of docs/paper-protocol.md say what results/learning.json measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

PEOPLE = {
    "five people recognised, before": "five people recognised before",
    "forgotten, test": "forgotten, test inputs (UA)",
    "the four others, after (RA)": "others recognised after (RA)",
    "strip test: forgotten person": "strip test: forgotten person recognised, adapter off",
    "sixth person": "sixth person recognised",
    "the four others, with the sixth": "others recognised with the sixth",
    "forgotten stays forgotten": "forgotten person not recognised with the sixth",
}
IMAGES = {
    "class shows, before": "class shows before",
    "class does not show": "class does not show, erased",
    "the other classes show": "others show, class erased",
    "strip test: class shows": "strip test: class shows",
}
TABLES = [
    (
        "Faces, seeds",
        PEOPLE,
        [f"paper's faces, {arm}" for arm in ("published, chip", "honest, chip")]
        + [f"paper's faces, {arm}, noise-free" for arm in ("published", "honest")],
    ),
    ("Speakers (", PEOPLE, ["paper's speakers, published, chip", "paper's speakers, honest, chip"]),
    ("Images (", IMAGES, ["paper's images, published", "paper's images, class never in the backbone"]),
]


def table_after(heading: str) -> list[list[str]]:
    """Return the cells of the table that follows a line, without its head, emphasis removed."""
    page = (ROOT / "docs" / "paper-protocol.md").read_text(encoding="utf-8")
    text = page[page.index(f"\n{heading}") :]
    rows = re.search(r"\n\n((?:\|.*\n)+)", text)
    assert rows is not None
    lines = rows[1].replace("**", "").splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(("heading", "labels", "columns"), TABLES, ids=["faces", "speakers", "images"])
def test_table_is_what_was_measured(heading, labels, columns):
    results = json.loads((ROOT / "results" / "learning.json").read_text(encoding="utf-8"))
    measured = {row["name"]: row["value"] for row in results}
    rows = table_after(heading)

    for label, figure in labels.items():
        (cells,) = [row[1:] for row in rows if row[0].startswith(label)]
        assert len(cells) == len(columns)
        for cell, column in zip(cells, columns, strict=True):
            said = re.match(r"[\d.]+", cell)
            assert said is not None, cell
            digits = len(said[0].partition(".")[2])
            value = measured[f"{column}: {figure}, mean over seeds"]
            assert float(said[0]) == pytest.approx(value, abs=0.501 * 10**-digits), (label, column)
