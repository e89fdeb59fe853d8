"""Picture set: drawn by code, the same every time, and what is drawn is not how."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.tasks.pictures import STYLES, THINGS, draw_pictures


def test_pictures_are_the_same_again_and_more_of_them_change_none():
    few, more = draw_pictures(0, 0, 3), draw_pictures(0, 0, 5)

    assert (few.dtype, few.shape) == (np.dtype(np.uint8), (3, 24, 24, 3))
    assert np.array_equal(few, more[:3])


@pytest.mark.parametrize("style", range(len(STYLES)))
@pytest.mark.parametrize("thing", range(len(THINGS)))
def test_every_picture_is_another_one(thing, style):
    pictures = draw_pictures(thing, style, 6).astype(int)

    apart = [np.abs(pictures[i] - pictures[j]).mean() for i in range(6) for j in range(i)]
    assert min(apart) > 2


def test_styles_differ_by_how_they_draw():
    def mean(style):
        return np.mean([draw_pictures(thing, STYLES.index(style), 4).mean() for thing in range(len(THINGS))])

    # Night is dark and an outline mostly paper; stones are squares of two pixels of one colour each.
    assert mean("night") < 80 < 180 < mean("outline")
    mosaic = draw_pictures(0, STYLES.index("mosaic"), 2)
    assert np.array_equal(mosaic[:, ::2, ::2], mosaic[:, 1::2, 1::2])
    outline = draw_pictures(0, STYLES.index("outline"), 4).astype(int)
    assert (outline.max(axis=3) - outline.min(axis=3)).max() < 80
