"""Packed statistics for the closed-form head: integer sums over the captured codes x of one person's samples.

Little-endian: magic, features d, samples and bytes per entry (4 or 8) as uint32; ``sum of x`` as int64 [d]; then the
rows of the upper triangle of ``sum of x x'``, one after the other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

MAGIC = b"RFH1"
HEADER = struct.Struct("<4sIII")


def packed_size(features: int, width: int = 4) -> int:
    """Return the bytes of packed statistics with entries of `width` bytes."""
    return HEADER.size + 8 * features + width * (features * (features + 1) // 2)


def pack(features: int, samples: int, width: int, code_sum: bytes, rows: Iterable[bytes]) -> bytes:
    """Return packed statistics; `rows` are those of the triangle, from the diagonal on."""
    return b"".join([HEADER.pack(MAGIC, features, samples, width), code_sum, *rows])
