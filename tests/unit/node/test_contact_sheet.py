"""Contact sheets: a PNG that other programs read."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from edge_node.generation.contact_sheet import contact_sheet


def test_pictures_lie_side_by_side_enlarged_and_eight_to_a_row():
    levels = np.arange(9 * 2 * 3 * 3).reshape(9, 2, 3, 3).astype(np.uint8)

    with Image.open(BytesIO(contact_sheet(levels))) as image:
        sheet = np.asarray(image)

    assert sheet.shape == (2 * 12, 8 * 16, 3)
    assert np.array_equal(sheet[:8:4, :12:4], levels[0])
    assert np.array_equal(sheet[:8:4, 16:28:4], levels[1])
    assert np.array_equal(sheet[12:20:4, :12:4], levels[8])
    assert (sheet[12:, 16:] == 255).all()
