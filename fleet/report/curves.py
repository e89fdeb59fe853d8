"""Curves: one quantity over another, models beside measurements or simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fleet.report.style import PALETTE, figure_style, panels, plain_log_axis

_MARKERS = ("o", "s", "^", "D", "v", "P")


class Mark(StrEnum):
    """Look of a curve."""

    LINE = "line"
    DASHED = "dashed"
    DOTTED = "dotted"
    POINTS = "points"
    LINE_AND_POINTS = "line-and-points"


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve."""

    label: str  #: its name; the same name in several panels has one colour and one entry of the legend
    x: Sequence[float]
    y: Sequence[float]
    mark: Mark = Mark.LINE
    y_low: Sequence[float] | None = None  #: end of a shaded band around it (tolerance, spread)
    y_high: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class CurvePanel:
    """Curves on common axes."""

    title: str
    x_label: str  #: with unit
    y_label: str
    curves: Sequence[Curve]
    x_log: bool = False
    y_log: bool = False
    x_ticks: Sequence[tuple[float, str]] | None = None  #: positions and texts of the ticks; matplotlib's own if None
    y_range: tuple[float, float] | None = None  #: ends of the y axis; what fits if None
    x_range: tuple[float, float] | None = None  #: ends of the x axis; what fits if None
    y_whole: bool = False  #: whether ticks of the y axis are whole numbers
    y_tick: Callable[[float], str] | None = None  #: text of a tick of the y axis; matplotlib's own if None


@figure_style()
def curves(title: str, curve_panels: Sequence[CurvePanel], *, columns: int = 2, shared_legend: bool = True) -> Figure:
    """Draw panels of curves.

    Parameters
    ----------
    curve_panels
        Filled in row by row.
    columns
        Panels beside each other at most.
    shared_legend
        One legend below all panels; else each panel has its own, with colours of its own.
    """
    columns = min(columns, len(curve_panels))
    rows = -(-len(curve_panels) // columns)
    longest = max(len(panel.curves) for panel in curve_panels)
    legend_in = 0.35 if shared_legend else 0.2 * -(-longest // 2)
    figure, axes = panels(
        title, rows=rows, columns=columns, width_in=max(5.6, 4.3 * columns), height_in=0.55 + 2.9 * rows + legend_in
    )
    names = list(dict.fromkeys(curve.label for panel in curve_panels for curve in panel.curves))
    handles: dict[str, Artist] = {}
    for axis, panel in zip(axes, curve_panels, strict=False):
        axis.set_title(panel.title)
        axis.set_xlabel(panel.x_label)
        axis.set_ylabel(panel.y_label)
        if panel.x_log:
            axis.set_xscale("log")
        if panel.y_log:
            axis.set_yscale("log")
        for place, curve in enumerate(panel.curves):
            number = names.index(curve.label) if shared_legend else place
            colour = PALETTE[number % (len(PALETTE) - 1)]
            if curve.y_low is not None and curve.y_high is not None:
                axis.fill_between(curve.x, curve.y_low, curve.y_high, color=colour, alpha=0.15, linewidth=0)
            (line,) = axis.plot(
                curve.x,
                curve.y,
                color=colour,
                label=curve.label,
                linestyle={Mark.DASHED: "--", Mark.DOTTED: ":", Mark.POINTS: "none"}.get(curve.mark, "-"),
                marker=_MARKERS[number % len(_MARKERS)] if curve.mark in (Mark.POINTS, Mark.LINE_AND_POINTS) else None,
                markersize=4,
                linewidth=1.6,
            )
            handles.setdefault(curve.label, line)
        if panel.x_ticks is not None:
            axis.set_xticks([at for at, _ in panel.x_ticks], [text for _, text in panel.x_ticks])
            axis.minorticks_off()
        elif panel.x_log:
            plain_log_axis(axis.xaxis, *axis.get_xlim())
        if panel.y_range is not None:
            axis.set_ylim(*panel.y_range)
        if panel.x_range is not None:
            axis.set_xlim(*panel.x_range)
        if panel.y_log:
            plain_log_axis(axis.yaxis, *axis.get_ylim())
        if panel.y_whole:
            axis.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        if panel.y_tick is not None:
            axis.yaxis.set_major_formatter(FuncFormatter(_tick(panel.y_tick)))
        if not shared_legend:
            axis.legend(loc="upper left", bbox_to_anchor=(0.0, -0.17), ncols=2, borderaxespad=0.0)
    for unused in axes[len(curve_panels) :]:
        unused.set_visible(False)
    if shared_legend:
        figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=min(len(handles), 2 * columns))
    return figure


def _tick(text: Callable[[float], str]) -> Callable[[float, int | None], str]:
    return lambda value, _: text(value)
