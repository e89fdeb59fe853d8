"""Plot and page of the paper's protocol, from the document of `fleet paper run` (kind ``PaperProtocol``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fleet.report.style import PALETTE, REFERENCE_COLOUR, figure_style, panels

Document = Mapping[str, Any]

#: Arms, their names and how they are drawn.
ARMS = {"published": "ours, as published", "honest": "ours, honest"}
_LOOKS = {"published": (PALETTE[0], "o", -0.17), "honest": (PALETTE[2], "s", 0.17)}
_STRIP_BACKGROUND = "#FBE3D6"


@figure_style()
def paper_figure(document: Document) -> Figure:
    """Draw all shares of the table: means, their range over seeds, the paper's figures; strip tests shaded."""
    sections = document["sections"]
    rows = [row for row in sections[0]["rows"] if row["share"]]
    seeds = len(document["seeds"])
    figure, axes = panels(
        f"The protocol of {document['paper']}, {document['task']}: mean and range, {seeds} "
        f"seed{'s' if seeds > 1 else ''}",
        rows=1,
        columns=len(sections),
        width_in=4.4 + 3.4 * len(sections),
        height_in=1.6 + 0.42 * len(rows),
        sharey=True,
    )
    for axis, section in zip(axes, sections, strict=True):
        axis.set_title(section["title"])
        for position, row in enumerate(r for r in section["rows"] if r["share"]):
            if row["strip"]:
                axis.axhspan(position - 0.5, position + 0.5, color=_STRIP_BACKGROUND, zorder=0)
            for arm, (colour, mark, offset) in _LOOKS.items():
                spread, at = row[arm], position + offset
                axis.plot([spread["low"], spread["high"]], [at, at], color=colour, linewidth=2)
                axis.plot([spread["mean"]], [at], color=colour, marker=mark, linestyle="none", clip_on=False)
            if row["paper"] is not None:
                axis.plot(
                    [row["paper"]], [position], color=REFERENCE_COLOUR, marker="x", linestyle="none", markersize=8
                )
        axis.set_xlim(-0.02, 1.02)
        axis.set_xlabel("share of the tests")
    axes[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.legend(handles=_legend(rows), loc="outside lower center", ncols=4)
    return figure


def paper_page(document: Document, picture: str) -> str:
    """Return the outcome as a page of Markdown; equal documents give equal text."""
    parts = [
        f"# The protocol of {document['paper']}, {document['task']}",
        "",
        f"Seeds {', '.join(map(str, document['seeds']))}: mean (lowest to highest). "
        + (f"Data: {'; '.join(document['data'])}. " if document["data"] else "")
        + f"Made by `fleet paper run --task {document['task']}`.",
        "",
        "## What follows",
        "",
        *(f"- {finding}." for finding in document["findings"]),
    ]
    for section in document["sections"]:
        parts += ["", f"## {section['title'][0].upper()}{section['title'][1:]}", "", _table(section["rows"])]
    parts += ["", f"![Shares of the table]({picture})", "", "A dash: no figure of the paper is at hand.", ""]
    parts += ["## Where ours differs from the paper's", "", *(f"- {text}." for text in document["differences"])]
    return "\n".join(parts) + "\n"


def paper_cell(row: Document) -> str:
    """Return what the paper has of a row: a figure, nothing at hand, or that the test was not made."""
    if row["paper"] is not None:
        return f"{row['paper']:.3f}"
    return "not tested" if row["strip"] else "-"


def arm_cell(row: Document, arm: str) -> str:
    """Return mean and range over seeds of a row's arm."""
    spread, digits = row[arm], 3 if row["share"] else 2
    mean = f"{spread['mean']:.{digits}f}"
    if len(spread["seeds"]) == 1:
        return mean
    return f"{mean} ({spread['low']:.{digits}f} to {spread['high']:.{digits}f})"


def _table(rows: Sequence[Document]) -> str:
    lines = [f"| | paper | {' | '.join(ARMS.values())} |", "|---|---|---|---|"]
    for row in rows:
        name = f"**{row['name']}**" if row["strip"] else row["name"]
        source = f" ({row['paper_source']})" if row["paper_source"] else ""
        cells = [name, paper_cell(row) + source, *(arm_cell(row, arm) for arm in ARMS)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _legend(rows: Sequence[Document]) -> list[Line2D]:
    handles = [Line2D([], [], color=colour, marker=mark, label=ARMS[arm]) for arm, (colour, mark, _) in _LOOKS.items()]
    if any(row["paper"] is not None for row in rows):
        handles.append(Line2D([], [], color=REFERENCE_COLOUR, marker="x", linestyle="none", label="paper"))
    handles.append(
        Line2D([], [], color=_STRIP_BACKGROUND, marker="s", markersize=9, linestyle="none", label="strip test")
    )
    return handles
