"""Pareto fronts: which settings no other one beats in two figures at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from fleet.report.style import PALETTE, figure_style, panels, plain_log_axis

#: Values that are this far apart need a logarithmic axis.
_DECADES = 30.0


@dataclass(frozen=True, slots=True)
class Axis:
    """One of the two figures."""

    label: str
    #: Whether more of it is better.
    more: bool
    #: Text of a value.
    text: Callable[[float], str]


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """Setting, and what came of it: means over seeds, with their spreads (0 for one seed)."""

    label: str
    x: float
    y: float
    x_spread: float = 0.0
    y_spread: float = 0.0


def front(points: Sequence[ParetoPoint], x: Axis, y: Axis) -> list[ParetoPoint]:
    """Return the points that no other one beats: at least as good in both figures, and better in one."""

    def good(point: ParetoPoint) -> tuple[float, float]:
        return point.x if x.more else -point.x, point.y if y.more else -point.y

    def beaten(point: ParetoPoint) -> bool:
        mine = good(point)
        return any(a >= mine[0] and b >= mine[1] and (a, b) != mine for a, b in map(good, points))

    return sorted((point for point in points if not beaten(point)), key=lambda point: point.x)


@figure_style()
def pareto(points: Sequence[ParetoPoint], x: Axis, y: Axis) -> Figure:
    """Draw points with their labels, and a line through those that no other one beats."""
    figure, (axis,) = panels("", rows=1, columns=1, width_in=5.6, height_in=3.8)
    best = front(points, x, y)
    axis.plot([p.x for p in best], [p.y for p in best], color=PALETTE[2], linewidth=1.6, linestyle="--", zorder=1)
    for point in points:
        axis.errorbar(
            point.x,
            point.y,
            xerr=point.x_spread or None,
            yerr=point.y_spread or None,
            fmt="o" if point in best else "s",
            color=PALETTE[2] if point in best else PALETTE[6],
            markersize=6,
            capsize=2,
            linewidth=1.0,
        )
        axis.annotate(point.label, (point.x, point.y), xytext=(6, 5), textcoords="offset points", fontsize=8)
    for own, values, scale, this in (
        (axis.xaxis, [point.x for point in points], axis.set_xscale, x),
        (axis.yaxis, [point.y for point in points], axis.set_yscale, y),
    ):
        if min(values) > 0 and max(values) > _DECADES * min(values):
            scale("log")
            plain_log_axis(own, min(values) / 1.5, max(values) * 1.5)
        own.set_major_formatter(FuncFormatter(_tick(this.text)))
    axis.margins(0.16)
    axis.set_xlabel(f"{x.label} ({'more' if x.more else 'less'} is better)")
    axis.set_ylabel(f"{y.label} ({'more' if y.more else 'less'} is better)")
    figure.legend(
        handles=[
            Line2D([], [], color=PALETTE[2], marker="o", linestyle="--", label="beaten by none"),
            Line2D([], [], color=PALETTE[6], marker="s", linestyle="none", label="another is better in both"),
        ],
        loc="outside lower center",
        ncols=2,
    )
    return figure


def _tick(text: Callable[[float], str]) -> Callable[[float, int | None], str]:
    return lambda value, _: text(value)
