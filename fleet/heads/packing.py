"""Statistics that nodes send, read, checked and added up: `reram_fleet.wire.head_statistics` has the format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from reram_fleet.wire.head_statistics import HEADER, MAGIC, pack, packed_size

from fleet.heads.errors import StatisticsError
from fleet.heads.statistics import HeadStatistics, Int64

#: More features than any backbone has: a sender cannot make the reader allocate at will.
_MAX_FEATURES = 1 << 14
_LIMIT = 1 << 53
_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class PackedStatistics:
    """Checked statistics whose Gram matrix is still packed: what most readers need, without its square."""

    #: How many vectors.
    count: int
    #: int64 [d].
    code_sum: Int64
    #: Rows of the upper triangle of ``sum of x x'``, int32 or int64 [d (d + 1) / 2].
    triangle: npt.NDArray[np.integer]
    #: Magnitude of its largest entry.
    largest: int

    @property
    def features(self) -> int:
        """Length d of a feature vector."""
        return len(self.code_sum)


def open_packed(packed: bytes) -> PackedStatistics:
    """Return what a node packed.

    Raises `StatisticsError` if the bytes are not packed statistics, their length does not fit, an entry reaches 2^53,
    or a diagonal entry is negative: nothing that sums of squares could be.
    """
    if len(packed) < HEADER.size:
        raise StatisticsError(f"{len(packed)} bytes are no packed statistics: the header has {HEADER.size}")
    magic, features, count, width = HEADER.unpack_from(packed)
    if magic != MAGIC or width not in (4, 8) or not 1 <= features <= _MAX_FEATURES:
        raise StatisticsError(f"not packed statistics: magic {magic!r}, {features} features, {width} bytes an entry")
    if len(packed) != packed_size(features, width):
        raise StatisticsError(
            f"packed statistics of {features} features have {packed_size(features, width)} bytes; got {len(packed)}"
        )
    code_sum = np.frombuffer(packed, "<i8", features, HEADER.size).astype(np.int64)
    triangle = np.frombuffer(packed, f"<i{width}", offset=HEADER.size + 8 * features)
    largest = max(int(triangle.max()), -int(triangle.min()))
    if largest >= _LIMIT or (triangle[_diagonal(features)] < 0).any():
        raise StatisticsError("the packed entries are no sums of squares below 2^53")
    return PackedStatistics(count, code_sum, triangle, largest)


def check_possible(statistics: PackedStatistics) -> None:
    """Refuse statistics that no vectors of codes have: with them, no head could be solved for anybody.

    Vectors with sum s have a Gram matrix G for which G - s s'/n is positive semi-definite.

    Raises `StatisticsError` if theirs is not, beyond what rounding explains.
    """
    gram = _squared(statistics.triangle.astype(np.int64), statistics.features).astype(np.float64)
    code_sum = statistics.code_sum.astype(np.float64)
    spread = gram - np.outer(code_sum, code_sum) / max(1, statistics.count)
    # Far below the ridge of a head, far above the rounding of a factorisation.
    spread[np.diag_indices_from(spread)] += 1.0 + _SLACK * gram.trace()
    try:
        np.linalg.cholesky(spread)
    except np.linalg.LinAlgError:
        raise StatisticsError(
            f"the packed entries are no sums of squares of {statistics.count} vectors with this sum"
        ) from None


def sum_packed(parts: Iterable[PackedStatistics]) -> HeadStatistics:
    """Return the sum of at least one packed statistics; consumed one by one, squared once.

    Raises `StatisticsError` if there are none, they differ in features, or the sum reaches 2^53.
    """
    triangle, code_sum, count, bound = np.zeros(0, np.int64), np.zeros(0, np.int64), 0, 0
    for part in parts:
        if not triangle.size:
            triangle, code_sum = part.triangle.astype(np.int64), part.code_sum.copy()
        elif part.features != len(code_sum):
            raise StatisticsError(
                f"statistics of {len(code_sum)} and of {part.features} features cannot be combined: "
                "they come from different backbones"
            )
        else:
            triangle += part.triangle
            code_sum += part.code_sum
        count += part.count
        # No entry is beyond the sum of the largest ones: only if that might be, is it looked at.
        bound += part.largest
        if bound >= _LIMIT and max(int(triangle.max()), -int(triangle.min())) >= _LIMIT:
            raise StatisticsError("the statistics of all people together reach 2^53: use fewer bits per code")
    if not triangle.size:
        raise StatisticsError("there are no statistics to add up")
    return HeadStatistics(_squared(triangle, len(code_sum)), code_sum, count)


def pack_statistics(statistics: HeadStatistics) -> bytes:
    """Return statistics as a node packs them, eight bytes an entry."""
    features = statistics.features
    triangle = statistics.gram[np.triu_indices(features)].astype("<i8")
    return pack(features, statistics.count, 8, statistics.code_sum.astype("<i8").tobytes(), [triangle.tobytes()])


def _diagonal(features: int) -> npt.NDArray[np.int64]:
    """Return where the diagonal's entries are in a packed triangle: row i begins after d + (d - 1) + ..."""
    row = np.arange(features, dtype=np.int64)
    return row * features - row * (row - 1) // 2


def _squared(triangle: Int64, features: int) -> Int64:
    gram = np.zeros((features, features), np.int64)
    start = 0
    for i in range(features):
        row = triangle[start : start + features - i]
        gram[i, i:] = row
        gram[i:, i] = row
        start += features - i
    return gram
