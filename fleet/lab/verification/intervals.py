"""Rates with exact binomial intervals: what so few samples can say at all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.special import betaincinv

from edge_node.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Ends of a confidence interval of a rate; both are included."""

    low: float
    high: float


def clopper_pearson(hits: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the exact interval of a rate after `hits` in `trials`.

    C. Clopper, E. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26, 1934. It covers the truth at least as often as it says: 0 of 21 is up to .16, 0 of 150 up to .024.
    Without any trial it is everything, 0 to 1.

    `EngineError` if there are more hits than trials, or the confidence is not between 0 and 1.
    """
    if not 0 <= hits <= trials:
        raise EngineError(f"an interval needs 0 <= hits <= trials; got {hits} of {trials}")
    if not 0 < confidence < 1:
        raise EngineError(f"a confidence lies between 0 and 1; got {confidence}")
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return Interval(low, high)


@dataclass(frozen=True)
class Rate:
    """A share of answers with what it rests on."""

    #: Answers, over all nodes.
    hits: int
    total: int
    #: Answers about one and the same sample: a fleet of eight chips does not see eight times as many samples, so the
    #: interval counts samples, not answers.
    repeats: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.hits <= self.total and self.repeats >= 1 and self.total % self.repeats == 0):
            raise EngineError(
                f"a rate needs 0 <= hits <= total, a multiple of repeats; got {self.hits} of {self.total}, "
                f"repeats {self.repeats}"
            )

    @classmethod
    def of(cls, hits: Tensor) -> Rate:
        """Return the rate of answers, bool [N, B]: every node answers about every sample."""
        return cls(int(hits.sum()), hits.numel(), hits.shape[0])

    @classmethod
    def sum(cls, rates: Iterable[Rate]) -> Rate:
        """Return one or more rates together."""
        first, *others = rates
        return sum(others, start=first)

    @property
    def value(self) -> float:
        """Share of 1; 0 without any answer."""
        return self.hits / self.total if self.total else 0.0

    @property
    def interval(self) -> Interval:
        """Exact interval over samples; a sample that only some chips name is rounded against the claim made.

        The low end rounds the hits down and the high end up, so that it is never narrower than it may be.
        """
        samples = self.total // self.repeats
        low = clopper_pearson(self.hits // self.repeats, samples).low
        return Interval(low, clopper_pearson(math.ceil(self.hits / self.repeats), samples).high)

    def __add__(self, other: Rate) -> Rate:
        if self.repeats != other.repeats:
            raise EngineError(f"rates of {self.repeats} and {other.repeats} answers a sample do not add up")
        return Rate(self.hits + other.hits, self.total + other.total, self.repeats)
