"""`fleet sim` as processes: from a run that is killed to a report."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from fleet.local.deadline import Deadline
from tests.unit.sim.conftest import SMALL


def fleet_sim(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from fleet.cli import main; main()", "sim", *map(str, arguments)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("sim")
    (made / "small.toml").write_text(SMALL)
    return made


@pytest.fixture(scope="module")
def finished(folder):
    done = fleet_sim(folder, "run", "small.toml", "--seeds", "1-2", "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["runs"]


def test_run_that_was_killed_is_resumed_with_an_equal_digest(folder, finished, tmp_path):
    scraped, arguments = "", ("run", "small.toml", "--output", tmp_path, "--checkpoint-every", 0, "--metrics-port", 0)
    with subprocess.Popen(
        command(*arguments), cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as going:
        assert going.stderr is not None
        address = re.search(r"http://\S+/metrics", going.stderr.readline())
        assert address is not None
        deadline = Deadline.of(60)
        while not list(tmp_path.glob("*/checkpoint")) and deadline.left_s and going.poll() is None:
            with urllib.request.urlopen(address[0], timeout=10) as answer:
                scraped = answer.read().decode()
        going.send_signal(signal.SIGKILL)
    (run,) = (path.parent for path in tmp_path.glob("*/run.json"))
    interrupted = json.loads(fleet_sim(folder, "show", run, "-o", "json").stdout)

    resumed = fleet_sim(folder, "resume", run, "-o", "json")

    assert "# HELP fleet_sim_virtual_time_seconds" in scraped
    assert interrupted["state"] == "interrupted"
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["resumed"] == 1
    assert json.loads(resumed.stdout)["digest"] == finished[0]["digest"]


def test_finished_run_is_not_overwritten_without_force(folder, finished):
    refused = fleet_sim(folder, "run", "small.toml")
    forced = fleet_sim(folder, "run", "small.toml", "--force", "-o", "json")

    assert refused.returncode == 4
    assert "--force" in refused.stderr
    assert forced.returncode == 0, forced.stderr
    assert json.loads(forced.stdout)["digest"] == finished[0]["digest"]


def test_sweep_comparison_and_report(folder, finished):
    swept = fleet_sim(
        folder, "sweep", "small.toml", "--vary", 'time.heartbeat=["30s", "5min"]', "--seeds", "1-2", "-o", "json"
    )
    assert swept.returncode == 0, swept.stderr
    often, seldom = json.loads(swept.stdout)["points"]
    (sweep,) = folder.glob("runs/small-sweep-*")
    compared = fleet_sim(folder, "compare", often["runs"][0]["folder"], seldom["runs"][0]["folder"])
    reported = fleet_sim(folder, "report", sweep, finished[0]["folder"], "-o", "page.html")

    assert "messages" in compared.stdout
    assert "differs" in compared.stdout
    assert reported.returncode == 0, reported.stderr
    assert (folder / "page.html").read_text().count("<svg") > 8
