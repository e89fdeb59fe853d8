"""Verification of images on the product's fleet: what is compared, and that it could fail.

The backbone is the real one; nodes hardly learn classes, and their erasers not at all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reram_fleet.v1.types_pb2 import SUBJECT_ADAPTER_KIND_TRAINED, SubjectAdapter

from edge_node.generation import eraser_rounds, judge
from edge_node.generation.class_fit import ClassRecipe
from edge_node.generation.diffusion import Sampling
from edge_node.generation.eraser import EraserRecipe
from edge_node.tasks.images import IMAGES
from fleet.domain import eraser
from fleet.errors import InvalidInputError
from fleet.lab.fleets.captured_fleet import PRESET
from fleet.lab.verification.evidence import AdapterKind, ApproximateEvidence
from fleet.lab.verification.generating_fleet import GeneratingFleet
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.judging import Escalation, Verdict, judge_approximate, judge_exact, judge_mask
from fleet.lab.verification.report import VerificationReport
from fleet.lab.verification.verify_images import FORGOTTEN, KEPT, PictureCounts, compared, verify_images
from fleet.report.verification_html import verification_html

TASK = replace(
    IMAGES,
    recipe=replace(
        IMAGES.recipe,
        subject=ClassRecipe(steps=4, batch=4),
        eraser=EraserRecipe(steps=1, batch=4, learning_rate=0.0),
        sampling=Sampling(steps=1),
    ),
)
FEW = PictureCounts(private=1, public=1, compared=1)


@pytest.fixture(scope="module", autouse=True)
def lenient():
    """The coordinator installs whatever eraser there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eraser, "SHOWS", 1.0)
        patch.setattr(eraser, "OTHERS", 0.0)
        patch.setattr(eraser_rounds, "LOOKED_AT", 8)
        patch.setattr(judge, "_JUDGE_STEPS", 100)
        yield


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return verify_images(TASK, 1, Path(tmp_path_factory.mktemp("fleets")), counts=FEW)


def failed(judgement):
    return [line.name for line in judgement.failed]


def test_deleted_class_is_exact_and_a_class_that_came_later_is_as_if_it_had_never_been(report):
    exact, _ = report.judgements
    (evidence,) = report.exact

    assert exact.verdict is Verdict.EXACT
    assert evidence.digest == evidence.never_enrolled
    assert evidence.recognised == evidence.chance
    assert report.cell_writes == 0
    assert min(report.energy_j[phase] for phase in ("train", "erase", "verify", "radio")) > 0


def test_eraser_that_hides_nothing_is_found_out(report):
    _, mask = report.judgements
    (evidence,) = report.masked

    assert evidence.refused.value == evidence.erased.value == 1
    assert evidence.shows == evidence.stripped
    assert mask.verdict is Verdict.NOT_FORGOTTEN
    assert "shows, asked for by its name past the refusal" in failed(mask)
    assert mask.escalation is Escalation.REPROGRAM
    assert not report.holds


def test_mask_is_never_more_than_a_mask_and_each_of_its_lines_decides(report):
    (evidence,) = report.masked
    nothing, everything = Rate(0, 40), Rate(40, 40)
    good = replace(evidence, shows=nothing, unasked=nothing, others=everything, stripped=everything)

    assert judge_mask(good).verdict is Verdict.MASKED
    for worse in (
        replace(good, refused=Rate(2, 3)),
        replace(good, erased=Rate(2, 3)),
        replace(good, shows=everything),
        replace(good, unasked=everything),
        replace(good, others=nothing),
        replace(good, shows=Rate(0, 0)),
    ):
        assert judge_mask(worse).verdict is Verdict.NOT_FORGOTTEN


def test_backbone_is_neither_exact_nor_judged_as_a_repair(report):
    (evidence,) = report.exact

    with pytest.raises(InvalidInputError, match="never exact"):
        judge_exact(replace(evidence, kind=AdapterKind.BACKBONE))
    with pytest.raises(InvalidInputError, match="not judged by a reference"):
        judge_approximate(ApproximateEvidence(AdapterKind.BACKBONE, "eraser", (), 0))


def test_class_drawn_too_often_is_found_out(report):
    (evidence,) = report.exact
    often = replace(evidence, recognised=Rate(200, 200), chance=Rate(0, 200))

    assert judge_exact(often).verdict is Verdict.NOT_FORGOTTEN


def test_adapter_that_one_node_still_has_is_found_out_though_nobody_gets_the_class(tmp_path):
    fleet, never = (GeneratingFleet(TASK, 1, tmp_path, PRESET) for _ in range(2))
    fleet.enrol([KEPT, FORGOTTEN])
    never.enrol([KEPT])
    assert len(fleet.by_tag("enrolled", FORGOTTEN, 1).levels)
    fleet.forget(FORGOTTEN)
    engine, place = fleet.engine_of(0)
    engine.set_subject(
        place,
        SubjectAdapter(
            subject_tag=fleet.tag(FORGOTTEN),
            kind=SUBJECT_ADAPTER_KIND_TRAINED,
            count=1,
            code_sum=[1] * engine.features,
        ),
    )
    evidence, _ = compared(fleet, never, FEW)

    assert not len(fleet.by_tag("forgotten", FORGOTTEN, 1).levels)
    assert evidence.recognised == evidence.chance
    assert failed(judge_exact(evidence)) == ["integers as if never enrolled"]
    fleet.close()
    never.close()


def test_report_shows_classes_and_mask_and_is_read_back(report):
    body = report.document()
    page = verification_html(body)

    for words in ("images that show the class", "MASKED is of what", "strip test", "train a backbone without"):
        assert words in page
    assert VerificationReport.of_document(body) == report
