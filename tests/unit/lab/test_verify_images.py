"""Verification of images, on chips that hardly learn: what is compared, and that it could fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_node.tasks.images import ImagesTask
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.judging import Verdict
from fleet.lab.verification.verify_images import verify_images
from fleet.report.verification_html import verification_html
from tests.unit.lab.test_images_workload import TINY


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return verify_images(ImagesTask.of(50), replace(TINY, nodes=1), cache=tmp_path_factory.mktemp("backbones"))


def test_deleted_class_is_exact_and_a_class_that_came_later_is_as_if_it_had_never_been(report):
    (judgement,) = report.judgements
    (evidence,) = report.exact

    assert judgement.verdict is Verdict.EXACT
    assert evidence.digest == evidence.never_enrolled
    assert evidence.recognised == evidence.chance
    assert report.holds
    assert report.cell_writes == 0


def test_another_digest_or_a_class_drawn_too_often_is_found_out(report):
    (evidence,) = report.exact
    often = Rate(evidence.recognised.total, evidence.recognised.total)
    chance = Rate(0, 200)

    for worse in (replace(evidence, digest="00"), replace(evidence, recognised=often, chance=chance)):
        (judgement,) = replace(report, exact=(worse,)).judgements
        assert judgement.verdict is Verdict.NOT_FORGOTTEN


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
