"""Output of the CLI: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from reram_fleet.processes.command_line import printable
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.segment import Segment
from rich.table import Table

from fleet.errors import FleetError, InvalidInputError, reason_of

#: Columns when stdout is not a terminal: wide enough that no cell is cut.
_PIPE_WIDTH = 200


class OutputFormat(StrEnum):
    """Form in which data is printed."""

    TABLE = "table"
    JSON = "json"


Format = Annotated[
    OutputFormat, typer.Option("-o", "--format", help="Print a table or stable JSON.", show_default=True)
]


class _OnlyText(RenderHook):
    """Guard of the terminal: whatever is printed, text of nodes and files neither steers nor styles it."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap everything that is about to be printed."""
        return [_Guarded(renderable) for renderable in renderables]


class _Guarded:
    def __init__(self, renderable: ConsoleRenderable) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._renderable, options):
            # Control segments are rich's own: cursor and spinner.
            text = segment.text if segment.control else printable(segment.text, keep="\n")
            yield Segment(text, segment.style, segment.control)


def note_console() -> Console:
    """Return the console for progress, hints and errors (stderr); obeys NO_COLOR."""
    return _console(stderr=True, width=None if sys.stderr.isatty() else _PIPE_WIDTH)


def _console(**options: Any) -> Console:
    # Without markup: "[bold]" in the name of a person or the word of a node is text.
    console = Console(emoji=False, markup=False, **options)
    console.push_render_hook(_OnlyText())
    return console


def show(
    form: OutputFormat,
    document: Mapping[str, Any],
    renderables: Callable[[], Iterable[RenderableType]],
    *,
    then: str | None = None,
) -> None:
    """Print a document as JSON, or what `renderables` makes of it, and `then` what the reader may want to do next."""
    if form is OutputFormat.JSON:
        sys.stdout.write(_json(document) + "\n")
        return
    console = _console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, soft_wrap=False)
    for renderable in renderables():
        console.print(renderable)
    if then:
        hint(then)


def _json(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if text.replace("\n", "").isprintable():
        return text
    # JSON leaves the upper control characters (a terminal's CSI among them) as they are.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def json_text(document: Mapping[str, Any]) -> str:
    """Return a document as the text of a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write_files(folder: Path, texts: Mapping[str, str], *, beside: Iterable[Path] = ()) -> None:
    """Write text files into a folder, and say so; `beside` names files that are there already.

    Raises
    ------
    InvalidInputError
        If they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"cannot write into {folder}: {reason_of(error)}") from error
    note(f"Written to {folder}: {', '.join((*texts, *(file.name for file in beside)))}.")


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """Yield what shows progress on stderr: a spinner on a terminal, nothing into a pipe."""
    console = note_console()
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("") as status:
        yield status.update


def note(text: str) -> None:
    """Print a line of progress."""
    note_console().print(text, highlight=False)


def hint(text: str) -> None:
    """Print what the reader may want to do next."""
    note_console().print(f"Next: {text}", highlight=False, style="dim")


def show_error(error: FleetError) -> None:
    """Print what went wrong, and what to do about it."""
    console = note_console()
    console.print(f"Error: {error}", style="bold red", highlight=False)
    if error.hint:
        console.print(error.hint, highlight=False)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """Return a table; columns whose name ends with `>` are aligned to the right."""
    result = Table(title=title, title_justify="left", header_style="bold", expand=False)
    for column in columns:
        right = column.endswith(">")
        result.add_column(column.rstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        result.add_row(*map(_cell, row))
    return result


#: What a column shows of a document: a field, or what a function makes of it.
Columns = Mapping[str, str | Callable[[Any], object]]


def cells(columns: Columns, item: Mapping[str, Any]) -> dict[str, object]:
    """Return what columns show of a document; the name of a field tells its unit."""
    return {name: of(item) if callable(of) else _with_unit(of, item[of]) for name, of in columns.items()}


def _with_unit(field: str, value: Any) -> object:
    if field.endswith("_unix_ms"):
        return clock(value or 0)
    if field.endswith("energy_j"):
        return joules(value)
    return seconds(value) if field.startswith("seconds") else value


def records(title: str, columns: Columns, items: Iterable[Mapping[str, Any]]) -> Table:
    """Return a table with a row for each document."""
    return table(title, columns, (cells(columns, item).values() for item in items))


def facts(title: str, pairs: Mapping[str, object]) -> Table:
    """Return a two-column table without a header."""
    result = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    result.add_column(style="bold")
    result.add_column(overflow="fold")
    for name, value in pairs.items():
        result.add_row(name, _cell(value))
    return result


def _cell(value: object) -> str:
    """Return what stands in a cell; a tuple has a line for each of its values."""
    if isinstance(value, tuple):
        return "\n".join(map(_cell, value))
    # Before the layout, so that columns have the width of what is shown.
    return "-" if value is None or value == "" else printable(str(value), keep="")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for instance `1 key` or `2 keys`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def clock(unix_ms: int) -> str:
    """Return a moment as local text with its zone, `-` for never."""
    if not unix_ms:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def joules(energy_j: float) -> str:
    """Return an energy with an engineering prefix, for instance `3.42 mJ`."""
    if energy_j == 0:
        return "0 J"
    units = ((1e6, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ"), (1e-12, "pJ"))
    factor, unit = next((each for each in units if abs(energy_j) >= each[0]), units[-1])
    return f"{energy_j / factor:.3g} {unit}"


def seconds(value: float | None) -> str:
    """Return a duration as text, `-` for none."""
    return "-" if value is None else f"{value:.2f} s"
