"""Plots of a sweep: a figure over the values that were gone through, with the spread between seeds.

A sweep is the document of `fleet sim`: ``points``, each with ``values`` by dotted key and the figures of its ``runs``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure

from fleet.report.curves import Curve, CurvePanel, Mark, curves
from fleet.report.quantities import signed_text

Document = Mapping[str, Any]

#: Combinations whose names fit beside each other below an axis.
_NAMED = 8
#: Share of a figure by which it must differ between points: of what is less, a plot would magnify the rounding.
LEAST_DIFFERENCE = 0.01
#: Values between which a line means something: numbers and durations, but not names.
_QUANTITY = re.compile(r"\d+(\.\d+)?\s*(ms|s|min|h|d)?")


@dataclass(frozen=True, slots=True)
class Response:
    """One figure at every point of a sweep, a value for each seed."""

    name: str
    label: str
    unit: str
    better: str
    values: Sequence[Sequence[float]]


def responses(sweep: Document) -> list[Response]:
    """Return the figures in which the points differ enough, in the order in which the runs have them."""
    points = [[{figure["name"]: figure for figure in run} for run in point["runs"]] for point in sweep["points"]]
    known = {name: figure for runs in points for run in runs for name, figure in run.items()}
    found = [
        Response(
            name,
            figure["label"],
            figure["unit"],
            figure["better"],
            [[run[name]["value"] for run in runs if name in run] for runs in points],
        )
        for name, figure in known.items()
    ]
    return [each for each in found if _differs([fmean(values) for values in each.values if values])]


def _differs(means: Sequence[float]) -> bool:
    return max(means) - min(means) > LEAST_DIFFERENCE * max(map(abs, means))


def response_figure(sweep: Document, response: Response) -> Figure:
    """Draw a figure over the points: a line for each combination of the keys after the first."""
    lines, places = _lines(sweep, response)
    most = max(high for line in lines for high in (*line.y, *(line.y_high or ())))
    least = min(low for line in lines for low in (*line.y, *(line.y_low or ())))
    room = 0.08 * (most - least) or 1.0
    key = next(iter(sweep["points"][0]["values"]))
    panel = CurvePanel(
        "",
        key,
        "",
        lines,
        x_ticks=[(float(at), name) for name, at in places.items()] if len(places) <= _NAMED else None,
        y_range=(least - room if least > 0.5 * most else min(0.0, least), most + room),
        y_tick=lambda value: signed_text(value, response.unit),
    )
    return curves("", [panel], columns=1)


def values_label(values: Document) -> str:
    """Return the values of a point as text; the key of a single one goes without saying."""
    one = len(values) == 1
    return ", ".join(str(value) if one else f"{key.rpartition('.')[2]} {value}" for key, value in values.items())


def _lines(sweep: Document, response: Response) -> tuple[list[Curve], Mapping[str, int]]:
    places: dict[str, int] = {}
    drawn: dict[str, list[tuple[int, float, float]]] = {}
    ordered = all(_QUANTITY.fullmatch(str(next(iter(point["values"].values())))) for point in sweep["points"])
    for point, values in zip(sweep["points"], response.values, strict=True):
        (_, first), *others = point["values"].items()
        place = places.setdefault(str(first), len(places))
        if values:
            spread = stdev(values) if len(values) > 1 else 0.0
            drawn.setdefault(values_label(dict(others)), []).append((place, fmean(values), spread))
    return [
        Curve(
            name or response.label,
            [place for place, _, _ in line],
            [mean for _, mean, _ in line],
            Mark.LINE_AND_POINTS if ordered else Mark.POINTS,
            y_low=[mean - spread for _, mean, spread in line],
            y_high=[mean + spread for _, mean, spread in line],
        )
        for name, line in drawn.items()
    ], places
