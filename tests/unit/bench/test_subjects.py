"""Rows of results/learning.json say whether the product or an experiment was measured, as the script does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.bench.claims import RESULTS
from tests.bench.measuring import sections
from tests.bench.subjects import EXPERIMENTS, subject

ROWS = json.loads(Path(RESULTS, "learning.json").read_text(encoding="utf-8"))


def section_of(row):
    return re.search(r'SECTION="?([^"]+)"?$', row["command"])[1]


def test_every_row_has_the_subject_that_the_script_gives_it():
    wrong = [row["name"] for row in ROWS if row.get("subject") != subject(section_of(row))]

    assert wrong == []
    assert {row["subject"] for row in ROWS} == {"product", "experiment"}


def test_experiments_are_sections_that_there_are():
    assert set(sections("learning")) > EXPERIMENTS
    assert {section_of(row) for row in ROWS} == set(sections("learning"))
