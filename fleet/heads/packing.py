"""Reading the statistics that nodes send: `edge_node.adapters.head_share` has the format."""

from __future__ import annotations

import struct

import numpy as np

from fleet.heads.errors import StatisticsError
from fleet.heads.statistics import HeadStatistics

MAGIC = b"RFH1"
_HEADER = struct.Struct("<4sIII")

#: More features than any backbone has: a sender cannot make the reader allocate at will.
_MAX_FEATURES = 1 << 14
_LIMIT = 1 << 53


def packed_size(features: int, width: int = 4) -> int:
    """Return the bytes of packed statistics with entries of `width` bytes."""
    return _HEADER.size + 8 * features + width * (features * (features + 1) // 2)


def unpack_statistics(packed: bytes) -> HeadStatistics:
    """Return statistics from what a node packed.

    Raises
    ------
    StatisticsError
        If the bytes are not packed statistics, their length does not fit, an entry reaches 2^53, or a
        diagonal entry is negative: nothing that sums of squares could be.
    """
    if len(packed) < _HEADER.size:
        raise StatisticsError(f"{len(packed)} bytes are no packed statistics: the header has {_HEADER.size}")
    magic, features, count, width = _HEADER.unpack_from(packed)
    if magic != MAGIC or width not in (4, 8) or not 1 <= features <= _MAX_FEATURES:
        raise StatisticsError(
            f"not packed statistics: magic {magic!r}, {features} features, {width} bytes an entry"
        )
    if len(packed) != packed_size(features, width):
        raise StatisticsError(
            f"packed statistics of {features} features have {packed_size(features, width)} bytes; "
            f"got {len(packed)}"
        )
    code_sum = np.frombuffer(packed, "<i8", features, _HEADER.size).astype(np.int64)
    entries = np.frombuffer(packed, f"<i{width}", offset=_HEADER.size + 8 * features)
    gram = np.zeros((features, features), np.int64)
    start = 0
    for i in range(features):
        row = entries[start : start + features - i]
        gram[i, i:] = row
        gram[i:, i] = row
        start += features - i
    if (
        int(gram.max(initial=0)) >= _LIMIT
        or int(gram.min(initial=0)) <= -_LIMIT
        or (gram.diagonal() < 0).any()
    ):
        raise StatisticsError("the packed entries are no sums of squares below 2^53")
    return HeadStatistics(gram, code_sum, count)
