"""Grids of small pictures in colour: samples of a generator, one row per thing that it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from fleet.errors import InvalidInputError
from fleet.report.style import figure_style, panels

_PICTURE_IN, _LABEL_IN, _GAP = 0.42, 1.5, 1


@dataclass(frozen=True, eq=False, slots=True)
class PictureRow:
    """Pictures that belong together."""

    label: str
    pictures: np.ndarray  #: colour levels 0 to 255, uint8 ``[count, side, side, 3]``


@dataclass(frozen=True, eq=False, slots=True)
class GridPanel:
    """Rows under one heading."""

    title: str
    rows: Sequence[PictureRow]


@figure_style()
def sample_grid(title: str, grid_panels: Sequence[GridPanel], *, columns: int = 12) -> Figure:
    """Draw panels of pictures below each other, the first pictures of each row.

    Raises `InvalidInputError` if there is nothing to draw, or pictures differ in size.

    Parameters
    ----------
    grid_panels
        From top to bottom; all pictures have the same size.
    columns
        Pictures per row at most.
    """
    rows = [row for panel in grid_panels for row in panel.rows]
    sizes = {row.pictures.shape[1:] for row in rows}
    if len(sizes) != 1 or any(row.pictures.ndim != 4 or not len(row.pictures) for row in rows):
        raise InvalidInputError(
            f"cannot draw a grid of pictures of sizes {sorted(sizes)}",
            hint="Give rows of at least one picture [count, side, side, 3], all of one size.",
        )
    shown = min(columns, max(len(row.pictures) for row in rows))
    figure, axes = panels(
        title,
        rows=len(grid_panels),
        columns=1,
        width_in=_LABEL_IN + _PICTURE_IN * shown,
        height_in=0.5 + sum(0.3 + _PICTURE_IN * len(panel.rows) for panel in grid_panels),
        height_ratios=[len(panel.rows) for panel in grid_panels],
    )
    for axis, panel in zip(axes, grid_panels, strict=True):
        canvas = _canvas([row.pictures[:shown] for row in panel.rows], shown)
        axis.imshow(canvas, interpolation="nearest")
        axis.set_title(panel.title)
        axis.grid(visible=False)
        axis.spines[["left", "bottom"]].set_visible(False)
        height = canvas.shape[0] / len(panel.rows)
        axis.set_yticks(
            [(index + 0.5) * height - 0.5 for index in range(len(panel.rows))], [row.label for row in panel.rows]
        )
        axis.set_xticks([])
        axis.tick_params(length=0)
    return figure


def _canvas(rows: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Lay rows of pictures out on white, a thin line apart."""
    height, width, channels = rows[0].shape[1:]
    canvas = np.full((len(rows) * (height + _GAP), columns * (width + _GAP), channels), 255, np.uint8)
    for top, pictures in enumerate(rows):
        for left, picture in enumerate(pictures):
            y, x = top * (height + _GAP), left * (width + _GAP)
            canvas[y : y + height, x : x + width] = picture
    return canvas
