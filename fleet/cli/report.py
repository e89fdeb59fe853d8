"""`fleet report dashboard`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.exits import UsageError
from fleet.cli.output import note, spinner
from fleet.config import PROMETHEUS_PORT
from fleet.errors import InvalidInputError, NotFoundError, reason_of

app = typer.Typer(help="Pages about the fleet, as files.", no_args_is_help=True)

_AWAY = "`make up` and `fleet up --prometheus` start one; deploy/prometheus/prometheus.yml is how to configure yours"


@app.callback()
def report() -> None:
    """Keep `dashboard` a verb of its own: a Typer with one command would swallow its name."""


@app.command()
def dashboard(
    prometheus: Annotated[
        str, typer.Option(metavar="URL", help="Prometheus that scrapes the fleet.")
    ] = f"http://127.0.0.1:{PROMETHEUS_PORT}",
    output: Annotated[Path, typer.Option(metavar="FILE", help="HTML file to write.")] = Path("dashboard.html"),
    hours: Annotated[float, typer.Option(help="How far back the plots go, if there is so much.")] = 1.0,
    node: Annotated[str | None, typer.Option(help="Node of the node board.", show_default="the first by name")] = None,
) -> None:
    """Draw the boards of Grafana as one HTML page, without Grafana.

    Nothing in the page is fetched or run, so it can be kept with an incident, or sent.
    """
    from fleet.client import UnavailableError
    from fleet.doctor.web import PageError, answer
    from fleet.metrics.boards import BOARDS
    from fleet.metrics.prometheus import Prometheus
    from fleet.metrics.readings import Span, read_board
    from fleet.report.dashboard_html import dashboard_html

    if not 0.01 <= hours <= 24 * 365:
        raise UsageError(f"--hours takes 0.01 to {24 * 365}; got {hours:g}")
    now_s = time.time()
    span, source = Span(now_s - 3600 * hours, now_s), Prometheus(prometheus, answer)
    try:
        names = sorted(each.labels["node"] for each in source.query("group by (node) (fleet_node_connected)"))
        if not names and not source.query("fleet_forget_generation"):
            raise NotFoundError(f"{prometheus} has nothing of a fleet", hint=_AWAY)
        if node is not None and node not in names:
            raise NotFoundError(
                f"{prometheus} knows no node {node!r}",
                hint=f"it knows {len(names)}: {', '.join(names[:10])}{_more(names)}",
            )
        span = span.since(source.query(span.first_of("fleet_forget_generation")))
        chosen = node or (names[0] if names else "")
        with spinner() as progress:
            readings = []
            for board in BOARDS:
                progress(f"Drawing {board.title}")
                readings.append(read_board(source, board, chosen if board.variable else "", span))
            page = dashboard_html(readings, source=prometheus, span=span)
    except PageError as error:
        raise UnavailableError(str(error), hint=_AWAY) from error
    except (KeyError, TypeError) as error:
        raise NotFoundError(f"{prometheus} does not answer as a Prometheus does", hint=_AWAY) from error
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"cannot write {output}: {reason_of(error)}") from error
    empty = [board.board.title for board in readings if board.empty]
    note(f"Written to {output}: {len(readings)} boards." + (f" Without data: {', '.join(empty)}." if empty else ""))


def _more(names: list[str]) -> str:
    return ", ..." if len(names) > 10 else ""
