"""Contact sheet of pictures as a PNG file, for which a device needs no library."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np

#: Pixels of the sheet for one of a picture, pictures side by side, and pixels between them.
_ENLARGED, _COLUMNS, _GAP = 4, 8, 4


def contact_sheet(levels: np.ndarray) -> bytes:
    """Return pictures, colour levels uint8 ``[count, rows, columns, 3]``, at least one, as the bytes of one PNG."""
    large = levels.repeat(_ENLARGED, axis=1).repeat(_ENLARGED, axis=2)
    count, height, width, channels = large.shape
    columns = min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + _GAP), columns * (width + _GAP), channels), 255, np.uint8)
    for number, picture in enumerate(large):
        top, left = number // columns * (height + _GAP), number % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = picture
    # Every line starts with its filter: none.
    lines = np.concatenate([np.zeros((len(sheet), 1), np.uint8), sheet.reshape(len(sheet), -1)], axis=1)
    header = struct.pack(">IIBBBBB", sheet.shape[1], sheet.shape[0], 8, 2, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(lines.tobytes())),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
