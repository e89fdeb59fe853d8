"""Figures of the main job: the demo, run several times, in its own words."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reram_fleet.processes.flower import program
from rich.console import Console

from tests.bench.figure import Figure, Target

RUNS = 3
#: Longer is a hang.
LIMIT_S = 600.0

Node = dict[str, Any]


class DemoFailedError(Exception):
    """A run of the demo did not end with a report."""


@dataclass(frozen=True)
class Run:
    """One run of the demo: its report, and how long it took from start to end."""

    report: dict[str, Any]
    wall_s: float

    @property
    def nodes(self) -> list[Node]:
        """What it tells of each node."""
        return list(self.report["nodes"])

    @property
    def forgets(self) -> list[dict[str, Any]]:
        """What each node's receipt tells of the forget."""
        # A claim that failed for a lack of receipts is reported by `claims of the demo that hold`.
        return [node["forget"] for node in self.nodes if node["forget"] is not None]


def figures() -> list[Figure]:
    """Run the demo and return its figures, one value per run, of the worst node where they are per node."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [_run(Path(folder) / f"demo-{number}.json", number) for number in range(RUNS)]
    return list(_figures(runs))


def _run(output: Path, number: int) -> Run:
    Console(stderr=True).print(f"demo {number + 1} of {RUNS} ...")
    started = time.monotonic()
    done = subprocess.run(
        [program("fleet"), "demo", "--output", str(output)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    wall_s = time.monotonic() - started
    # Exit code 1 with a report: some claim failed, and the figures have to tell it.
    if not output.exists():
        raise DemoFailedError(f"the demo ended with code {done.returncode}:\n{done.stderr}")
    return Run(json.loads(output.read_text()), wall_s)


def _figures(runs: list[Run]) -> Iterator[Figure]:
    def fleet(name: str, value: Callable[[Run], float], unit: str, target: Target | None = None) -> Figure:
        return Figure(name, tuple(float(value(run)) for run in runs), unit, target)

    def lowest(name: str, value: Callable[[Node], float], unit: str, target: Target | None = None) -> Figure:
        return fleet(f"{name}, worst node", lambda run: min(map(value, run.nodes)), unit, target)

    def highest(name: str, value: Callable[[Node], float], unit: str, target: Target | None = None) -> Figure:
        return fleet(f"{name}, worst node", lambda run: max(map(value, run.nodes)), unit, target)

    def overhead(key: str) -> Callable[[Node], float]:
        return lambda node: node["deployment_overhead"][key]

    yield fleet("claims of the demo that hold", _share_of_claims, "share", Target("=", 1.0))
    yield lowest("retain accuracy before", lambda n: n["retain_accuracy_before"], "share", Target(">=", 0.95))
    yield lowest("retain accuracy after", lambda n: n["retain_accuracy_after"], "share", Target(">=", 0.95))
    yield lowest(
        "retain accuracy after, subject adapters alone",
        lambda n: n["subject_adapters_only"]["retain_accuracy_after"],
        "share",
    )
    yield highest("forget accuracy after", lambda n: n["forget_accuracy_after"], "share", Target("=", 0.0))
    yield highest("accept rate of the forgotten person after", lambda n: n["forget_accept_rate_after"], "share")
    yield highest("accept rate of strangers", lambda n: n["stranger_accept_rate"], "share")
    yield highest(
        "accept rate of the forgotten person above that of strangers",
        lambda n: n["forget_accept_rate_after"] - n["stranger_accept_rate"],
        "share",
        Target("<=", 0.05),
    )
    yield lowest("accept rate of kept people after", lambda n: n["genuine_accept_rate"], "share")
    yield fleet(
        "create to SUPPRESSED on all connected nodes",
        lambda run: run.report["seconds_to_suppress"],
        "s",
        Target("<", 1.0),
    )
    yield fleet(
        "create to SUPPRESSED on all connected nodes, as the caller sees it",
        lambda run: run.report["seconds_to_suppress_observed"],
        "s",
    )
    yield fleet(
        "create to VERIFIED on all nodes, one of them killed and restarted meanwhile",
        lambda run: run.report["seconds_to_verify"],
        "s",
    )
    yield highest("ReRAM writes of the forget", _writes, "cell writes", Target("=", 0.0))
    yield fleet(
        "energy of the forget (receipt, all phases), worst node",
        lambda run: max(_joules(forget) for forget in run.forgets),
        "J",
    )
    yield fleet(
        "energy of the forget without radio and repair, worst node",
        lambda run: max(_joules(forget, but=("radio", "train")) for forget in run.forgets),
        "J",
    )
    yield highest("deployment overhead of the repaired revision", overhead("energy_j"), "J")
    yield highest("deployment overhead of the repaired revision: time", overhead("seconds"), "s")
    yield highest("deployment overhead of the repaired revision: received", overhead("bytes"), "B")
    yield highest(
        "deployment overhead of the repaired revision: writes", overhead("cell_writes"), "cell writes", Target("=", 0.0)
    )
    yield lowest(
        "re-programming the same rows over deploying them: energy on the chip",
        overhead("reprogramming_ratio"),
        "1",
        Target(">", 1.0),
    )
    yield lowest(
        "re-programming the same rows over deploying them: energy, radio on both sides",
        overhead("reprogramming_ratio_with_radio"),
        "1",
    )
    yield fleet("demo from start to end", lambda run: run.wall_s, "s", Target("<", 360.0))


def _share_of_claims(run: Run) -> float:
    claims = run.report["claims"]
    return float(sum(claim["holds"] for claim in claims) / len(claims))


def _writes(node: Node) -> float:
    writes = node["reram_writes_forget"]
    # No receipt proves nothing: never a zero.
    return float("inf") if writes is None else writes


def _joules(forget: dict[str, Any], but: tuple[str, ...] = ()) -> float:
    return float(sum(cost["energy_j"] for phase, cost in forget["costs"].items() if phase not in but))


SECTIONS: dict[str, Callable[[], list[Figure]]] = {"demo": figures}
