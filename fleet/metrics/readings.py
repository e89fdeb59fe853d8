"""Readings of a board: what Prometheus answers to the queries of its panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleet.metrics.definitions import Board, Form, Panel
from fleet.metrics.prometheus import Prometheus, Series

#: Two points make no line.
_SHORTEST_S = 120.0


@dataclass(frozen=True, slots=True)
class Span:
    """Time that a page shows, Unix seconds."""

    start_s: float
    end_s: float
    #: Points of a line.
    points: int = 180

    @property
    def step_s(self) -> float:
        """Seconds between two points."""
        return max(1.0, (self.end_s - self.start_s) / self.points)

    def first_of(self, metric: str) -> str:
        """Return the query for the time of a metric's first sample."""
        return f"min(min_over_time(timestamp({metric})[{self.end_s - self.start_s:.0f}s:{self.step_s:.0f}s]))"

    def since(self, first: Sequence[Series]) -> Span:
        """Return the part that has samples, but no less than `_SHORTEST_S`, given the time of the first."""
        begun_s = min((series.newest for series in first), default=self.start_s)
        return replace(self, start_s=min(max(self.start_s, begun_s), self.end_s - _SHORTEST_S))


@dataclass(frozen=True, slots=True)
class Reading:
    """Panel, and its series by name."""

    panel: Panel
    series: Sequence[tuple[str, Series]]


@dataclass(frozen=True, slots=True)
class BoardReading:
    """Board with the readings of its panels, row by row; `value` is that of its variable."""

    board: Board
    value: str
    rows: Sequence[tuple[str, Sequence[Reading]]]

    @property
    def empty(self) -> bool:
        """Whether no panel has data."""
        return not any(reading.series for _, readings in self.rows for reading in readings)


def read_board(prometheus: Prometheus, board: Board, value: str, span: Span) -> BoardReading:
    """Ask every query of a board."""
    rows = [(row.title, [_read(prometheus, board, panel, value, span) for panel in row.panels]) for row in board.rows]
    return BoardReading(board, value, rows)


def _read(prometheus: Prometheus, board: Board, panel: Panel, value: str, span: Span) -> Reading:
    series = []
    for query in panel.queries:
        expr = query.of(board.variable, value).expr
        if panel.form in (Form.STAT, Form.TABLE):
            found = prometheus.query(expr)
        else:
            found = prometheus.query_range(expr, span.start_s, span.end_s, span.step_s)
        series += [(query.name(each.labels), each) for each in found if each.values]
    return Reading(panel, series)
