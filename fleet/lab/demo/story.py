"""One demo per kind of task: how it is run, what it claims, how it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from fleet.documents import Document
from fleet.lab.demo.claims import Claim, check, check_all
from fleet.lab.demo.classes import draws
from fleet.lab.demo.closing import closing_tables
from fleet.lab.demo.drawing_claims import DRAWING_CLAIMS
from fleet.lab.demo.drawing_report import drawing_report, drawing_tables
from fleet.lab.demo.drawing_run import run_drawing_demo
from fleet.lab.demo.report import report
from fleet.lab.demo.run import DemoSettings, ProgressReporter, run_demo


@dataclass(frozen=True)
class DemoResult:
    """A demo that has ended.

    Attributes
    ----------
    claims
        Each with what was seen.
    document
        The report.
    tables
        Makes the closing tables.
    save_pictures
        Draws pictures of what was seen into a file; None if there are none (faces are nobody's pictures).
    """

    claims: list[Claim]
    document: Document
    tables: Callable[[], Iterable[RenderableType]]
    save_pictures: Callable[[Path], None] | None = None


def tell(settings: DemoSettings, reporter: ProgressReporter) -> DemoResult:
    """Run the demo of a task; all that it starts is gone when this returns or raises."""
    return _drawing(settings, reporter) if draws(settings.task) else _recognition(settings, reporter)


def _recognition(settings: DemoSettings, reporter: ProgressReporter) -> DemoResult:
    evidence = run_demo(settings, reporter)
    claims = check(evidence)
    document = report(evidence, claims)
    return DemoResult(claims, document, lambda: closing_tables(document))


def _drawing(settings: DemoSettings, reporter: ProgressReporter) -> DemoResult:
    demo = run_drawing_demo(settings, reporter)
    claims = check_all(demo.evidence, DRAWING_CLAIMS)
    document = drawing_report(demo.evidence, claims)
    return DemoResult(claims, document, lambda: drawing_tables(document), demo.save_pictures)
