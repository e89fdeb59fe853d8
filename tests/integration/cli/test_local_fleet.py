"""The CLI and a local fleet as real processes: coordinator and two nodes, without the learning plane."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.processes.flower import program

from edge_node.storage.keys import NodeKeys
from edge_node.testing import FakeClock, FakeCoordinator, open_node
from fleet.config import ServeSettings
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.serve import fleet_of
from fleet.domain.tags import new_id
from fleet.local.deadline import Deadline
from fleet.local.fleet import LocalSettings
from fleet.store.database import Store
from fleet.trust.keys import CoordinatorKeys

#: In CI it must be there.
WATCHED = shutil.which("prometheus") is not None or "CI" in os.environ


class Shell:
    """`fleet` as an operator types it, with a configuration of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "fleet"
        self.environment = {
            **os.environ,
            "FLEET_CONFIG": str(folder / "config.toml"),
            "TMPDIR": str(folder),
            "NO_COLOR": "1",
        }

    def run(self, *arguments: str, program_name: str = "fleet") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program(program_name), *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            timeout=200,
        )

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def processes_of(folder: Path) -> list[str]:
    """Return the command lines that mention a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line:
            found.append(line)
    return found


def coordinator_before(settings: LocalSettings, *, enrolled: str = "") -> FakeCoordinator:
    """Make the folder of a coordinator that ran before; return one that speaks for it."""
    folder = CoordinatorFolder(settings.layout.coordinator)
    keys = CoordinatorKeys.load_or_create(folder.keys)
    with Store.open(folder.database_url) as store, store.transaction() as tx:
        fleet = fleet_of(tx, ServeSettings(state=folder.root, task=settings.task), keys)
        if enrolled:
            tx.nodes.enroll(NodeKeys.in_memory(enrolled).identity)
    return FakeCoordinator(fleet.fleet_id, keys.command_key, keys.sealing_key)


@pytest.mark.slow
def test_fleet_comes_up_forgets_somebody_and_goes_down_without_a_trace(tmp_path):
    shell = Shell(tmp_path)
    # Of an earlier run, with one node more.
    coordinator_before(LocalSettings(shell.state), enrolled="node-3")
    up = ["up", "--nodes", "2", "--no-flower", "--metrics-port", "0", "--state", str(shell.state)]
    up += ["--prometheus", "--prometheus-port", "0"] if WATCHED else []
    try:
        begun = shell.run(*up, "-o", "json")
        assert begun.returncode == 0, begun.stderr
        started = json.loads(begun.stdout)
        assert [node["node_id"] for node in started["nodes"]] == ["node-1", "node-2"]
        assert started["absent"] == ["node-3"]
        said = " ".join(begun.stderr.split())
        assert "not started: node-3" in said
        assert "--nodes 3" in said
        assert "fleet node retire" in said
        assert shell.run("node", "retire", "node-3", "--reason", "sold", "--yes").returncode == 0

        status = shell.json("status")
        assert status["fleet"]["nodes_connected"] == 2
        assert {node["serve_state"] for node in status["nodes"]} == {"serving"}
        assert shell.run(*up).returncode == 4

        ticket = shell.run("registry", "enroll", "shirley", "--node", "node-1").stdout.strip()
        node_state = started["nodes"][0]["state"]
        enrolled = shell.run(
            "enroll", "--state", node_state, "--ticket", ticket, "--person", "s04", program_name="edge-node"
        )
        assert enrolled.returncode == 0, enrolled.stderr
        # The node's contribution reaches the coordinator a moment after it was enrolled.
        Deadline.of(30).until("the tag is known", lambda: shell.json("status")["fleet"]["subjects"] or None)
        arguments = ["forget", "create", "--subject", "shirley", "--yes"]
        forget = shell.json(*arguments, "--wait", "--timeout", "60")
        assert forget["state"] == "converged"
        assert {e["state"] for e in forget["executions"]} <= {"verified", "not_affected"}
        assert forget["verdicts"]["subject-adapter"]["verdict"] == "EXACT"
        assert forget["reram_writes"] == 0
        people = shell.json("people", "enroll", "--count", "1", "--state", str(shell.state))["people"]
        assert people[0]["nodes"] == ["node-1", "node-2"]
        assert shell.run("people", "enroll", "--count", "99", "--state", str(shell.state)).returncode == 2
        if WATCHED:
            _check_watched(started["prometheus"], people[0]["tag"])
    finally:
        down = shell.run("down")
    assert down.returncode == 0, down.stderr
    assert processes_of(tmp_path) == []
    # Who is behind which tag does not end with the coordinator.
    enrolment, _ = sorted(shell.json("registry", "list")["items"], key=lambda each: each["state"], reverse=True)
    assert (enrolment["person"], enrolment["state"]) == ("shirley", "forgotten")

    refused = shell.run(*up, "--task", "images", "--preset", "22nm")
    assert refused.returncode == 4
    assert "programmed for --task speakers --preset 180nm-1t1r" in refused.stderr
    assert "Training" not in refused.stderr
    assert processes_of(tmp_path) == []


def _check_watched(prometheus: str, tag: str) -> None:
    """Check that a Prometheus has the fleet, its rules, one forget, and no person."""

    def asked(query: str) -> dict[str, str]:
        url = f"http://{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return {json.dumps(row["metric"]): row["value"][1] for row in json.load(answer)["data"]["result"]}

    for what in ("fleet_forget_verify_duration_seconds_count == 2", "sum(state:fleet_nodes:max) == 2"):
        Deadline.of(30).until(what, lambda: asked(what) or None)  # noqa: B023  # asked at once
    assert len(asked("fleet_node_applied_forget_generation == 1")) == 2
    everything = str(asked('{__name__=~".+"}'))
    assert len(everything) > 10_000
    assert tag not in everything


@pytest.mark.slow
def test_interrupted_demo_leaves_neither_process_nor_folder(tmp_path):
    shell = Shell(tmp_path)
    demo = subprocess.Popen(
        [program("fleet"), "demo", "--nodes", "2"],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stderr is not None
        # Both halves run by then: the coordinator, and a node with its keys.
        for line in demo.stderr:
            if "node-1 enrolled" in line:
                break
        (folder,) = tmp_path.glob("reram-fleet-demo-*")
        assert processes_of(folder)
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=60)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.communicate()
    assert demo.returncode == 130
    assert "Traceback" not in errors
    assert processes_of(folder) == []
    assert list(tmp_path.glob("reram-fleet-demo-*")) == []


@pytest.mark.slow
def test_fleet_up_that_cannot_start_leaves_nothing_and_shows_the_log(tmp_path):
    shell = Shell(tmp_path)
    (shell.state / "coordinator").mkdir(parents=True)
    (shell.state / "coordinator" / "keys").write_text("a file where a folder belongs")
    done = shell.run("up", "--nodes", "1", "--no-flower", "--metrics-port", "0", "--state", str(shell.state))
    assert done.returncode == 1
    assert done.stderr.startswith("Starting a coordinator")
    assert "the coordinator ended while it was awaited" in done.stderr
    assert "keys" in done.stderr
    assert processes_of(tmp_path) == []
    assert shell.run("down", "--state", str(shell.state)).returncode == 3


def node_that_knows_more(settings: LocalSettings) -> None:
    """Make the folder of a coordinator that was put back by hand, and of a node that has heard of a forget since."""
    forgetful = coordinator_before(settings)
    node = open_node(settings.layout.node("node-1"), forgetful, FakeClock())
    command = forgetful.command([new_tag()], campaign_id=new_id(1_700_000_000_000))
    forgetful.log.append(forgetful.sign(command))
    node.receive(forgetful.log_after(0))
    node.close()


@pytest.mark.slow
def test_fleet_up_with_a_coordinator_of_before_brings_back_what_its_node_knows(tmp_path):
    shell = Shell(tmp_path)
    settings = LocalSettings(shell.state, nodes=1)
    settings.layout.create()
    node_that_knows_more(settings)
    try:
        begun = shell.run("up", "--nodes", "1", "--no-flower", "--metrics-port", "0", "--state", str(shell.state))
        assert begun.returncode == 0, begun.stderr
        fleet = shell.json("status")["fleet"]
        assert (fleet["generation"], fleet["nodes_awaited"]) == (1, 0)
        assert fleet["restored_at_unix_ms"] is not None
        assert len(shell.json("forget", "list")["items"]) == 1
    finally:
        shell.run("down", "--state", str(shell.state))
    assert processes_of(shell.state) == []


@pytest.mark.slow
def test_fleet_up_with_a_coordinator_that_went_on_without_a_node_says_so_and_what_to_do(tmp_path):
    shell = Shell(tmp_path)
    settings = LocalSettings(shell.state, nodes=1)
    settings.layout.create()
    node_that_knows_more(settings)
    folder = CoordinatorFolder(settings.layout.coordinator)
    keys = CoordinatorKeys.load_or_create(folder.keys)
    with Store.open(folder.database_url) as store, store.transaction() as tx:
        tx.log.append(new_id(tx.now_ms), [new_tag()], keys.sign)
    # What an earlier run complained of is not why this one fails.
    settings.layout.log("node-1").write_text("ERROR of an earlier run\n")

    done = shell.run("up", "--nodes", "1", "--no-flower", "--metrics-port", "0", "--state", str(shell.state))

    assert done.returncode == 1
    assert "node-1 cannot join: the coordinator refuses this node" in done.stderr
    assert "has another entry of generation 1 than the log" in done.stderr
    assert "fleet node retire node-1" in done.stderr
    assert "earlier run" not in done.stderr
    assert processes_of(shell.state) == []
    with Store.open(folder.database_url) as store, store.snapshot() as tx:
        assert [report.kind for report in tx.nodes.quarantined("node-1")] == ["hello"]


def test_fleet_up_in_a_place_that_cannot_be_written_is_a_plain_error(tmp_path):
    shell = Shell(tmp_path)
    shell.state.write_text("a file where a folder belongs")
    done = shell.run("up", "--nodes", "1", "--metrics-port", "0", "--state", str(shell.state))
    assert done.returncode == 1
    assert "cannot make the fleet's folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_node_of_a_local_fleet_dies_with_whoever_started_it(tmp_path):
    program_text = (
        "import sys, time; from pathlib import Path\n"
        "from reram_fleet.processes.supervised import ReapedProcess\n"
        "child = ReapedProcess('sleeper', ['sleep', sys.argv[2]], Path(sys.argv[1]))\n"
        "child.start(); print('started', flush=True); time.sleep(600)\n"
    )
    # A number that no other sleep on this machine has.
    seconds = str(100_000 + os.getpid())
    parent = subprocess.Popen(
        [sys.executable, "-c", program_text, str(tmp_path / "log"), seconds], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    with parent:
        assert parent.stdout.readline() == b"started\n"
        Deadline.of(10).until("the child runs", lambda: _sleepers(seconds) or None)
        parent.kill()
    Deadline.of(20).until("the child is gone", lambda: True if not _sleepers(seconds) else None)


def _sleepers(seconds: str) -> list[str]:
    return [
        " ".join(process.info["cmdline"] or [])
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] == ["sleep", seconds]
    ]
