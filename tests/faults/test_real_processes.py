"""Promises of a fleet of real processes that is hurt at random, by the rules that judge simulated histories."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from reram_fleet.processes.supervised import ReapedProcess

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
#: Every kind of fault is among theirs, but for those of PostgreSQL.
SEEDS = (22, 23, 24, 25, 26)


def test_promises_hold_in_a_fleet_that_five_seeds_hurt_in_turn(tmp_path: Path) -> None:
    # A process of its own: it mounts, and lives in namespaces.
    log = tmp_path / "runs.log"
    command = [sys.executable, "-m", "tests.faults.real", "--seed", str(SEEDS[0]), "--runs", str(len(SEEDS)), "--brief"]
    hurting = ReapedProcess("hurting", command, log, working_directory=ROOT)
    hurting.start()
    try:
        code = hurting.wait(280.0)
    finally:
        hurting.stop()
    said = log.read_text(encoding="utf-8")
    assert code == 0, said
    runs = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [(run["seed"], run["faults"], run["violations"]) for run in runs] == [(seed, 4, 0) for seed in SEEDS]
    assert sum(run["forgets"] for run in runs) >= len(SEEDS)
    # At least before and after what happened: what nobody sees breaks no promise.
    assert min(run["looks"] for run in runs) >= 8
