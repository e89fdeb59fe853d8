"""Threshold of a head: the score from which it accepts, fixed with it from public people and sums alone.

Everybody's threshold is a question about people who are not there: how would a sample score of somebody who
is enrolled, but was not learned from, and how one of a stranger? The public people answer it. Each of them in
turn is taken out of the statistics, as if they had never been among the negatives. Then they are strangers,
whose samples are scored with the enrolled people's columns; and they are enrolled virtually with half of their
samples on one to three nodes, next to everybody else, and the other half is scored with their column, on all
nodes. The threshold rejects `FALSE_REJECT_SHARE` of the virtually enrolled, or more if it must to accept no
more than `FALSE_ACCEPT_SHARE` of the virtual strangers.

That is sixty heads, but no solving: with the kernel ``k(x, y) = x' A^-1 y`` of the real head, taking q's samples U out
turns it into ``(I - K)^-1 K`` on U (K = k(U, U)), and every virtual enrolment is a small solve in that. Codes are
centred on the public mean, q included, which would make the others' codes sum to minus those of q, and drive their
score to zero: so the kernel is that of a ridge with a free intercept, which adjusts to whoever is left.

The arithmetic is float64, so other machines get other last bits; the result is rounded to 2^-8 of a full
score, and refused within a millionth of a step of a rounding boundary. That is a margin, not a proof: over
kernels and thread counts the unrounded value has moved by 1e-11 of a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.heads.errors import NotCertifiedError, StatisticsError
from fleet.heads.public import PublicCodes
from fleet.heads.statistics import HeadStatistics, Int64

#: The rule, chosen on the faces' seeds 0 to 15. Ten public people are few: over seeds, the quantile of the
#: virtually enrolled alone strays so far that up to 55 % of strangers were accepted; with the second limit up
#: to 18 %, for 7 instead of 6.3 % of known people's samples rejected. Thresholds that leave one photo of an
#: enrolled person out stray as far (and need every person's Gram matrix); public people enrolled for good,
#: instead of virtually, cost negatives and accept 26 %.
FALSE_REJECT_SHARE = 0.05
FALSE_ACCEPT_SHARE = 0.10
#: Fraction bits of a threshold: a full score is 1.
THRESHOLD_BITS = 8
#: Numbers of nodes that a virtual enrolment is spread over.
SPREADS = (1, 2, 3)

_BOUNDARY_MARGIN = 1e-6

Real = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VirtualScores:
    """Scores of public people, each in turn taken out of the head."""

    #: Of held-out samples with their own column after a virtual enrolment, float64.
    enrolled: Real
    #: Best score of each sample among the really enrolled people's columns, float64; empty without any.
    stranger: Real


def acceptance_threshold(
    statistics: HeadStatistics, ridge: int, targets: Int64, counts: Int64, public: PublicCodes
) -> int:
    """Return the threshold in units of 2^-8 of a full score, at least 1.

    Parameters
    ----------
    statistics
        Of enrolled and public people together.
    ridge
        Of the head.
    targets, counts
        int64 [d, K] code sums of the enrolled people, and int64 [K].
    public
        The codes of the public people that are in the statistics.

    Raises
    ------
    NotCertifiedError
        If the threshold is too close to a rounding boundary.
    """
    scores = virtual_scores(statistics, ridge, targets, counts, public)
    threshold = _lower_quantile(scores.enrolled, FALSE_REJECT_SHARE)
    if scores.stranger.size:
        threshold = max(threshold, -_lower_quantile(-scores.stranger, FALSE_ACCEPT_SHARE))
    steps = math.ldexp(threshold, THRESHOLD_BITS)
    if abs(steps - math.floor(steps) - 0.5) < _BOUNDARY_MARGIN:
        raise NotCertifiedError(
            f"the threshold {threshold!r} lies on a rounding boundary at 2^-{THRESHOLD_BITS}: choose another ridge"
        )
    return max(1, math.floor(steps + 0.5))


def virtual_scores(
    statistics: HeadStatistics, ridge: int, targets: Int64, counts: Int64, public: PublicCodes
) -> VirtualScores:
    """Return how public people would score; arguments as in `acceptance_threshold`."""
    kernel = _InterceptKernel(statistics, ridge)
    columns, offsets = kernel.columns(targets.astype(np.float64), counts.astype(np.float64))
    samples = _typical_samples(counts)
    enrolled, stranger = [], []
    for turn, index in enumerate(np.unique(public.person)):
        codes = public.codes[:, public.person == index].astype(np.float64)
        flat = codes.reshape(-1, codes.shape[2])
        block, residual = kernel.block(flat)
        left_out = np.linalg.inv(np.eye(len(flat)) - block)
        if targets.shape[1]:
            best = (left_out @ (flat @ columns + np.outer(residual, offsets))).max(axis=1)
            stranger.append(best)
        without = left_out @ block
        for taught, asked in _virtual_enrolments(turn, codes.shape[0], codes.shape[1], samples):
            own = np.eye(len(taught)) + without[np.ix_(taught, taught)]
            weights = np.linalg.solve(own, np.ones(len(taught)))
            enrolled.append(without[np.ix_(asked, taught)] @ weights)
    return VirtualScores(np.concatenate(enrolled), np.concatenate(stranger) if stranger else np.zeros(0))


class _InterceptKernel:
    """``x' A^-1 y`` for the statistics of a ridge with an intercept that costs nothing.

    With s the sum of all n codes and A = G + ridge I, the inverse of the bordered ``[[A, s], [s', n]]`` gives
    ``k(x, y) = x' A^-1 y + (1 - s' A^-1 x) (1 - s' A^-1 y) / (n - s' A^-1 s)``.
    """

    def __init__(self, statistics: HeadStatistics, ridge: int) -> None:
        # Imported here: a coordinator starts without it, and may never solve anything.
        from scipy.linalg import cho_factor

        real = statistics.gram.astype(np.float64)
        real[np.diag_indices_from(real)] += ridge
        self._factor = cho_factor(real, lower=True, overwrite_a=True, check_finite=False)
        self._sum = statistics.code_sum.astype(np.float64)
        self._solved_sum = self._solve(self._sum)
        self._rest = statistics.count - float(self._sum @ self._solved_sum)

    def _solve(self, right: Real) -> Real:
        from scipy.linalg import cho_solve

        solved: Real = cho_solve(self._factor, right, check_finite=False)
        return solved

    def columns(self, targets: Real, counts: Real) -> tuple[Real, Real]:
        """Return W = A^-1 targets, and what an intercept adds to each column's score per unit of residual."""
        solved = self._solve(targets)
        return solved, (counts - self._sum @ solved) / self._rest

    def block(self, codes: Real) -> tuple[Real, Real]:
        """Return the kernel of vectors [m, d] with themselves [m, m], and ``1 - s' A^-1 x`` of each."""
        residual = 1.0 - codes @ self._solved_sum
        return codes @ self._solve(codes.T) + np.outer(residual, residual) / self._rest, residual


def _typical_samples(counts: Int64) -> int | None:
    """Return how many samples people enrol with on average, rounded; None if nobody is enrolled."""
    return max(1, int(2 * counts.sum() + len(counts)) // (2 * len(counts))) if len(counts) else None


def _virtual_enrolments(
    turn: int, nodes: int, samples: int, taught_samples: int | None
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Yield (rows taught, rows asked) of a person's samples [nodes x samples]: both halves, all spreads.

    Which nodes take part goes round with the turn: no random draws, so nothing that could differ.
    """
    halves = np.arange(samples // 2), np.arange(samples // 2, samples)
    for half in (0, 1):
        taught = halves[half][:taught_samples]
        asked = (np.arange(nodes)[:, None] * samples + halves[1 - half]).ravel()
        for spread in SPREADS:
            if spread <= nodes:
                node = (2 * turn + half + 3 * spread + np.arange(len(taught)) % spread) % nodes
                yield node * samples + taught, asked


def _lower_quantile(scores: Real, share: float) -> float:
    """Return the largest observed score that rejects at most a share of the scores."""
    if not scores.size:
        raise StatisticsError("there are no public samples to fix a threshold with")
    return float(np.sort(scores)[math.floor(share * scores.size)])
