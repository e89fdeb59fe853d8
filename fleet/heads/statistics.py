"""Sufficient statistics of a ridge head, in integers: those of people add up, whatever the order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.heads.errors import StatisticsError

Int64 = npt.NDArray[np.int64]

#: Above this an entry would no longer be exact in float64, which the first solve works in.
_LIMIT = 1 << 53


@dataclass(frozen=True, eq=False)
class HeadStatistics:
    """``sum of x x'`` and ``sum of x`` over captured feature codes x of one person, or of public people.

    Addition is that of integers: the sum over who is left after a forget is the same, in whatever order and on whatever
    machine, as if the person had never been there.
    """

    #: int64 ``[d, d]``, symmetric.
    gram: Int64
    #: int64 ``[d]``.
    code_sum: Int64
    #: How many vectors.
    count: int

    @classmethod
    def of(cls, codes: npt.NDArray[np.integer]) -> HeadStatistics:
        """Return the statistics of captured codes ``[samples, d]``.

        Raises `StatisticsError` if the codes are not a matrix of integers, or their products would not stay below 2^53.
        """
        if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
            raise StatisticsError(f"codes are integers [samples, features]; got {codes.dtype} {list(codes.shape)}")
        exact = codes.astype(np.int64)
        largest = int(np.abs(exact).max(initial=0))
        if largest * largest * len(exact) >= _LIMIT:
            raise StatisticsError(
                f"{len(exact)} vectors of codes up to {largest} make sums beyond 2^53: use fewer bits a code"
            )
        # Every product and partial sum is below 2^53, so the float64 product is exact in any order.
        real = exact.astype(np.float64)
        return cls((real.T @ real).astype(np.int64), exact.sum(axis=0), len(exact))

    @classmethod
    def zero(cls, features: int) -> HeadStatistics:
        """Return the statistics of nobody."""
        return cls(np.zeros((features, features), np.int64), np.zeros(features, np.int64), 0)

    @property
    def features(self) -> int:
        """Length d of a feature vector."""
        return len(self.code_sum)

    def __add__(self, other: HeadStatistics) -> HeadStatistics:
        if self.features != other.features:
            raise StatisticsError(
                f"statistics of {self.features} and of {other.features} features cannot be combined: "
                "they come from different backbones"
            )
        return HeadStatistics(self.gram + other.gram, self.code_sum + other.code_sum, self.count + other.count)

    def equals(self, other: HeadStatistics) -> bool:
        """Whether every integer is the same."""
        return (
            self.count == other.count
            and np.array_equal(self.gram, other.gram)
            and np.array_equal(self.code_sum, other.code_sum)
        )


def total(parts: Iterable[HeadStatistics], features: int) -> HeadStatistics:
    """Return the sum of statistics; zero if there are none.

    Raises `StatisticsError` if they differ in features, or the sum reaches 2^53.
    """
    result = sum(parts, start=HeadStatistics.zero(features))
    if int(np.abs(result.gram).max(initial=0)) >= _LIMIT:
        raise StatisticsError("the statistics of all people together reach 2^53: use fewer bits per code")
    return result
