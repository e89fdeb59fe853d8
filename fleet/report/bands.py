"""Bands: where results fall when every number is drawn from its range, beside a published value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fleet.report.style import PALETTE, REFERENCE_COLOUR, figure_style, panels, plain_log_axis

_SPREAD_COLOUR = "#B8D4E8"
_REFERENCE: dict[str, Any] = {"color": REFERENCE_COLOUR, "linewidth": 1.3, "linestyle": "--"}
_MEDIAN: dict[str, Any] = {"color": PALETTE[0], "linewidth": 2}
_NOMINAL: dict[str, Any] = {"color": PALETTE[1], "marker": "D", "markersize": 5, "linestyle": "none"}


@dataclass(frozen=True, slots=True)
class Band:
    """One result over all draws."""

    label: str
    nominal: float  #: with every number as it is
    low: float  #: percentile 5 of the draws; `high` is percentile 95
    median: float
    high: float
    note: str = ""  #: text at the right end, e.g. the share of draws near the published value.


@dataclass(frozen=True, slots=True)
class BandPanel:
    """Bands that are compared with one published value."""

    title: str
    reference: float  #: the published value
    reference_label: str
    tolerance: float  #: half width, as a share, of the shaded strip around it
    bands: Sequence[Band]  #: from top to bottom; at least one


@figure_style()
def bands(panel: BandPanel, *, axis_label: str) -> Figure:
    """Draw 5 to 95 % of the draws, the median and the nominal value, on a logarithmic axis."""
    figure, (axis,) = panels(panel.title, rows=1, columns=1, width_in=8.8, height_in=1.5 + 0.25 * len(panel.bands))
    axis.set_xscale("log")
    axis.grid(visible=False, axis="y")
    near = [panel.reference * (1 - panel.tolerance), panel.reference * (1 + panel.tolerance)]
    axis.axvspan(*near, color=REFERENCE_COLOUR, alpha=0.15, linewidth=0)
    axis.axvline(panel.reference, **_REFERENCE)
    for position, band in enumerate(panel.bands):
        axis.barh(position, band.high - band.low, left=band.low, height=0.5, color=_SPREAD_COLOUR)
        axis.plot([band.median] * 2, [position - 0.25, position + 0.25], **_MEDIAN)
        axis.plot(band.nominal, position, **_NOMINAL)
        axis.annotate(
            band.note,
            (1.0, position),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    shown = [*near, *(end for band in panel.bands for end in (band.low, band.high, band.nominal))]
    left, right = min(shown) / 1.3, max(shown) * 1.3
    axis.set_xlim(left, right)
    plain_log_axis(axis.xaxis, left, right)
    axis.set_xlabel(axis_label)
    axis.set_yticks(range(len(panel.bands)), [band.label for band in panel.bands])
    axis.set_ylim(len(panel.bands) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    figure.legend(
        handles=[
            Line2D([], [], label=panel.reference_label, **_REFERENCE),
            Patch(color=_SPREAD_COLOUR, label="5 to 95 % of the draws"),
            Line2D([], [], label="median", **_MEDIAN),
            Line2D([], [], label="nominal", **_NOMINAL),
        ],
        loc="outside lower center",
        ncols=4,
    )
    return figure
