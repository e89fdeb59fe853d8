"""Progress of runs on stderr: a bar over virtual time with the time left, or into a pipe a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fleet.cli.output import note, note_console

#: Seconds between two lines into a pipe.
_LINE_EVERY_S = 30.0


class RunProgress:
    """Progress of one run after another."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._name, self._duration_s, self._told_s = "", 1.0, 0.0
        # Where the bar began, which is not 0 for a run that was resumed.
        self._first: tuple[float, float] | None = None

    def begin(self, name: str, duration_s: float) -> None:
        """Begin with a run of so many virtual seconds."""
        self._name, self._duration_s, self._told_s, self._first = name, duration_s, time.monotonic(), None
        if self._bars is not None:
            for task in self._bars.task_ids:
                self._bars.remove_task(task)
            self._bars.add_task(name, total=duration_s, doing="")

    def say(self, text: str) -> None:
        """Tell what is being done."""
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[-1], doing=text)

    def at(self, now_s: float) -> None:
        """Tell how far the run is."""
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[-1], completed=now_s, doing="")
            return
        wall_s = time.monotonic()
        if self._first is None:
            self._first = now_s, wall_s
        elif wall_s - self._told_s >= _LINE_EVERY_S and now_s > self._first[0]:
            self._told_s = wall_s
            left_s = (self._duration_s - now_s) * (wall_s - self._first[1]) / (now_s - self._first[0])
            note(f"{self._name}: {100 * now_s / self._duration_s:.0f} %, about {left_s:.0f} s left")


@contextmanager
def run_progress() -> Iterator[RunProgress]:
    """Show progress while the block runs."""
    console = note_console()
    if not console.is_terminal:
        yield RunProgress(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[doing]}", style="dim"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield RunProgress(bars)
