"""Plots of simulated runs: what was there over virtual time, as far as a run's tables have it.

A run is the document of `fleet sim`: its record with ``tables``, each of them values by column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from fleet.metrics.definitions import Unit
from fleet.report.curves import Curve, CurvePanel, Mark, curves
from fleet.report.quantities import text_of

Document = Mapping[str, Any]
Columns = Mapping[str, Sequence[Any]]

_PHASES = ("program", "infer", "train", "erase", "verify", "radio")
_TIMES = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
#: Forgets of which a distribution says more than their points.
_MANY = 10
#: Values that are this far apart need a logarithmic axis.
_DECADES = 30.0


@dataclass(frozen=True, slots=True)
class Plot:
    """Panel, and how it is read."""

    panel: CurvePanel
    reading: str


@dataclass(frozen=True, slots=True)
class _Time:
    """Axis of virtual time."""

    label: str
    seconds: float
    span: tuple[float, float] | None = None

    @classmethod
    def of(cls, duration_s: float) -> _Time:
        name, seconds = next((each for each in _TIMES if duration_s >= 2 * each[1]), _TIMES[-1])
        return cls(f"virtual time ({name})", seconds, (0.0, duration_s / seconds))

    def curve(self, table: Columns, column: str, label: str, mark: Mark = Mark.LINE) -> Curve | None:
        """Return a column over time; None if it has no values, or is 0 throughout."""
        pairs = [
            (at / self.seconds, float(value))
            for at, value in zip(table.get("t_s", ()), table.get(column, ()), strict=False)
            if value is not None
        ]
        if not any(value for _, value in pairs):
            return None
        return Curve(label, [at for at, _ in pairs], [value for _, value in pairs], mark)


def run_plots(run: Document) -> list[Plot]:
    """Return the plots for which a run has data."""
    time, tables = _Time.of(run["duration_s"]), run["tables"]
    state = tables.get("state", {})
    found: list[Plot] = []
    found += _nodes(time, state)
    found += _people(time, state)
    found += _answers(time, tables.get("answers", {}))
    found += _forgets(time, tables.get("forgets", {}))
    found += _energy(time, state)
    found += _wear(time, state)
    found += _traffic(time, state)
    found += _rounds(tables.get("rounds", {}))
    return found


def run_figure(run: Document) -> Figure:
    """Draw all plots of a run in one figure."""
    plots = run_plots(run)
    return curves(f"{run['title']} (seed {run['seed']})", [plot.panel for plot in plots], shared_legend=False)


def plot_figure(plot: Plot) -> Figure:
    """Draw one plot, whose title stands beside it."""
    return curves("", [replace(plot.panel, title="")], columns=1)


def _nodes(time: _Time, state: Columns) -> Iterator[Plot]:
    columns = {"nodes": "in the fleet", "connected": "connected", "serving": "serving", "quarantined": "backbone only"}
    columns |= {"behind": "behind the log", "serving_behind": "behind, and serving", "held": "held"}
    marks = {"nodes": Mark.DASHED, "connected": Mark.DOTTED}
    lines = [time.curve(state, name, label, marks.get(name, Mark.LINE)) for name, label in columns.items()]
    yield from _plot(
        "Nodes",
        time,
        lines,
        Unit.COUNT,
        "Who serves adapters, and who lacks part of the forget log. A node that is behind and out of contact serves "
        "until its lease ends; from then on it answers by its backbone only.",
    )


def _people(time: _Time, state: Columns) -> Iterator[Plot]:
    yield from _plot("People enrolled", time, [time.curve(state, "people", "people")], Unit.COUNT, "")
    yield from _plot(
        "Open forgets",
        time,
        [time.curve(state, "forgets_open", "open")],
        Unit.COUNT,
        "Forgets whose receipts are not all there. They must not pile up.",
    )


def _answers(time: _Time, answers: Columns) -> Iterator[Plot]:
    columns = {
        "enrolled_accuracy": "enrolled, recognised",
        "accepted_strangers": "strangers, accepted",
        "accepted_forgotten": "forgotten, accepted as themselves",
    }
    lines = [
        time.curve(answers, name, label, Mark.LINE_AND_POINTS) or _zero(time, answers, name, label)
        for name, label in columns.items()
    ]
    yield from _plot(
        "Answers",
        time,
        lines,
        Unit.SHARE,
        "Shares of samples. Somebody who was forgotten should be accepted no more often than a stranger.",
        y_range=(0.0, 1.05),
    )


def _zero(time: _Time, table: Columns, column: str, label: str) -> Curve | None:
    """Return a column that is 0 throughout: here, that is the result."""
    pairs = zip(table.get("t_s", ()), table.get(column, ()), strict=False)
    times = [at / time.seconds for at, value in pairs if value is not None]
    return Curve(label, times, [0.0] * len(times), Mark.LINE_AND_POINTS) if times else None


def _forgets(time: _Time, forgets: Columns) -> Iterator[Plot]:
    columns = {
        "suppressed_p50_s": "half of the nodes",
        "suppressed_p99_s": "99 % of the nodes",
        "suppressed_last_s": "last node",
        "converged_s": "verified everywhere",
    }
    table = {**forgets, "t_s": forgets.get("created_s", ())}
    lines = [time.curve(table, name, label, Mark.POINTS) for name, label in columns.items()]
    yield from _plot(
        "From command to forgotten",
        replace(time, label=f"committed at, {time.label}"),
        lines,
        Unit.SECONDS,
        "One column of points for each forget: when nodes had suppressed the person, and when the last receipt was "
        "verified.",
        y_label="after the command",
        y_log=True,
    )
    if len(forgets.get("generation", ())) >= _MANY:
        shares = [_distribution(forgets.get(name, ()), label) for name, label in columns.items()]
        yield from _plot(
            "Forgets that are done by then",
            _Time("after the command (s)", 1.0),
            shares,
            Unit.SHARE,
            "How many of all forgets were done after so long.",
            y_range=(0.0, 1.05),
            x_log=True,
        )


def _distribution(values: Sequence[float | None], label: str) -> Curve | None:
    """Return the share of all values that are no greater, as steps; None if there are none."""
    known = sorted(value for value in values if value is not None and value > 0)
    if not known:
        return None
    shares = [rank / len(values) for rank in range(len(known) + 1)]
    steps = [each for at, low, high in zip(known, shares, shares[1:], strict=False) for each in ((at, low), (at, high))]
    return Curve(label, [at for at, _ in steps], [share for _, share in steps])


def _energy(time: _Time, state: Columns) -> Iterator[Plot]:
    lines = [time.curve(state, f"joules_{phase}", phase) for phase in _PHASES]
    yield from _plot(
        "Energy by phase, all nodes",
        time,
        lines,
        Unit.JOULES,
        "Added up since the start. Programming the backbones is paid once; what goes on is inference and radio.",
        y_log=_apart(lines),
    )
    changes = [
        time.curve(state, "overhead_j", "changes in SRAM, without the radio"),
        time.curve(state, "reprogramming_j", "the same, re-programmed into cells", Mark.DASHED),
    ]
    yield from _plot(
        "Energy of changes, beside re-programming",
        time,
        changes,
        Unit.JOULES,
        "What it took the chips to make each revision active, and what the same changes would have taken in analogue "
        "weights. The radio, which brings them there in either case, is left out.",
        y_log=_apart(changes),
    )


def _wear(time: _Time, state: Columns) -> Iterator[Plot]:
    yield from _plot(
        "Wear",
        time,
        [time.curve(state, "wear_max", "most worn chip"), time.curve(state, "wear_mean", "mean")],
        Unit.SHARE,
        "Share of their endurance that cells have used. A forget or a new adapter writes none: the line is flat.",
    )
    yield from _plot("Cell writes, all nodes", time, [time.curve(state, "cell_writes", "writes")], Unit.COUNT, "")
    if any(state.get("calibrations", ())):
        yield from _plot(
            "Calibrations, all nodes",
            time,
            [time.curve(state, "calibrations", "calibrations")],
            Unit.COUNT,
            "While nodes run, beside those at their starts. Each reads the public samples, and writes no cell.",
        )


def _traffic(time: _Time, state: Columns) -> Iterator[Plot]:
    yield from _plot(
        "Messages, all nodes",
        time,
        [
            time.curve(state, "messages", "messages"),
            time.curve(state, "heartbeats", "of them heartbeats", Mark.DASHED),
            time.curve(state, "messages_lost", "lost"),
        ],
        Unit.COUNT,
        "",
    )
    yield from _plot("Traffic, all nodes", time, [time.curve(state, "bytes", "bytes")], Unit.BYTES, "")


def _rounds(rounds: Columns) -> Iterator[Plot]:
    places = {"t_s": range(1, 1 + len(next(iter(rounds.values()), ())))}
    one = _Time("round, over all jobs", 1.0)
    table = {**rounds, **places}
    marks = Mark.LINE_AND_POINTS
    yield from _plot(
        "Loss of the rounds",
        one,
        [one.curve(table, "loss_before", "before", marks), one.curve(table, "loss_after", "after", marks)],
        Unit.COUNT,
        "",
    )
    yield from _plot(
        "Accuracy of the rounds",
        one,
        [one.curve(table, "accuracy", "accuracy", marks)],
        Unit.SHARE,
        "",
        y_range=(0.0, 1.05),
    )


def _apart(lines: Sequence[Curve | None]) -> bool:
    ends = [line.y[-1] for line in lines if line is not None and line.y[-1] > 0]
    return bool(ends) and max(ends) > _DECADES * min(ends)


def _plot(
    title: str,
    x: _Time,
    lines: Sequence[Curve | None],
    unit: Unit,
    reading: str,
    *,
    y_log: bool = False,
    y_range: tuple[float, float] | None = None,
    x_log: bool = False,
    y_label: str = "",
) -> Iterator[Plot]:
    """Yield a plot, if there is anything to draw."""
    drawn = [_drawable(line, log=y_log) for line in lines if line is not None]
    drawn = [line for line in drawn if line.y]
    if not drawn:
        return
    most = max(value for line in drawn for value in line.y)
    whole = unit is Unit.COUNT and not y_log and all(value == int(value) for line in drawn for value in line.y)
    yield Plot(
        CurvePanel(
            title,
            x.label,
            y_label,
            drawn,
            x_log=x_log,
            y_log=y_log,
            x_range=x.span,
            y_range=y_range or (None if y_log else (0.0, 1.08 * most or 1.0)),
            y_whole=whole,
            y_tick=lambda value: text_of(value, unit),
        ),
        reading,
    )


def _drawable(line: Curve, *, log: bool) -> Curve:
    """Return what can be drawn: on a logarithmic axis the positive values; a line of one point is a point."""
    kept = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y > 0 or not log]
    mark = Mark.POINTS if len(kept) == 1 else line.mark
    return Curve(line.label, [x for x, _ in kept], [y for _, y in kept], mark)
