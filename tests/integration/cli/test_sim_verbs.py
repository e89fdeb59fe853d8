"""`fleet sim`, from a process that is killed to a report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
from typer.testing import CliRunner

from fleet import sim
from fleet.cli import app
from fleet.cli.exits import ExitCode
from fleet.local.deadline import Deadline
from fleet.sim.scenario import Scenario
from tests.unit.sim.conftest import SMALL


def command(*arguments):
    return [sys.executable, "-c", "from fleet.cli import main; main()", "sim", *map(str, arguments)]


def fleet_sim(*arguments):
    return CliRunner().invoke(app, ["sim", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("sim")
    (made / "small.toml").write_text(SMALL)
    return made


@pytest.fixture(scope="module")
def finished(folder):
    return sim.run(Scenario.parse(SMALL), seed=1, output=folder / "runs")


def test_run_that_was_killed_is_resumed_by_another_process_with_an_equal_digest(folder, finished, tmp_path):
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
    interrupted = json.loads(fleet_sim("show", run, "-o", "json").stdout)

    resumed = subprocess.run(command("resume", run, "-o", "json"), capture_output=True, text=True, timeout=120)

    assert "# HELP fleet_sim_virtual_time_seconds" in scraped
    assert interrupted["state"] == "interrupted"
    assert interrupted["digest"] is None
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["resumed"] == 1
    assert json.loads(resumed.stdout)["digest"] == finished.digest


def test_finished_run_is_not_overwritten_without_force(folder, finished):
    again = ("run", folder / "small.toml", "--output", folder / "runs")
    refused, forced = fleet_sim(*again), fleet_sim(*again, "--force", "-o", "json")

    assert refused.exit_code == ExitCode.CONFLICT
    assert "--force" in refused.stderr
    assert forced.exit_code == ExitCode.OK, forced.stderr
    assert json.loads(forced.stdout)["digest"] == finished.digest


def test_sweep_comparison_and_report(folder, finished):
    values, output = 'time.heartbeat=["30s", "5min"]', ("--output", folder / "runs", "-o", "json")
    swept = fleet_sim("sweep", folder / "small.toml", "--vary", values, "--seeds", "1-2", *output)
    assert swept.exit_code == ExitCode.OK, swept.stderr
    often, seldom = json.loads(swept.stdout)["points"]
    (sweep,) = folder.glob("runs/small-sweep-*")
    compared = fleet_sim("compare", often["runs"][0]["folder"], seldom["runs"][0]["folder"])
    reported = fleet_sim("report", sweep, finished.folder, "-o", folder / "page.html")

    assert "messages" in compared.stdout
    assert "differs" in compared.stdout
    assert reported.exit_code == ExitCode.OK, reported.stderr
    assert (folder / "page.html").read_text().count("<svg") > 8


CHIPS = """
name = "chips"
title = "Two chips"
question = "Who computes them?"
fleet = {nodes = 2, people = 2, task = "speakers"}
time = {duration = "30d", heartbeat = "1min"}
"""


def test_ray_listens_on_this_machine_only_and_is_gone_when_the_run_is_interrupted(folder, tmp_path):
    (folder / "chips.toml").write_text(CHIPS)
    arguments = ("run", "chips.toml", "--output", tmp_path, "--engine", "ray", "--actors", 1, "--checkpoint-every", 0)
    with subprocess.Popen(
        command(*arguments), cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    ) as going:
        deadline = Deadline.of(120)
        while not list(tmp_path.glob("*/checkpoint")) and deadline.left_s and going.poll() is None:
            time.sleep(0.05)
        started = psutil.Process(going.pid).children(recursive=True)
        actors = [process for process in started if "_ChipActor" in process.name() + "".join(process.cmdline())]
        listening = {
            connection.laddr.ip
            for process in (psutil.Process(going.pid), *started)
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        # As a terminal does, to all of them.
        os.killpg(going.pid, signal.SIGINT)
        said = going.communicate(timeout=60)[1].decode()

    assert len(actors) == 1
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert listening
    assert going.returncode == ExitCode.INTERRUPTED, said
    assert psutil.wait_procs(started, timeout=30)[1] == []
    (run,) = (path.parent for path in tmp_path.glob("*/run.json"))
    assert json.loads(fleet_sim("show", run, "-o", "json").stdout)["state"] == "interrupted"
