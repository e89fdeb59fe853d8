"""What the CLI prints: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table

#: Columns when stdout is not a terminal: wide enough that no cell is cut.
_PIPE_WIDTH = 200


class OutputFormat(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


Format = Annotated[
    OutputFormat, typer.Option("-o", "--format", help="Print a table or stable JSON.", show_default=True)
]


def data_console() -> Console:
    """Return the console for data (stdout); obeys NO_COLOR."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, soft_wrap=False)


def note_console() -> Console:
    """Return the console for progress, hints and errors (stderr); obeys NO_COLOR."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else _PIPE_WIDTH)


def show(
    form: OutputFormat, document: Mapping[str, Any], renderables: Callable[[], Iterable[RenderableType]]
) -> None:
    """Print a document as JSON, or what `renderables` makes of it."""
    if form is OutputFormat.JSON:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return
    console = data_console()
    for renderable in renderables():
        console.print(renderable)


def note(text: str) -> None:
    """Print a line of progress."""
    note_console().print(text, markup=False, highlight=False)


def hint(text: str) -> None:
    """Print what the reader may want to do next."""
    note_console().print(f"Next: {text}", markup=False, highlight=False, style="dim")


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """Return a table; columns whose name ends with `>` are aligned to the right."""
    result = Table(title=title, title_justify="left", header_style="bold", expand=False)
    for column in columns:
        right = column.endswith(">")
        result.add_column(
            column.rstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    for row in rows:
        result.add_row(*("-" if cell is None or cell == "" else str(cell) for cell in row))
    return result


def facts(title: str, pairs: Mapping[str, object]) -> Table:
    """Return a two-column table without a header."""
    result = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    result.add_column(style="bold")
    result.add_column(overflow="fold")
    for name, value in pairs.items():
        result.add_row(name, "-" if value is None or value == "" else str(value))
    return result


def clock(unix_ms: int) -> str:
    """Return a moment as local text, `-` for never."""
    if not unix_ms:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def joules(energy_j: float) -> str:
    """Return an energy with an engineering prefix, for instance `3.42 mJ`."""
    if energy_j == 0:
        return "0 J"
    for factor, unit in ((1e6, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ")):
        if abs(energy_j) >= factor:
            return f"{energy_j / factor:.3g} {unit}"
    return f"{energy_j / 1e-12:.3g} pJ"


def seconds(value: float | None) -> str:
    """Return a duration as text, `-` for none."""
    return "-" if value is None else f"{value:.2f} s"
