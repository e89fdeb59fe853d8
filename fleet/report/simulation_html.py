"""Runs and sweeps of the simulator as one HTML page with its plots inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean, stdev
from typing import Any

from fleet.metrics.definitions import Unit
from fleet.report.page import html_page, prose
from fleet.report.pareto import Axis, ParetoPoint, pareto
from fleet.report.quantities import signed_text, text_of
from fleet.report.simulation_plots import plot_figure, run_plots
from fleet.report.style import svg_element
from fleet.report.sweep_plots import LEAST_DIFFERENCE, Response, response_figure, responses, values_label

Document = Mapping[str, Any]

_MODELLED = (
    "The fleet is simulated: its coordinator, nodes and engines are those of a deployment, time and links are not. "
    "Joules, seconds and wear of chips are what the energy model says of what was done; nothing is measured."
)
#: Pairs of figures that pull against each other: of those in which a sweep's points differ, a front is drawn.
_FRONTS = (
    ("serving_behind_share", "serving_share"),
    ("suppressed_last_s", "serving_share"),
    ("joules_train", "enrolled_accuracy"),
    ("joules_train", "round_accuracy"),
    ("joules", "enrolled_accuracy"),
    ("joules_per_forget", "enrolled_accuracy"),
    ("joules_per_forget", "exact_share"),
    ("messages", "suppressed_last_s"),
    ("joules", "suppressed_last_s"),
)
_MOST_FRONTS = 4


def simulation_html(runs: Sequence[Document], sweeps: Sequence[Document]) -> str:
    """Return the page; equal documents give equal bytes.

    Parameters
    ----------
    runs
        Records of runs with texts, ``figures`` and ``tables``, as `fleet sim report` reads them.
    sweeps
        Records of sweeps with ``points``, each of which has ``values``, and the figures of its ``runs``.
    """
    titles = list(dict.fromkeys(str(each["title"]) for each in (*sweeps, *runs)))
    parts = [f'<p class="quiet">{escape(_MODELLED)}</p>', *map(_sweep, sweeps), *map(_run, runs)]
    return html_page(titles[0] if len(titles) == 1 else "Simulations", parts)


def _run(run: Document) -> str:
    state = "" if run["state"] == "finished" else f", {run['state']} at {text_of(run['now_s'], Unit.SECONDS)}"
    facts = (
        f"{run['name']}, seed {run['seed']}, {text_of(run['duration_s'], Unit.SECONDS)} of virtual time in "
        f"{text_of(run['wall_clock_s'], Unit.SECONDS)}{state}. Configuration {run['configuration'][:8]}, "
        + (f"digest {run['digest'][:16]}." if run["digest"] else "no digest yet.")
    )
    cards = [
        f'<section class="card"><h4>{escape(plot.panel.title)}</h4>'
        f"{svg_element(plot_figure(plot), plot.panel.title)}"
        + (f'<p class="quiet">{prose(plot.reading)}</p>' if plot.reading else "")
        + "</section>"
        for plot in run_plots(run)
    ]
    return "\n".join(
        [
            *_heading(run, f", seed {run['seed']}"),
            f'<p class="quiet">{escape(facts)}</p>',
            _stats(run["figures"]),
            '<div class="grid">',
            *cards,
            "</div>",
        ]
    )


def _heading(document: Document, more: str = "") -> list[str]:
    return [
        f"<h2>{escape(document['title'] + more)}</h2>",
        f"<p><strong>{escape(document['question'])}</strong></p>",
        f"<p>{prose(document['reading'])}</p>" if document["reading"] else "",
    ]


def _stats(figures: Sequence[Document]) -> str:
    rows = "".join(
        f"<tr><td>{escape(figure['label'])}</td><td>{escape(signed_text(figure['value'], figure['unit']))}</td></tr>"
        for figure in figures
    )
    return f'<details class="card" style="max-width: 34rem"><summary>Figures</summary><table>{rows}</table></details>'


def _sweep(sweep: Document) -> str:
    found = responses(sweep)
    points = sweep["points"]
    seeds = (
        f"{len(points)} combinations of values, seeds {', '.join(map(str, sweep['seeds']))}. Means, and the standard "
        f"deviation between seeds, of figures that differ by {LEAST_DIFFERENCE:.0%} or more."
    )
    head = "".join(f"<td>{escape(values_label(point['values']))}</td>" for point in points)
    rows = "".join(f"<tr><td>{escape(each.label)}</td>{_cells(each)}</tr>" for each in found)
    table = f'<div class="card"><table><tr><td></td>{head}</tr>{rows}</table></div>'
    fronts = [
        f'<section class="card"><h4>{escape(x.label)} against {escape(y.label)}</h4>'
        f"{svg_element(_front(points, x, y), f'{x.label} against {y.label}')}</section>"
        for x, y in _pairs(found)
    ]
    plots = [
        f'<section class="card"><h4>{escape(each.label)}</h4>'
        f"{svg_element(response_figure(sweep, each), each.label)}</section>"
        for each in found
    ]
    return "\n".join(
        [
            *_heading(sweep),
            f'<p class="quiet">{escape(seeds)}</p>',
            table if found else '<p class="quiet">No figure does.</p>',
            *(["<h3>Pareto fronts</h3>", '<div class="grid">', *fronts, "</div>"] if fronts else []),
            *(["<h3>By value</h3>", '<div class="grid">', *plots, "</div>"] if plots else []),
        ]
    )


def _cells(response: Response) -> str:
    def cell(values: Sequence[float]) -> str:
        if not values:
            return "-"
        spread = _spread(values)
        more = f" \N{PLUS-MINUS SIGN} {signed_text(spread, response.unit)}" if spread else ""
        return signed_text(fmean(values), response.unit) + more

    return "".join(f"<td>{escape(cell(values))}</td>" for values in response.values)


def _pairs(found: Sequence[Response]) -> list[tuple[Response, Response]]:
    by_name = {each.name: each for each in found}
    pairs = [(by_name[x], by_name[y]) for x, y in _FRONTS if x in by_name and y in by_name]
    return pairs[:_MOST_FRONTS]


def _front(points: Sequence[Document], x: Response, y: Response) -> Any:
    drawn = [
        ParetoPoint(values_label(point["values"]), fmean(xs), fmean(ys), _spread(xs), _spread(ys))
        for point, xs, ys in zip(points, x.values, y.values, strict=True)
        if xs and ys
    ]
    return pareto(drawn, _axis(x), _axis(y))


def _axis(response: Response) -> Axis:
    return Axis(response.label, response.better == "more", lambda value: signed_text(value, response.unit))


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
