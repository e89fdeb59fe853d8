"""Verification report: evidence with one verdict for each kind of adapter, as a document and back.

A report is stored with its evidence. Reading it judges that evidence anew, so a verdict that somebody wrote into the
file by hand is found out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from fleet.documents import document
from fleet.errors import InvalidInputError, NotFoundError
from fleet.lab.verification.evidence import ApproximateEvidence, ExactEvidence, MaskEvidence
from fleet.lab.verification.judging import LIMITS, Judgement, judge_approximate, judge_exact, judge_mask

_T = TypeVar("_T")


@dataclass(frozen=True)
class VerificationReport:
    """Everything about one forget, or about a series of them."""

    #: Whose people.
    task: str
    #: Evidence, a record for each kind of adapter.
    exact: tuple[ExactEvidence, ...] = ()
    approximate: tuple[ApproximateEvidence, ...] = ()
    masked: tuple[MaskEvidence, ...] = ()
    #: Further figures by name, if there are any: EER, erase and retain accuracy of generation.
    scores: Mapping[str, float] = field(default_factory=dict)
    #: Joules by phase.
    energy_j: Mapping[str, float] = field(default_factory=dict)
    #: ReRAM pulses that the forget took: 0 is what the design promises.
    cell_writes: int = 0

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """One for each record, computed from the evidence."""
        return (
            *(judge_exact(evidence) for evidence in self.exact),
            *(judge_approximate(evidence) for evidence in self.approximate),
            *(judge_mask(evidence) for evidence in self.masked),
        )

    @property
    def holds(self) -> bool:
        """Whether every kind is forgotten, or masked if it cannot be, and no cell was written.

        Nothing follows from no evidence.
        """
        judged = self.judgements
        return bool(judged) and self.cell_writes == 0 and all(one.verdict.holds for one in judged)

    def document(self) -> dict[str, Any]:
        """Return what the CLI prints and stores: the evidence, and the verdicts that follow from it."""
        body: dict[str, Any] = document("VerificationReport", **_REPORT.dump_python(self, mode="json"))
        body["holds"] = self.holds
        # For the reader. They are not read back: whoever could loosen them could write any verdict.
        body["limits"] = asdict(LIMITS)
        body["verdicts"] = _JUDGEMENTS.dump_python(self.judgements, mode="json")
        return body

    @classmethod
    def of_evidence(cls, document: Mapping[str, Any]) -> VerificationReport:
        """Return the report that the evidence in a document gives, whatever verdicts are stated beside it.

        `InvalidInputError` if the evidence is not that of a report.
        """
        body = {name: value for name, value in document.items() if name in cls.__dataclass_fields__}
        return _validated(_REPORT, body)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> VerificationReport:
        """Return the report in a document, judged anew.

        `InvalidInputError` if the document is not a report, or states verdicts that do not follow from its evidence.
        """
        report = cls.of_evidence(document)
        stated = _validated(_JUDGEMENTS, document.get("verdicts"))
        # Flags and not figures: another release of SciPy may round an interval's ends differently.
        if [_flags(j) for j in stated] != [_flags(j) for j in report.judgements] or (
            document.get("holds") is not report.holds
        ):
            found = ", ".join(f"{j.kind}: {j.verdict}" for j in report.judgements)
            raise InvalidInputError(
                "the verdicts stated in the report do not follow from its evidence, which gives "
                f"{found or 'none'}: trust neither, verify again"
            )
        return report


def read_report(path: Path) -> VerificationReport:
    """Read a stored report and judge its evidence anew.

    `NotFoundError` if there is no such file. `InvalidInputError` if it is not a report, or its verdicts do not follow
    from its evidence.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON: {error}") from error
    if not isinstance(body, dict) or body.get("kind") != "VerificationReport":
        raise InvalidInputError(
            f"{path} is not a verification report", hint="`fleet verify --task speakers --output DIR` writes one."
        )
    try:
        return VerificationReport.of_document(body)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


_REPORT: TypeAdapter[VerificationReport] = TypeAdapter(VerificationReport)
_JUDGEMENTS: TypeAdapter[tuple[Judgement, ...]] = TypeAdapter(tuple[Judgement, ...])


def _flags(judgement: Judgement) -> tuple[object, ...]:
    # Without names of lines, which differ between versions.
    passed = [line.passed for line in judgement.lines]
    return judgement.kind, judgement.method, judgement.verdict, judgement.escalation, passed


def _validated(adapter: TypeAdapter[_T], body: object) -> _T:
    try:
        return adapter.validate_python(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise InvalidInputError(f"this is not a verification report: {place}: {first['msg']}") from error
