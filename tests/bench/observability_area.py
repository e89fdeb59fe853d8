"""Figures of what somebody on call works with: scrapes, and how soon the command line answers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from reram_fleet.processes.flower import program

from tests.bench.figure import Figure
from tests.bench.workloads.board_moves import board_moves
from tests.bench.workloads.scrapes import scrapes

STARTS = 7


def help_starts() -> Iterator[Figure]:
    """Yield how long `fleet --help` takes, from the first to the last run."""

    def once() -> float:
        began_s = time.perf_counter()
        subprocess.run([program("fleet"), "--help"], check=True, capture_output=True)
        return time.perf_counter() - began_s

    yield Figure("fleet --help", tuple(once() for _ in range(STARTS)), "s")


SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "scrapes-10000": partial(scrapes, 10_000),
    "start-up": help_starts,
    "boards": board_moves,
}
