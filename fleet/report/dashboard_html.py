"""Boards as one HTML page with its plots inside: nothing to fetch, nothing to run, in light and in dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from matplotlib.figure import Figure

from fleet.metrics.definitions import Form, Panel, Unit
from fleet.metrics.prometheus import Series
from fleet.metrics.readings import BoardReading, Reading, Span
from fleet.report.curves import Curve, CurvePanel, Mark, curves
from fleet.report.page import html_page, prose
from fleet.report.quantities import text_of
from fleet.report.style import svg_element

#: Marks on the axis of time.
_TICKS = 5
#: Series of a panel that are told apart; the others are counted below it.
_MOST_SERIES = 10
#: Of fewer things, parts are shown: averages, and cores.
_FEW = 3
_MODELLED = "Joules, watts and seconds of chips are what the energy model says of what was done; nothing is measured."


def dashboard_html(readings: Sequence[BoardReading], *, source: str, span: Span) -> str:
    """Return the page; equal readings give equal bytes.

    Parameters
    ----------
    source
        Where the readings come from, as text.
    """
    title = f"Fleet, {_moment(span.start_s)} to {_moment(span.end_s)} UTC"
    links = "".join(f'<a href="#{reading.board.uid}">{escape(_title(reading))}</a>' for reading in readings)
    parts = [
        f'<p class="quiet">From {escape(source)}. {_MODELLED}</p>',
        f"<nav>{links}</nav>",
        *(_board(reading, span) for reading in readings),
    ]
    return html_page(title, parts)


def _title(reading: BoardReading) -> str:
    return f"{reading.board.title} {reading.value}".strip()


def _board(reading: BoardReading, span: Span) -> str:
    parts = [f'<h2 id="{reading.board.uid}">{escape(_title(reading))}</h2>']
    parts.append(f'<p class="quiet">{prose(reading.board.description)}</p>')
    for title, readings in reading.rows:
        small = all(each.panel.form is Form.STAT for each in readings)
        cards = "\n".join(_card(each, span) for each in readings)
        parts.append(f'<h3>{escape(title)}</h3>\n<div class="grid{" stats" if small else ""}">\n{cards}\n</div>')
    return "\n".join(parts)


def _card(reading: Reading, span: Span) -> str:
    panel = reading.panel
    draw: Mapping[Form, Callable[[Reading], str]] = {Form.STAT: _stat, Form.TABLE: _table}
    if not reading.series:
        body = '<p class="empty">no data in this time</p>'
    elif panel.form in draw:
        body = draw[panel.form](reading)
    else:
        body = _plot(reading, span)
    about = f"<details><summary>about</summary>{prose(panel.description)}</details>"
    return f'<section class="card"><h4>{escape(panel.title)}</h4>{body}{about}</section>'


def _stat(reading: Reading) -> str:
    return "".join(
        f'<div class="value">{escape(text_of(series.newest, reading.panel.unit))}'
        + (f" <small>{escape(name)}</small>" if reading.panel.named else "")
        + "</div>"
        for name, series in reading.series
    )


def _table(reading: Reading) -> str:
    rows = sorted(reading.series, key=lambda each: -each[1].newest)
    most = max(series.newest for _, series in rows) or 1.0
    return (
        "<table>" + "".join(_row(name, series.newest, most, reading.panel.unit) for name, series in rows) + "</table>"
    )


def _row(name: str, value: float, most: float, unit: Unit) -> str:
    bar = f"linear-gradient(to right,var(--bar) {100 * max(0.0, value / most):.1f}%,transparent 0)"
    return f'<tr><td style="background:{bar}">{escape(name)}</td><td>{escape(text_of(value, unit))}</td></tr>'


def _plot(reading: Reading, span: Span) -> str:
    # What is nothing throughout would only fill the legend.
    drawn = [each for each in reading.series if any(each[1].values)] or list(reading.series[:1])
    drawn = sorted(drawn, key=lambda each: -each[1].newest)[:_MOST_SERIES] if len(drawn) > _MOST_SERIES else drawn
    names = [name for name, _ in drawn]
    nothing = [name for name, series in reading.series if name not in names and not any(series.values)]
    left_out = len(reading.series) - len(drawn) - len(nothing)
    notes = [f"0 throughout: {', '.join(nothing)}"] * bool(nothing) + [f"{left_out} more"] * bool(left_out)
    note = f'<p class="quiet">{escape("; ".join(notes))}</p>' if notes else ""
    return svg_element(_figure(reading, drawn, span), f"{reading.panel.title}: {', '.join(names)}") + note


def _figure(reading: Reading, drawn: Sequence[tuple[str, Series]], span: Span) -> Figure:
    panel = reading.panel
    references = {query.legend for query in panel.queries if query.reference}
    log = panel.log and any(value > 0 for _, series in drawn for value in series.values)
    if panel.form is Form.STACK:
        lines = _stacked(drawn)
    else:
        lines = [
            Curve(
                name,
                *_positive(series, log=log),
                mark=Mark.DASHED if name in references else Mark.LINE if len(series.values) > 1 else Mark.POINTS,
                **_band(panel, name, dict(drawn)),
            )
            for name, series in drawn
        ]
    values = [value for line in lines for value in line.y]
    most = max(values, default=0.0)
    whole = most >= _FEW or all(value == int(value) for value in values)
    return curves(
        "",
        [
            CurvePanel(
                "",
                "",
                "",
                lines,
                y_log=log,
                x_ticks=_clock_ticks(span),
                x_range=(span.start_s, span.end_s),
                y_range=None if log else (0.0, 1.08 * most or 1.0),
                y_whole=panel.unit is Unit.COUNT and not log and whole,
                y_tick=lambda value: text_of(value, panel.unit),
            )
        ],
        columns=1,
    )


def _band(panel: Panel, name: str, drawn: Mapping[str, Series]) -> dict[str, Sequence[float]]:
    """Return the band that belongs to the higher of its two bounds, if both have values at the same times."""
    if panel.band is None or name != panel.band[1] or panel.band[0] not in drawn:
        return {}
    low, high = (drawn[each] for each in panel.band)
    return {"y_low": low.values, "y_high": high.values} if list(low.times) == list(high.times) else {}


def _stacked(drawn: Sequence[tuple[str, Series]]) -> list[Curve]:
    """Return curves that stand on each other; a series that has no value at a time is 0 there."""
    times = sorted({at for _, series in drawn for at in series.times})
    floor, lines = [0.0] * len(times), []
    # The largest on top: the edge of one that is next to nothing would hide that of the one below it.
    for name, series in sorted(drawn, key=lambda each: each[1].newest):
        values = dict(zip(series.times, series.values, strict=True))
        top = [below + values.get(at, 0.0) for below, at in zip(floor, times, strict=True)]
        lines.append(Curve(name, times, top, y_low=floor, y_high=top))
        floor = top
    return lines


def _positive(series: Series, *, log: bool) -> tuple[Sequence[float], Sequence[float]]:
    """Return what can be drawn, on a logarithmic axis the positive values."""
    if not log:
        return series.times, series.values
    kept = [each for each in zip(series.times, series.values, strict=True) if each[1] > 0]
    return [at for at, _ in kept], [value for _, value in kept]


def _clock_ticks(span: Span) -> list[tuple[float, str]]:
    step_s = (span.end_s - span.start_s) / (_TICKS - 1)
    form = "%H:%M:%S" if step_s < 120 else "%H:%M" if step_s < 43_200 else "%m-%d"
    times = [span.start_s + number * step_s for number in range(_TICKS)]
    return [(at, datetime.fromtimestamp(at, UTC).strftime(form)) for at in times]


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
