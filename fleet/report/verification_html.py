"""A verification report as one HTML page with its plots inside: nothing to fetch, nothing to run.

Takes the document of `fleet verify` (kind ``VerificationReport``). The plots show numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from fleet.report.curves import Curve, CurvePanel, Mark, curves
from fleet.report.style import PALETTE, REFERENCE_COLOUR, figure_style, panels, svg_element

Document = Mapping[str, Any]

#: Figures of a pair that are drawn, and their headings.
_BY_PERSON = (
    ("attack_auc", "Loss attack (AUC)"),
    ("forget_loss", "Loss on the person"),
    ("forget_entropy", "Entropy on the person (nats)"),
    ("called_non_member", "Confidence attack: called non-member"),
)
_MODELS = ("original", "repaired", "retrained")
_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #222 }
table { border-collapse: collapse; table-layout: fixed; width: 100%; margin: .5rem 0 1.5rem }
th, td { box-sizing: border-box; text-align: left; vertical-align: top; padding: .25rem .6rem;
  border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { width: 37% } th:nth-child(2) { width: 8% } th:nth-child(3) { width: 17% }
th:nth-child(4) { width: 10% } th:nth-child(5) { width: 19% } th:nth-child(6) { width: 9% }
.holds { color: #00664b } .fails { color: #a00000; font-weight: 600 }
code { font-size: .85em } svg { max-width: 100%; height: auto }
"""
_FOOTNOTE = (
    "Intervals are exact (Clopper and Pearson, 95 %) and count samples, not answers of several chips to one "
    "sample. EXACT rests on equal digests alone; a shared LoRA is never exact, and is held against a model "
    "that was trained without the person. MASKED is of what the crossbars know: taking the eraser off brings it back."
)


def verification_figures(document: Document) -> dict[str, Figure]:
    """Return the plots of a report, by name: rates with their intervals, and each person's figures.

    A report without approximate kinds has none.
    """
    figures = {}
    for number, evidence in enumerate(document["approximate"]):
        verdict = document["verdicts"][len(document["exact"]) + number]
        figures[f"rates-{number}"] = _rates(f"{evidence['kind']}, {evidence['method']}", verdict["lines"])
        figures[f"people-{number}"] = _people(evidence)
    return figures


def verification_html(document: Document) -> str:
    """Return the page; equal documents give equal bytes."""
    heading = f"Verification of forgetting: {escape(str(document['task']))}"
    holds = document["holds"]
    parts = [
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>',
        f"<style>{_CSS}</style></head><body>\n<h1>{heading}</h1>",
        f'<p class="{"holds" if holds else "fails"}">{_summary(document)}</p>',
    ]
    evidence = [*document["exact"], *document["approximate"], *document["masked"]]
    for verdict, found in zip(document["verdicts"], evidence, strict=True):
        parts.append(_verdict(verdict, found))
    if figures := verification_figures(document):
        parts.append("<h2>Plots</h2>")
        parts += [svg_element(figure) for figure in figures.values()]
    parts.append(_pairs("Scores", document["scores"], _plain))
    parts.append(_pairs("Energy", document["energy_j"], _joules))
    parts.append(f"<p>Cell writes: {int(document['cell_writes'])}. {_FOOTNOTE}</p>\n</body></html>\n")
    return "\n".join(parts)


def _summary(document: Document) -> str:
    if document["holds"]:
        return "Every kind of adapter has forgotten; no cell was written."
    open_kinds = [v["kind"] for v in document["verdicts"] if v["escalation"] != "nothing to do"]
    return "Does not hold: " + escape(", ".join(open_kinds) or f"{document['cell_writes']} cells were written")


def _verdict(verdict: Document, evidence: Document) -> str:
    method = f" ({escape(verdict['method'])})" if verdict["method"] else ""
    failed = [escape(line["name"]) for line in verdict["lines"] if line["passed"] is False]
    rows = "".join(_line(line) for line in verdict["lines"])
    digests = "<br>".join(
        f"{name}: <code>{escape(evidence[key])}</code>"
        for name, key in (("Digest found", "digest"), ("Never enrolled", "never_enrolled"))
        if key in evidence
    )
    return (
        f"<h2>{escape(verdict['kind'])}{method}: "
        f'<span class="{"fails" if failed else "holds"}">{escape(verdict["verdict"])}</span></h2>\n'
        + (f'<p class="fails">Failed: {"; ".join(failed)}.</p>\n' if failed else "")
        + f"<p>What follows: {escape(verdict['escalation'])}.</p>\n"
        + (f"<p>{digests}</p>\n" if digests else "")
        + "<table><thead><tr><th>Line</th><th>Value</th><th>95 % interval</th><th>Reference</th>"
        f"<th>Limit</th><th></th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _line(line: Document) -> str:
    interval = line["interval"]
    cells = [
        escape(line["name"]),
        _number(line["value"]),
        f"{interval['low']:.3f} to {interval['high']:.3f}" if interval else "",
        _number(line["reference"]),
        escape(line["limit"]),
    ]
    word, css = {True: ("holds", "holds"), False: ("FAILS", "fails"), None: ("informs", "")}[line["passed"]]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + f'<td class="{css}">{word}</td></tr>\n'


def _pairs(title: str, values: Mapping[str, float], text: Callable[[float], str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{text(value)}</td></tr>" for name, value in values.items())
    return f"<h2>{title}</h2>\n<table><tbody>{rows}</tbody></table>" if rows else ""


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _joules(value: float) -> str:
    return EngFormatter("J", places=2)(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


@figure_style()
def _rates(title: str, lines: Sequence[Document]) -> Figure:
    """Draw each rate with its exact interval, beside the retrained reference."""
    rates = [line for line in lines if line["interval"] and line["passed"] is not None]
    figure, (axis,) = panels(title, rows=1, columns=1, width_in=8.4, height_in=1.2 + 0.32 * len(rates))
    axis.grid(visible=False, axis="y")
    for place, line in enumerate(rates):
        colour = PALETTE[1] if line["passed"] is False else PALETTE[0]
        axis.plot([line["interval"]["low"], line["interval"]["high"]], [place] * 2, color=colour, linewidth=2)
        axis.plot(line["value"], place, "o", color=colour, markersize=5)
        if line["reference"] is not None:
            axis.plot(line["reference"], place, "|", color=REFERENCE_COLOUR, markersize=13, markeredgewidth=2)
    axis.set_yticks(range(len(rates)), [line["name"] for line in rates])
    axis.set_ylim(len(rates) - 0.5, -0.5)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("share of samples")
    figure.legend(
        handles=[
            Line2D([], [], color=PALETTE[0], marker="o", label="after the forget, exact 95 % interval"),
            Line2D([], [], color=PALETTE[1], marker="o", label="the same, limit not met"),
            Line2D([], [], color=REFERENCE_COLOUR, marker="|", linestyle="none", label="retrained without"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    return figure


def _people(evidence: Document) -> Figure:
    """Draw each forgotten person's figures for the three models."""
    drawn = []
    places = list(range(1, len(evidence["pairs"]) + 1))
    for name, title in _BY_PERSON:
        lines = [
            Curve(model, places, [_value(pair[model][name]) for pair in evidence["pairs"]], Mark.POINTS)
            for model in _MODELS
        ]
        ticks = [(float(place), str(place)) for place in places]
        drawn.append(CurvePanel(title, "forgotten person", "", lines, x_ticks=ticks))
    return curves(f"{evidence['kind']}, {evidence['method']}: person by person", drawn)


def _value(figure: Any) -> float:
    """Return a number, or a rate's share."""
    if isinstance(figure, Mapping):
        return float(figure["hits"] / figure["total"]) if figure["total"] else 0.0
    return float(figure)
