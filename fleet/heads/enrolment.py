"""Sufficient statistics of a closed-form head: integers that people contributed, and the head that follows from them.

They are values, summed anew from what each person contributed. After a forget they are the same integers as if the
person had never been there, and head and threshold are functions of these alone: so they are the same, too. The caller
must not keep the statistics from before a forget: the difference is the forgotten person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.heads.acceptance import THRESHOLD_BITS, acceptance_threshold
from fleet.heads.packing import PackedStatistics, open_packed, sum_packed
from fleet.heads.public import PublicCodes
from fleet.heads.solve import solve_rounded
from fleet.heads.statistics import HeadStatistics, Int64, total

#: Ridge as hundredths of the mean of the Gram matrix' diagonal; floor division keeps it an integer.
RIDGE_PERCENT = 3
#: Fraction bits of a head's codes. Codes are large integers and a full score is 1, so weights are small:
#: under 2^-11 on the faces. int32 holds weights up to 2^-3.
SCALE_BITS = 34


@dataclass(frozen=True, eq=False)
class CodeSum:
    """``sum of x`` and the number of x of one person."""

    #: int64 ``[d]``.
    code_sum: Int64
    #: At least 1.
    count: int

    def __add__(self, other: CodeSum) -> CodeSum:
        return CodeSum(self.code_sum + other.code_sum, self.count + other.count)

    def equals(self, other: CodeSum) -> bool:
        """Whether every integer is the same."""
        return self.count == other.count and np.array_equal(self.code_sum, other.code_sum)


@dataclass(frozen=True, eq=False)
class FleetHead:
    """A solved head, as nodes install it."""

    #: Sorted.
    tags: tuple[str, ...]
    #: int32 [d, K], in the order of `tags`.
    codes: npt.NDArray[np.int32]
    #: A score of ``2^scale_bits`` is what training aimed at for the right person.
    scale_bits: int
    #: Integer score from which a sample is accepted.
    threshold: int

    def digest(self) -> str:
        """Return the SHA-256 of everything in it, as verification reports it (a revision has the contract's)."""
        sha = hashlib.sha256(f"{len(self.tags)} {len(self.codes)} {self.scale_bits} {self.threshold}\n".encode())
        for tag in self.tags:
            sha.update(f"{tag}\n".encode())
        sha.update(np.ascontiguousarray(self.codes, "<i4").tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class SufficientStatistics:
    """Integers of everybody who is enrolled, and the public people."""

    #: Negatives of every head.
    public: PublicCodes
    #: Statistics of all enrolled people together.
    enrolled: HeadStatistics
    #: What each of them contributed, by subject tag.
    people: Mapping[str, CodeSum]

    @classmethod
    def of_packed(cls, public: PublicCodes, packed: Iterable[tuple[str, bytes]]) -> SufficientStatistics:
        """Return the sum of statistics as nodes packed them, by subject tag: of all who are enrolled, and nobody else.

        A person is in it once for each node that took samples of theirs. Consumed one by one. Raises `StatisticsError`
        as `open_packed` and `sum_packed` do.
        """
        people: dict[str, CodeSum] = {}

        def parts() -> Iterator[PackedStatistics]:
            for tag, content in packed:
                part = open_packed(content)
                mine = CodeSum(part.code_sum, part.count)
                people[tag] = people[tag] + mine if tag in people else mine
                yield part

        return cls(public, sum_packed(parts()), people)

    def build(self) -> FleetHead:
        """Solve for everybody enrolled; a function of these statistics alone.

        Raises `HeadError` if rounding cannot be certified, or weights do not fit into int32.
        """
        together = total([self.public.statistics, self.enrolled], self.public.features)
        ridge = max(1, RIDGE_PERCENT * int(together.gram.trace()) // (100 * together.features))
        tags = tuple(sorted(self.people))
        ordered = [self.people[tag] for tag in tags]
        targets = np.zeros((together.features, len(tags)), np.int64)
        for column, person in enumerate(ordered):
            targets[:, column] = person.code_sum
        counts = np.array([person.count for person in ordered], np.int64)
        codes = solve_rounded(together.gram, targets, ridge, SCALE_BITS)
        threshold = acceptance_threshold(together, ridge, targets, counts, self.public)
        return FleetHead(tags, codes, SCALE_BITS, threshold << (SCALE_BITS - THRESHOLD_BITS))

    def equals(self, other: SufficientStatistics) -> bool:
        """Whether every integer of the enrolled people is the same."""
        return (
            self.enrolled.equals(other.enrolled)
            and self.people.keys() == other.people.keys()
            and all(p.equals(other.people[tag]) for tag, p in self.people.items())
        )

    def digest(self) -> str:
        """Return the SHA-256 of the enrolled people's integers."""
        sha = hashlib.sha256(f"{self.enrolled.count}\n".encode())
        sha.update(np.ascontiguousarray(self.enrolled.gram, "<i8").tobytes())
        for tag in sorted(self.people):
            sha.update(f"{tag} {self.people[tag].count}\n".encode())
            sha.update(np.ascontiguousarray(self.people[tag].code_sum, "<i8").tobytes())
        return sha.hexdigest()
