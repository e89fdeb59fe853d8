"""Sufficient statistics of a closed-form head: integers that people contributed, and the head that follows from them.

They are values. What a forget leaves is the same integers as if the person had never been there, and head and threshold
are functions of these alone: so they are the same, too. The caller must not keep the statistics from before a forget:
the difference is the forgotten person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fleet.heads.acceptance import THRESHOLD_BITS, acceptance_threshold
from fleet.heads.errors import StatisticsError
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
class NodeShare:
    """Share of one node: statistics of the people whom it enrolled."""

    #: Statistics of all these people's samples: one Gram matrix for all of them.
    together: HeadStatistics
    #: By subject tag.
    people: Mapping[str, CodeSum]

    def __post_init__(self) -> None:
        code_sum = sum((p.code_sum for p in self.people.values()), np.zeros_like(self.together.code_sum))
        count = sum(p.count for p in self.people.values())
        if any(not tag or p.count < 1 for tag, p in self.people.items()):
            raise StatisticsError("each person of a share needs a tag and at least one sample")
        if count != self.together.count or not np.array_equal(code_sum, self.together.code_sum):
            raise StatisticsError(
                f"the people of a share ({count} samples) do not add up to its statistics "
                f"({self.together.count} samples)"
            )


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
    def empty(cls, public: PublicCodes) -> SufficientStatistics:
        """Return the statistics of a fleet that knows nobody."""
        return cls(public, HeadStatistics.zero(public.features), {})

    def with_share(self, share: NodeShare) -> SufficientStatistics:
        """Return the statistics with a node's share added; a person may be in several shares.

        Raises `StatisticsError` if its features differ, or sums reach 2^53.
        """
        enrolled = total([self.enrolled, share.together], self.public.features)
        people = dict(self.people)
        for tag, added in share.people.items():
            people[tag] = people[tag] + added if tag in people else added
        return replace(self, enrolled=enrolled, people=people)

    def without(self, tag: str, statistics: HeadStatistics) -> SufficientStatistics:
        """Return the statistics without a person, bitwise as if they had never been enrolled.

        Raises `StatisticsError` if nobody has the tag, or the statistics are not those that were added: nothing is
        forgotten by taking something else away.

        Parameters
        ----------
        tag
            Of the person.
        statistics
            Theirs on all nodes together, recomputed from the captured codes.
        """
        if tag not in self.people:
            raise StatisticsError(f"nobody in the statistics has the tag {tag!r}")
        if not self.people[tag].equals(CodeSum(statistics.code_sum, statistics.count)):
            raise StatisticsError(
                f"the statistics to take away ({statistics.count} samples) are not what was added for {tag!r} "
                f"({self.people[tag].count} samples): recompute them from the captured codes of every node"
            )
        people = {kept: p for kept, p in self.people.items() if kept != tag}
        return replace(self, enrolled=self.enrolled - statistics, people=people)

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
