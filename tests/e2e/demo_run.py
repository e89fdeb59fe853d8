"""`fleet demo` as a newcomer runs it, and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from reram_fleet.processes.flower import program

#: One of them is killed: two are left to repair together what was learnt together.
NODES = 3
#: A demo that takes longer than the six minutes it promises hangs; two cores take about one and a half.
DEMO_LIMIT_S = 360.0


@dataclass(frozen=True)
class DemoRun:
    """One run of `fleet demo --output`, and every process that it was seen to start."""

    exit_code: int
    stdout: str
    stderr: str
    document: dict[str, Any]
    started: tuple[psutil.Process, ...]
    folder: Path


def run_demo(folder: Path) -> DemoRun:
    """Run it once, with fewer nodes and rounds than by default; returns when it has ended."""
    temporary = folder / "tmp"
    temporary.mkdir()
    output = folder / "demo.json"
    # Into files: a pipe that nobody reads while we look for processes would fill up and hold the demo.
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        process = psutil.Popen(
            [program("fleet"), "demo", "--nodes", str(NODES), "--rounds", "1", "--output", str(output)],
            stdout=stdout,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(temporary), "NO_COLOR": "1", "COLUMNS": "200"},
        )
        try:
            started = _watch(process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
    return DemoRun(
        exit_code=process.returncode,
        stdout=(folder / "stdout").read_text(),
        stderr=(folder / "stderr").read_text(),
        document=json.loads(output.read_text()) if output.exists() else {},
        started=started,
        folder=temporary,
    )


def _watch(demo: psutil.Popen) -> tuple[psutil.Process, ...]:
    """Wait for the end of the demo; return every process below it that was seen meanwhile."""
    seen: set[psutil.Process] = set()
    waited_s, step_s = 0.0, 0.5
    while waited_s < DEMO_LIMIT_S:
        try:
            seen |= set(demo.children(recursive=True))
        except psutil.NoSuchProcess:
            break
        try:
            demo.wait(step_s)
            break
        except psutil.TimeoutExpired:
            waited_s += step_s
    return tuple(seen)
