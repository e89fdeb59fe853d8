"""Verification of images on the product's fleet, whose nodes hardly learn: what is compared, and that it could fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.agent.forgetting import Forgetting
from edge_node.generation import judge
from edge_node.tasks.images import IMAGES_BRIEF
from fleet.domain import eraser
from fleet.errors import InvalidInputError
from fleet.lab.fleets.captured_fleet import PRESET
from fleet.lab.verification.evidence import AdapterKind, ApproximateEvidence, MaskEvidence
from fleet.lab.verification.generating_fleet import GeneratingFleet
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.judging import Escalation, Verdict, judge_approximate, judge_exact, judge_mask
from fleet.lab.verification.report import VerificationReport
from fleet.lab.verification.verify_images import FORGOTTEN, KEPT, NEWCOMER, PictureCounts, compared, verify_images
from fleet.report.verification_html import verification_html

FEW = PictureCounts(private=1, public=1, compared=1)


@pytest.fixture(scope="module", autouse=True)
def brief():
    """What the judges see decides nothing here, and they learn for seconds; every eraser is good enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "_JUDGE_STEPS", 40)
        patch.setattr(eraser, "SHOWS", 1.0)
        patch.setattr(eraser, "OTHERS", 0.0)
        yield
