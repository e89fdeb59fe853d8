"""Judging a forget: limits of acceptance, lines, and a verdict for each kind of adapter.

EXACT and APPROXIMATE are never mixed: an exact kind is judged by digests alone, and a shared LoRA is never exact,
however good its figures. What the crossbars hold is MASKED at best. Limits of approximate kinds are differences to a
model retrained without the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from fleet.domain.eraser import OTHERS, SHOWS
from fleet.errors import InvalidInputError
from fleet.lab.verification.evidence import (
    AdapterKind,
    ApproximateEvidence,
    DigestPair,
    ExactEvidence,
    MaskEvidence,
    ModelScores,
)
from fleet.lab.verification.intervals import Interval, Rate


class Verdict(StrEnum):
    """Verdict on a person in one kind of adapter."""

    EXACT = "EXACT"
    ACCEPTED = "APPROXIMATE, accepted"
    REJECTED = "APPROXIMATE, rejected"
    MASKED = "MASKED"
    NOT_FORGOTTEN = "NOT FORGOTTEN"

    @property
    def holds(self) -> bool:
        """Whether nothing more must be done."""
        return self in (Verdict.EXACT, Verdict.ACCEPTED, Verdict.MASKED)


class Escalation(StrEnum):
    """The exact path that follows a verdict which does not hold."""

    NONE = "nothing to do"
    DESTROY = "destroy the subject adapter on every node again, and compare digests anew"
    SOLVE_AGAIN = "build the revision again from the statistics of the others, and compare digests anew"
    REPLAY = "replay the person's shard from the round in which they entered"
    DETACH = "detach the shared LoRA now, destroy its states, and train it again without the person"
    REPROGRAM = "train a backbone without the concept and program it: nothing else takes it out of the crossbars"


@dataclass(frozen=True)
class Limits:
    """Limits within which a repair is accepted; differences are to the retrained reference, as shares of 1."""

    #: Forgotten samples that are named as theirs, above the reference: trained on, held out, and after further rounds.
    recognised: float = 0.02
    #: Their samples that are accepted as anybody, above the reference.
    accepted: float = 0.05
    #: Distance of RA and TA.
    retained_train: float = 0.01
    retained_test: float = 0.02
    #: Distance of the loss attack's AUC.
    attack_auc: float = 0.05
    #: Mean distance over UA, RA, TA and that AUC.
    gap: float = 0.03
    #: Loss of the forgotten samples, as a multiple of the reference's.
    loss_low: float = 0.5
    loss_high: float = 2.0
    #: Distance of the mean entropy on the person (nats).
    entropy: float = 0.2
    #: Jensen-Shannon divergence (nats) from the reference, on the person.
    js_forgotten: float = 0.05


LIMITS = Limits()


@dataclass(frozen=True)
class Line:
    """One line of a verdict."""

    #: What was looked at.
    name: str
    #: Of the adapter, and of what it is held against; None if there is no number.
    value: float | None
    reference: float | None
    #: In words; empty if the line only informs.
    limit: str
    #: None if it only informs.
    passed: bool | None
    #: Exact 95 % interval of the value, where it is a rate.
    interval: Interval | None = None

    def exceeds(self, limit: float) -> bool:
        """Whether a rate is above its reference by more than a limit, beyond chance."""
        return self.interval is not None and self.interval.low > (self.reference or 0.0) + limit


@dataclass(frozen=True)
class Judgement:
    """One kind of adapter."""

    #: What was judged; the method is empty for exact kinds, and names what is masked of a backbone.
    kind: AdapterKind
    method: str
    #: With every line, failed or not.
    verdict: Verdict
    lines: tuple[Line, ...]
    escalation: Escalation

    @property
    def failed(self) -> tuple[Line, ...]:
        """Lines that did not pass."""
        return tuple(line for line in self.lines if line.passed is False)


def judge_exact(evidence: ExactEvidence) -> Judgement:
    """Judge an exact kind: by digests, and nothing the probes say can make up for them.

    `InvalidInputError` if the kind is not an exact one, or a digest is missing.
    """
    if not evidence.kind.exact:
        raise InvalidInputError(f"a {evidence.kind} is never exact: give its approximate evidence")
    if not evidence.digest or not evidence.never_enrolled:
        raise InvalidInputError(f"the {evidence.kind} has no digests to compare: nothing shows that it forgot")

    def digests(name: str, pair: DigestPair) -> Line:
        return Line(name, None, None, "digests equal", pair.equal)

    lines = [
        digests("integers as if never enrolled", DigestPair(evidence.digest, evidence.never_enrolled)),
        _still_named(evidence.recognised, evidence.chance),
    ]
    if canary := evidence.canary:
        before, after = canary.named_before, canary.named_after
        lines.append(_rate_line("canary known before", before, ">= 0.5", before.value >= 0.5))
        lines.append(_rate_line("canary named after", after, "0", not after.hits))
    if pair := evidence.unaffected:
        lines.append(digests("shards of others, as if never enrolled", pair))
    if pair := evidence.later:
        lines.append(digests(f"integers after {evidence.later_rounds} more rounds, as if never enrolled", pair))
    passed = all(line.passed for line in lines)
    return _judgement(evidence.kind, "", Verdict.EXACT if passed else Verdict.NOT_FORGOTTEN, lines)


def judge_approximate(evidence: ApproximateEvidence, limits: Limits = LIMITS) -> Judgement:
    """Judge a repaired LoRA by means over people and seeds.

    NOT FORGOTTEN if the person is still named more often than the limit beyond chance (low end of the exact interval),
    now or after further rounds, or if a node holds anything of theirs. Else accepted if every line passes. Which lines
    decide was chosen by how often they are right (docs/verification.md).

    `InvalidInputError` if the kind is another one, or there is not a single pair.
    """
    if evidence.kind is not AdapterKind.SHARED:
        raise InvalidInputError(f"a {evidence.kind} is not judged by a reference that was trained without the person")
    if not evidence.pairs:
        raise InvalidInputError("there is no repaired model to judge: measure at least one person")
    pairs = evidence.pairs
    now, reference = _Means([p.repaired for p in pairs]), _Means([p.retrained for p in pairs])

    def above(name: str, figure: str, limit: float) -> Line:
        rate, expected = now.rate(figure), reference.mean(figure)
        return _rate_line(name, rate, f"<= reference + {limit:g}", rate.value <= expected + limit, expected)

    def distance(name: str, figure: str, limit: float) -> Line:
        rate, expected = now.rate(figure), reference.mean(figure)
        return _rate_line(name, rate, f"within {limit:g}", abs(rate.value - expected) <= limit, expected)

    named = [
        above("named as the person, training samples (1 - UA)", "recognised_train", limits.recognised),
        above("named as the person, held-out samples", "recognised_test", limits.recognised),
    ]
    if all(p.repaired.resurfaced and p.retrained.resurfaced for p in pairs):
        rounds = f"named after {evidence.resurfacing_rounds} more rounds"
        named.append(above(rounds, "resurfaced", limits.recognised))
    auc, auc_r = now.mean("attack_auc"), reference.mean("attack_auc")
    low, high = limits.loss_low, limits.loss_high
    ratio = now.mean("forget_loss") / max(reference.mean("forget_loss"), 1e-12)
    gap = repair_gap([p.repaired for p in pairs], [p.retrained for p in pairs])
    published = fmean(average_gap(p.repaired, p.retrained) for p in pairs)
    called, called_r = now.mean("called_non_member"), reference.mean("called_non_member")
    spread, spread_r = now.mean("forget_entropy"), reference.mean("forget_entropy")

    def at_most(name: str, value: float, limit: float) -> Line:
        return Line(name, value, None, f"<= {limit:g}", value <= limit)

    held = now.rate("held")
    lines = [
        *named,
        _rate_line("held on nodes, whatever they answer (strip)", held, "0", not held.hits),
        _rate_line(
            "accepted as anybody",
            now.rate("accepted"),
            f"<= reference + {limits.accepted:g}",
            # People count alike, however many samples each has.
            now.mean("accepted") <= reference.mean("accepted") + limits.accepted,
            reference.mean("accepted"),
        ),
        distance("retained, training samples (RA)", "retained_train", limits.retained_train),
        distance("retained, held-out samples (TA)", "retained_test", limits.retained_test),
        Line("loss attack, AUC", auc, auc_r, f"within {limits.attack_auc:g}", abs(auc - auc_r) <= limits.attack_auc),
        at_most("gap over UA, RA, TA, AUC", gap, limits.gap),
        Line("average gap as published (SalUn): UA, RA, TA, MIA", published, None, "", None),
        Line("loss on the person, share of reference", ratio, 1.0, f"{low:g} to {high:g}", low <= ratio <= high),
        Line("confidence attack, called non-member", called, called_r, "", None),
        Line(
            "entropy on the person",
            spread,
            spread_r,
            f"within {limits.entropy:g}",
            abs(spread - spread_r) <= limits.entropy,
        ),
        at_most("JS divergence on the person", fmean(p.js_forgotten for p in pairs), limits.js_forgotten),
        _rate_line("named before the forget", Rate.sum(p.original.recognised_train for p in pairs), "", None),
    ]
    if held.hits or any(line.exceeds(limits.recognised) for line in named):
        verdict = Verdict.NOT_FORGOTTEN
    else:
        verdict = Verdict.REJECTED if any(line.passed is False for line in lines) else Verdict.ACCEPTED
    return _judgement(evidence.kind, evidence.method, verdict, lines)


def judge_mask(evidence: MaskEvidence) -> Judgement:
    """Judge a concept that the crossbars hold: MASKED at best, by the limits that an eraser is installed by."""

    def everywhere(name: str, rate: Rate) -> Line:
        return _rate_line(name, rate, "all", rate.hits == rate.total > 0)

    def few(name: str, rate: Rate) -> Line:
        return _rate_line(name, rate, f"<= {SHOWS:g}", rate.total > 0 and rate.value <= SHOWS)

    others = evidence.others
    lines = [
        everywhere("nodes that refuse it by its name", evidence.refused),
        everywhere("nodes that have the newest eraser", evidence.erased),
        few("shows, asked for by its name past the refusal", evidence.shows),
        few("shows, asked for without saying", evidence.unasked),
        _rate_line("others that are asked for show", others, f">= {OTHERS:g}", others.value >= OTHERS),
        _rate_line("strip test: shows, eraser taken off", evidence.stripped, "", None),
    ]
    verdict = Verdict.MASKED if all(line.passed is not False for line in lines) else Verdict.NOT_FORGOTTEN
    return _judgement(AdapterKind.BACKBONE, evidence.concept, verdict, lines)


def escalation(kind: AdapterKind, verdict: Verdict) -> Escalation:
    """Return the exact path that a verdict calls for; a rejected repair is never kept."""
    if verdict.holds:
        return Escalation.NONE
    return {
        AdapterKind.SUBJECT: Escalation.DESTROY,
        AdapterKind.HEAD: Escalation.SOLVE_AGAIN,
        AdapterKind.COHORT: Escalation.REPLAY,
        AdapterKind.SHARED: Escalation.DETACH,
        AdapterKind.BACKBONE: Escalation.REPROGRAM,
    }[kind]


def repair_gap(repaired: Sequence[ModelScores], retrained: Sequence[ModelScores]) -> float:
    """Return the mean distance of UA, RA, TA and the loss attack's AUC, each averaged over all pairs first.

    A single person's AUC rests on five photos against five: their mean over people and seeds is what can be judged.
    """
    now, reference = _Means(repaired), _Means(retrained)
    names = ("recognised_train", "retained_train", "retained_test", "attack_auc")
    return fmean(abs(now.mean(name) - reference.mean(name)) for name in names)


def average_gap(repaired: ModelScores, retrained: ModelScores) -> float:
    """Return the average gap of one person as SalUn reports it (arXiv 2310.12508, table 1).

    The mean distance over UA, RA, TA and MIA-efficacy, the share of forgotten samples that the confidence attack calls
    non-members. Coarse for one person with few samples, so it informs and limits nothing.
    """
    rates = ("recognised_train", "retained_train", "retained_test")
    gaps = [abs(getattr(repaired, name).value - getattr(retrained, name).value) for name in rates]
    return fmean([*gaps, abs(repaired.called_non_member - retrained.called_non_member)])


class _Means:
    """Means over models of a figure, by its name."""

    def __init__(self, scores: Sequence[ModelScores]) -> None:
        self._scores = scores

    def rate(self, name: str) -> Rate:
        return Rate.sum(getattr(scores, name) for scores in self._scores)

    def mean(self, name: str) -> float:
        values = [getattr(scores, name) for scores in self._scores]
        return fmean(value.value if isinstance(value, Rate) else value for value in values)


def _still_named(recognised: Rate, chance: Rate | None) -> Line:
    """Return the line of a person's own samples, or of images of a class that are generated by chance too."""
    if chance is None:
        return _rate_line("named as the person, held-out samples", recognised, "0", not recognised.hits)
    ends = chance.interval
    limit = f"{ends.low:.3f} to {ends.high:.3f}, of never enrolled"
    passed = ends.low <= recognised.value <= ends.high
    return _rate_line("images that show the class", recognised, limit, passed, chance.value)


def _rate_line(name: str, rate: Rate, limit: str, passed: bool | None, reference: float | None = None) -> Line:
    return Line(name, rate.value, reference, limit, passed, rate.interval)


def _judgement(kind: AdapterKind, method: str, verdict: Verdict, lines: Sequence[Line]) -> Judgement:
    return Judgement(kind, method, verdict, tuple(lines), escalation(kind, verdict))
