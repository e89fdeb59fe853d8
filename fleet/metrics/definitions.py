"""Definitions of rules, panels and boards: plain values, which know neither Prometheus nor Grafana."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Severity(StrEnum):
    """Severity of an alert: who is told, and when."""

    #: Somebody is woken: people who were forgotten may be answered for, or nobody watches.
    PAGE = "page"
    #: Somebody looks at it on the next working day.
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Recording:
    """Series that Prometheus computes from others; named level:metric:operation."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """Condition that somebody is told of; its runbook is the section of its name."""

    name: str
    expr: str
    severity: Severity
    #: One line, which stands in the message; may use `$labels` and `$value`.
    summary: str
    #: What it means and what to do first.
    description: str
    #: How long it must last, as Prometheus writes it.
    lasting: str = "0s"


class Unit(StrEnum):
    """Unit of a panel, by Grafana's name for it."""

    WATTS = "watt"
    JOULES = "joule"
    SECONDS = "s"
    BYTES = "bytes"
    #: 0 to 1.
    SHARE = "percentunit"
    #: A number of things.
    COUNT = "short"
    #: Things in a second.
    RATE = "cps"
    #: So many times as much.
    RATIO = "none"


class Form(StrEnum):
    """Form in which a panel is drawn."""

    LINES = "lines"
    #: Lines whose sum means something.
    STACK = "stack"
    #: The newest value of each series, large.
    STAT = "stat"
    #: The newest value of each series, in rows.
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Query:
    """Query of Prometheus, and the name of each series that comes: `{{label}}` is the label's value."""

    expr: str
    legend: str

    @property
    def reference(self) -> bool:
        """Whether it is a constant: a line to compare with."""
        return self.expr.startswith("vector(")

    def of(self, variable: str, value: str) -> Query:
        """Return the query with a value in place of `$variable`."""
        return replace(self, expr=self.expr.replace(f"${variable}", value)) if variable else self

    def name(self, labels: Mapping[str, str]) -> str:
        """Return the name of a series that came, by its labels."""
        return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), self.legend)


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of a board."""

    title: str
    #: What it shows and what is normal.
    description: str
    unit: Unit
    queries: Sequence[Query]
    form: Form = Form.LINES
    #: Whether its axis is logarithmic.
    log: bool = False
    #: Names of the series between which a band is drawn: the lower, and the higher.
    band: tuple[str, str] | None = None
    #: Alerts of what it shows: their runbooks are linked.
    alerts: Sequence[str] = ()

    @property
    def named(self) -> bool:
        """Whether a value means nothing without the name of its series."""
        return len(self.queries) > 1 or "{{" in self.queries[0].legend


@dataclass(frozen=True, slots=True)
class Row:
    """Panels of one subject."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    """Page of panels."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    #: Label whose value is chosen above the board, `$label` in its queries; "" if there is none.
    variable: str = ""

    @property
    def panels(self) -> Sequence[Panel]:
        """All panels, in their order."""
        return [panel for row in self.rows for panel in row.panels]


def runbook_of(alert: str) -> str:
    """Return the section of the runbooks that is about an alert."""
    return f"operations/runbooks.md#{alert.lower()}"
