"""Forgetting, verified: metrics, attacks, evidence and the report.

>>> from fleet.lab.verification import VerificationReport
>>> report = VerificationReport.of_document(json.loads(text))  # doctest: +SKIP
>>> [(judgement.kind, judgement.verdict) for judgement in report.judgements]  # doctest: +SKIP

What measures a model (`metrics`, `attacks`) needs torch and is imported from there; reading and judging a
report does not.
"""

from fleet.lab.verification.evidence import (
    AdapterKind,
    ApproximateEvidence,
    Canary,
    DigestPair,
    ExactEvidence,
    ModelScores,
    RepairPair,
)
from fleet.lab.verification.intervals import Interval, Rate, clopper_pearson
from fleet.lab.verification.judging import (
    LIMITS,
    Escalation,
    Judgement,
    Limits,
    Line,
    Verdict,
    average_gap,
    escalation,
    judge_approximate,
    judge_exact,
)
from fleet.lab.verification.report import VerificationReport

__all__ = [
    "LIMITS",
    "AdapterKind",
    "ApproximateEvidence",
    "Canary",
    "DigestPair",
    "Escalation",
    "ExactEvidence",
    "Interval",
    "Judgement",
    "Limits",
    "Line",
    "ModelScores",
    "Rate",
    "RepairPair",
    "Verdict",
    "VerificationReport",
    "average_gap",
    "clopper_pearson",
    "escalation",
    "judge_approximate",
    "judge_exact",
]
