"""Stacked bars: what a total is made of, for totals that lie decades apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fleet.report.style import HATCHES, PALETTE, figure_style, panels

#: Shares below this are too thin for a number inside the bar.
_LABELLED_SHARE = 0.09


@dataclass(frozen=True, slots=True)
class StackedBar:
    """One bar."""

    label: str
    parts: Mapping[str, float]  #: component to amount, in one unit for all bars; not negative
    total_label: str  #: the total as text with its unit, written at the end of the bar


@dataclass(frozen=True, slots=True)
class BarPanel:
    """Bars that are compared with each other."""

    title: str
    bars: Sequence[StackedBar]


@figure_style()
def stacked_bars(title: str, bar_panels: Sequence[BarPanel], *, components: Sequence[str], share_of: str) -> Figure:
    """Draw each bar to the same length, cut into the shares of its parts, with its total in words.

    Stacks on a logarithmic axis mislead, and on a linear one the small totals vanish; shares do neither.

    Parameters
    ----------
    components
        Every name of a part, in the order of the stack; its place decides the colour, so that the same component looks
        the same in every figure.
    share_of
        What 100 % is, for the label of the axis, e.g. ``"energy"``.
    """
    present = {name for panel in bar_panels for bar in panel.bars for name in bar.parts}
    looks: dict[str, dict[str, Any]] = {
        name: {"facecolor": PALETTE[i % len(PALETTE)], "hatch": HATCHES[i % len(HATCHES)]}
        for i, name in enumerate(components)
    }
    rows = sum(len(panel.bars) for panel in bar_panels)
    figure, axes = panels(
        title,
        rows=len(bar_panels),
        columns=1,
        width_in=8.4,
        height_in=1.1 + 0.42 * len(bar_panels) + 0.30 * rows,
        sharex=True,
        height_ratios=[len(panel.bars) + 0.6 for panel in bar_panels],
    )
    for axis, panel in zip(axes, bar_panels, strict=True):
        axis.set_title(panel.title)
        axis.grid(visible=False, axis="y")
        for position, bar in enumerate(panel.bars):
            total = sum(bar.parts.values())
            start = 0.0
            for name in components:
                share = 100 * bar.parts.get(name, 0.0) / total if total else 0.0
                axis.barh(position, share, left=start, height=0.72, edgecolor="white", **looks[name])
                if share >= 100 * _LABELLED_SHARE:
                    axis.text(
                        start + share / 2,
                        position,
                        f"{share:.0f}",
                        ha="center",
                        va="center",
                        fontsize=7.5,
                        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
                    )
                start += share
            axis.text(101, position, bar.total_label, va="center", fontsize=8, clip_on=False)
        axis.set_yticks(range(len(panel.bars)), [bar.label for bar in panel.bars])
        axis.set_ylim(len(panel.bars) - 0.5, -0.5)
        axis.tick_params(axis="y", length=0)
        axis.set_xlim(0, 118)
        axis.set_xticks(range(0, 101, 20))
        axis.spines["bottom"].set_bounds(0, 100)
    axes[-1].set_xlabel(f"share of the {share_of} (%); the total stands at the end of the bar")
    handles = [Patch(edgecolor="white", label=name, **looks[name]) for name in components if name in present]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8))
    return figure
