"""Figures of what somebody on call works with: scrapes, and how soon the command line answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from reram_fleet.processes.flower import program

from tests.bench.figure import Figure, Target
from tests.bench.measuring import ROOT
from tests.bench.workloads.board_moves import board_moves
from tests.bench.workloads.scrapes import scrapes
from tests.deployment import DEPLOY, EXPOSURE, UNITS, exposure_of

STARTS = 7


def help_starts() -> Iterator[Figure]:
    """Yield how long `fleet --help` takes, from the first to the last run."""

    def once() -> float:
        began_s = time.perf_counter()
        subprocess.run([program("fleet"), "--help"], check=True, capture_output=True)
        return time.perf_counter() - began_s

    yield Figure("fleet --help", tuple(once() for _ in range(STARTS)), "s")


def deployed() -> Iterator[Figure]:
    """Yield how many checks `deploy/` passes, and what its units may reach."""
    for path in UNITS:
        yield Figure(f"exposure of {path.name}", (exposure_of(path),), "1", Target("<=", EXPOSURE))
    # A checker that is not there fails.
    environment = {**os.environ, "CI": "true"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/deploy"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    found = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout)}
    yield Figure("checks of deploy/ that pass", (float(found.pop("passed", 0)),), "1")
    yield Figure("checks of deploy/ that do not", (float(sum(found.values())),), "1", Target("=", 0.0))
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    yield Figure("files of deploy/", (float(len(files)),), "1")


SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "scrapes-10000": partial(scrapes, 10_000),
    "start-up": help_starts,
    "boards": board_moves,
    "deploy": deployed,
}
