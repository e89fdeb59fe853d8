"""Tornado: how far a result moves when one number at a time goes to the ends of its range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fleet.report.style import PALETTE, REFERENCE_COLOUR, figure_style, panels, plain_log_axis

_LOW_COLOUR, _HIGH_COLOUR = PALETTE[0], PALETTE[4]


@dataclass(frozen=True, slots=True)
class Swing:
    """One number and what its range does to the result."""

    name: str
    at_low: float  #: the result with the number at its low end, all others as they are; above 0
    at_high: float
    low_label: str  #: the end of the range as text
    high_label: str

    @property
    def factor(self) -> float:
        """Larger result over smaller one."""
        return max(self.at_low, self.at_high) / min(self.at_low, self.at_high)


@dataclass(frozen=True, slots=True)
class TornadoPanel:
    """The swings of one result."""

    title: str
    nominal: float  #: its value with every number as it is
    swings: Sequence[Swing]
    reference: float | None = None  #: a published value to mark
    reference_label: str = ""


@figure_style()
def tornado(title: str, tornado_panels: Sequence[TornadoPanel], *, axis_label: str, longest: int = 10) -> Figure:
    """Draw the `longest` largest swings of each result, largest on top, on a logarithmic axis.

    Every panel has its own axis.
    """
    shown = [
        sorted((s for s in panel.swings if s.factor > 1.0005), key=lambda s: -s.factor)[:longest]
        for panel in tornado_panels
    ]
    figure, axes = panels(
        title,
        rows=len(tornado_panels),
        columns=1,
        width_in=8.4,
        height_in=0.8 + sum(0.95 + 0.27 * len(swings) for swings in shown),
        height_ratios=[len(swings) + 1.5 for swings in shown],
    )
    for axis, panel, swings in zip(axes, tornado_panels, shown, strict=True):
        axis.set_title(panel.title)
        axis.set_xscale("log")
        axis.grid(visible=False, axis="y")
        for position, swing in enumerate(swings):
            ends = ((swing.at_low, swing.low_label, _LOW_COLOUR), (swing.at_high, swing.high_label, _HIGH_COLOUR))
            for end, text, colour in ends:
                axis.barh(position, end - panel.nominal, left=panel.nominal, height=0.66, color=colour)
                right = end > panel.nominal or (end == panel.nominal and min(swing.at_low, swing.at_high) < end)
                axis.annotate(
                    text,
                    (end, position),
                    xytext=(3 if right else -3, 0),
                    textcoords="offset points",
                    ha="left" if right else "right",
                    va="center",
                    fontsize=7,
                    bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"},
                )
        axis.axvline(panel.nominal, color="#1B1F24", linewidth=1.0)
        if panel.reference is not None:
            axis.axvline(
                panel.reference, color=REFERENCE_COLOUR, linewidth=1.3, linestyle="--", label=panel.reference_label
            )
            axis.legend(loc="lower right")
        ends_of_all = [end for s in swings for end in (s.at_low, s.at_high)]
        ends_of_all += [panel.nominal] + ([] if panel.reference is None else [panel.reference])
        # Room for the texts at both ends.
        room = (max(ends_of_all) / min(ends_of_all)) ** 0.12 * 1.05
        left, right_end = min(ends_of_all) / room, max(ends_of_all) * room
        axis.set_xlim(left, right_end)
        plain_log_axis(axis.xaxis, left, right_end)
        axis.set_yticks(range(len(swings)), [swing.name for swing in swings])
        axis.set_ylim(len(swings) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel(axis_label)
    figure.legend(
        handles=[
            Patch(color=_LOW_COLOUR, label="number at the low end of its range"),
            Patch(color=_HIGH_COLOUR, label="at the high end"),
            Line2D([], [], color="#1B1F24", linewidth=1.0, label="all numbers nominal"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    return figure
