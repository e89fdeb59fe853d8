"""Verification of images, on chips that hardly learn: what is compared, and that it could fail."""

from __future__ import annotations

import pytest
import torch

from edge_node.verification import Verdict
from fleet.lab import verify_images as module
from fleet.lab.verify_images import verify_images
from fleet.report.verification_html import verification_html
from tests.unit.lab.test_images_workload import TINY


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture(scope="module")
def report(cache):
    return verify_images(50, TINY, cache=cache)


def test_deleted_class_is_exact_and_a_class_that_came_later_is_as_if_it_had_never_been(report):
    (judgement,) = report.judgements
    (evidence,) = report.exact

    assert judgement.verdict is Verdict.EXACT
    assert evidence.digest == evidence.never_enrolled
    assert evidence.recognised == evidence.chance
    assert report.holds
    assert report.cell_writes == 0


def test_generation_scores_are_in_the_report_and_on_the_page(report):
    body = report.document()
    page = verification_html(body | {"kind": "VerificationReport"})

    for words in (
        "class that arrived after the forget",
        "with the eraser stripped",
        "Frechet distance",
        "images that show the class",
    ):
        assert words in page
    assert body["energy_j"]["train"] > 0


def test_class_that_was_not_deleted_is_found_out(cache, monkeypatch):
    monkeypatch.setattr(module.Generator, "forget", lambda self, label: False)

    (judgement,) = verify_images(50, TINY, cache=cache).judgements

    assert judgement.verdict is Verdict.NOT_FORGOTTEN
    assert "integers as if never enrolled" in [line.name for line in judgement.failed]
