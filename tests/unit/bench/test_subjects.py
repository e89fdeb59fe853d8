"""Rows of results/learning.json say whether the product or an experiment was measured, as the script does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.bench.claims import RESULTS
from tests.bench.measuring import sections
from tests.bench.subjects import EXPERIMENTS, subject

ROWS = json.loads(Path(RESULTS, "learning.json").read_text(encoding="utf-8"))


def section_of(row):
    return re.search(r'SECTION="?([^"]+)"?$', row["command"])[1]


def test_every_row_has_the_subject_that_the_script_gives_it():
    wrong = [row["name"] for row in ROWS if row.get("subject") != subject(section_of(row), row["name"])]

    assert wrong == []
    assert {row["subject"] for row in ROWS} == {"product", "experiment"}


def test_experiments_are_named_by_sections_and_rows_that_there_are():
    assert set(EXPERIMENTS) <= set(sections("learning"))
    for section, pattern in EXPERIMENTS.items():
        names = [row["name"] for row in ROWS if section_of(row) == section]
        assert any(re.search(pattern, name) for name in names), section


@pytest.mark.parametrize(
    ("section", "name", "whose"),
    [
        ("faces", "faces, head: accuracy", "product"),
        ("judged metrics", "loss attack, AUC: balanced accuracy on models of known truth", "experiment"),
        ("continual learning", "continual, faces, closed-form head: forgetting", "product"),
        ("continual learning", "continual, faces, federated LoRA: forgetting", "experiment"),
        ("cohort LoRA in the fleet", "fleet's LoRA, four shards: accuracy lost to one", "experiment"),
        ("batch of nodes", "batch of nodes, LoRA after a round of training, tile-accurate", "product"),
        ("batch of nodes", "batch of nodes, LoRA after a round of a cohort, tile-accurate", "experiment"),
    ],
)
def test_a_section_may_have_rows_of_both(section, name, whose):
    assert subject(section, name) == whose
