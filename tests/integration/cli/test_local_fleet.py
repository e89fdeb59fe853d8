"""The CLI and a local fleet as real processes: coordinator and two nodes, without the learning plane."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from reram_fleet.processes.flower import program
from reram_fleet.processes.supervised import ProcessError
from reram_fleet.v1 import types_pb2 as types

from edge_node.storage.keys import NodeKeys
from fleet.config import ServeSettings
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.serve import fleet_of
from fleet.lab.demo.people import load_demo_people
from fleet.local.deadline import Deadline
from fleet.local.errors import LocalFleetError
from fleet.local.fleet import LocalFleet, LocalSettings
from fleet.registry import Registry
from fleet.store.database import Store
from fleet.trust.keys import CoordinatorKeys


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


@pytest.mark.slow
def test_fleet_comes_up_forgets_somebody_and_goes_down_without_a_trace(tmp_path):
    shell = Shell(tmp_path)
    up = ["up", "--nodes", "2", "--no-flower", "--state", str(shell.state)]
    try:
        started = shell.json(*up)
        assert [node["node_id"] for node in started["nodes"]] == ["node-1", "node-2"]

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
        arguments = ["forget", "create", "--subject", "shirley", "--yes", "--request-id", "r-1"]
        # The node's contribution reaches the coordinator a moment after it was enrolled.
        Deadline.of(30).until("the tag is known", lambda: shell.json("status")["fleet"]["subjects"] or None)
        forget = shell.json(*arguments, "--wait", "--timeout", "60")
        assert forget["state"] == "converged"
        assert {e["state"] for e in forget["executions"]} <= {"verified", "not_affected"}
        assert forget["verdicts"]["subject-adapter"]["verdict"] == "EXACT"
        assert forget["reram_writes"] == 0
        again = shell.json(*arguments)
        assert (again["created"], again["campaign_id"]) == (False, forget["campaign_id"])
        assert shell.run("forget", "create", "--subject", "shirly", "--yes").returncode == 3
    finally:
        down = shell.run("down")
    assert down.returncode == 0, down.stderr
    assert processes_of(tmp_path) == []
    assert shell.run("down", "--state", str(shell.state)).returncode == 3
    assert shell.run("status").returncode == 6
    # Who is behind which tag does not end with the coordinator.
    (enrolment,) = shell.json("registry", "list")["items"]
    assert (enrolment["person"], enrolment["state"]) == ("shirley", "forgotten")

    refused = shell.run(*up, "--task", "images", "--preset", "22nm")
    assert refused.returncode == 4
    assert "programmed for --task speakers --preset 180nm-1t1r" in refused.stderr
    assert "Training" not in refused.stderr
    assert processes_of(tmp_path) == []


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
    done = shell.run("up", "--nodes", "1", "--no-flower", "--state", str(shell.state))
    assert done.returncode == 1
    assert done.stderr.startswith("Starting a coordinator")
    assert "the coordinator ended while it was awaited" in done.stderr
    assert "keys" in done.stderr
    assert processes_of(tmp_path) == []
    assert shell.run("down", "--state", str(shell.state)).returncode == 3


@pytest.mark.slow
def test_fleet_up_with_a_coordinator_of_before_says_so_and_what_to_do(tmp_path):
    shell = Shell(tmp_path)
    settings = LocalSettings(shell.state, nodes=1, lease_s=30.0, learning=False)
    with LocalFleet(settings) as fleet:
        fleet.start()
    backup = shutil.copytree(settings.layout.coordinator, tmp_path / "backup")
    with LocalFleet(settings) as fleet:
        fleet.start()
        with fleet.client() as client, fleet.engine(0) as engine:
            client.create_forget("request-1", ["ab" * 16], allow_unknown=True)
            Deadline.of(60).until("the node has the log", lambda: engine.status().generation or None)
    # What an earlier run complained of is not why this one fails.
    with settings.layout.log("node-1").open("a") as log:
        log.write("ERROR of an earlier run\n")
    shutil.rmtree(settings.layout.coordinator)
    shutil.copytree(backup, settings.layout.coordinator)

    done = shell.run("up", "--nodes", "1", "--no-flower", "--state", str(shell.state))

    assert done.returncode == 1
    assert "node-1 cannot join: the coordinator refuses this node" in done.stderr
    assert "node-1 has seen 1 forgets, the coordinator knows 0: it was restored from an older backup" in done.stderr
    assert "Bring the newest copy" in done.stderr
    assert "earlier run" not in done.stderr
    assert processes_of(shell.state) == []


def test_fleet_up_in_a_place_that_cannot_be_written_is_a_plain_error(tmp_path):
    shell = Shell(tmp_path)
    shell.state.write_text("a file where a folder belongs")
    done = shell.run("up", "--nodes", "1", "--state", str(shell.state))
    assert done.returncode == 1
    assert "cannot make the fleet's folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def said() -> list[str]:
    """Return what the local fleet has told as it started."""
    return []


@pytest.fixture(scope="module")
def local(tmp_path_factory, said):
    settings = LocalSettings(
        tmp_path_factory.mktemp("local"), nodes=2, lease_s=30.0, learning=False, restart_nodes=False
    )
    # Of an earlier run, with one node more.
    folder = CoordinatorFolder(settings.layout.coordinator)
    keys = CoordinatorKeys.load_or_create(folder.keys)
    with Store.open(folder.database_url) as store, store.transaction() as tx:
        fleet_of(tx, ServeSettings(state=folder.root, task=settings.task), keys)
        tx.nodes.enroll(NodeKeys.in_memory("node-3").identity)
    with LocalFleet(settings, said.append) as fleet:
        fleet.start()
        yield fleet


@pytest.mark.slow
def test_fleet_with_fewer_nodes_than_before_is_ready_and_says_which_are_missing(local, said):
    assert local.absent == ["node-3"]
    # Before any node was waited for.
    missing = next(i for i, line in enumerate(said) if "not started: node-3" in line)
    started = next(i for i, line in enumerate(said) if "node-1 enrolled" in line)
    assert missing < started
    assert "--nodes 3" in said[missing]
    assert "fleet node retire" in said[missing]


@pytest.mark.slow
def test_killed_node_stays_down_and_is_backbone_only_until_it_has_caught_up(local):
    people = load_demo_people()
    registry = Registry(local.layout.registry)
    person = people.enrolled[0]
    tag = registry.enrol(person.name)
    with local.engine(1) as engine:
        engine.enroll(local.ticket(tag, 1), person.train[:10])
    with local.client() as client:
        Deadline.of(30).until("the tag is known", lambda: client.get_fleet().subjects or None)
        killed = local.kill_node(1)
        assert not psutil.pid_exists(killed)
        forget = client.create_forget("request-1", [tag]).forget
        with pytest.raises(ProcessError, match="does not run"):
            local.kill_node(1)
        local.start_node(1, connect_delay_s=1.0)
        with_adapters = []

        def caught_up():
            if local.nodes[1].running() is None:
                return None
            try:
                with local.engine(1) as engine:
                    response = engine.identify(person.test[:2])
            except LocalFleetError:
                return None
            if not response.backbone_only:
                with_adapters.append(response)
            return with_adapters or None

        Deadline.of(60).until("the node serves again", caught_up, poll_s=0.05)
        assert with_adapters[0].generation == forget.generation
        assert all(answer.best_tag != tag for answer in with_adapters[0].answers)
        with local.engine(1) as engine:
            states = [transition.serve_state for transition in engine.status().transitions]
        assert states[0] == types.SERVE_STATE_QUARANTINED


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
