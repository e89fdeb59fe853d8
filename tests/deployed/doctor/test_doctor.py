"""`fleet doctor` beside a coordinator that serves, and when something is wrong with its processes and ports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from fleet.cli import app
from fleet.coordinator.folder import CoordinatorFolder
from fleet.doctor.findings import State
from fleet.doctor.isolation import walls
from fleet.store.database import Store
from tests.components import WITHOUT_ROOT, lacking
from tests.integration.coordinator.coordinator_process import eventually

Look = Callable[..., tuple[int, list[dict[str, str]]]]


@pytest.fixture
def doctor(coordinator, tmp_path) -> Look:
    """Return the exit code, and the findings of a state and area."""

    def look(*states: State, area: str = "") -> tuple[int, list[dict[str, str]]]:
        config = {"FLEET_CONFIG": str(tmp_path / "config.toml")}
        done = CliRunner().invoke(app, ["doctor", "--state", str(coordinator.state), "-o", "json"], env=config)
        document: dict[str, Any] = json.loads(done.stdout)
        assert (document["api_version"], document["kind"]) == ("reram-fleet/v1", "Examination")
        findings = document["findings"]
        return done.exit_code, [f for f in findings if f["state"] in states and area in ("", f["area"])]

    return look


def test_a_coordinator_that_serves_is_well(doctor):
    code, findings = doctor(State.WARNING, State.FAILURE, State.UNKNOWN)
    assert (code, [each["area"] for each in findings]) == (0, ["Prometheus"]), findings


def test_another_leader_of_its_database_is_a_failure(doctor, coordinator):
    with Store.open(CoordinatorFolder(coordinator.state).database_url) as store:
        store.lead("elsewhere:7")
    code, (finding,) = doctor(State.FAILURE, area="database")
    assert code == 1
    assert finding["found"].startswith("elsewhere:7 leads this fleet since epoch 2")
    coordinator.kill()
    coordinator.start()
    assert doctor(State.FAILURE) == (0, [])


def test_a_coordinator_that_ended_is_told_from_one_whose_port_somebody_took(doctor, coordinator):
    host, _, port = coordinator.address.partition(":")
    coordinator.kill()
    try:
        code, (finding,) = doctor(State.WARNING)
        assert (code, finding["area"]) == (0, "ports")
        assert "no coordinator runs" in finding["found"]
        assert finding["fix"].startswith(f"fleet serve --state {coordinator.state}")

        with socket.create_server((host, int(port))) as squatter:
            code, (finding,) = doctor(State.FAILURE)
            squatter.settimeout(0.2)
            # Nobody called, so no token was sent.
            with pytest.raises(TimeoutError):
                squatter.accept()
        assert code == 1
        assert f"process {os.getpid()} " in finding["found"]
        assert "it was sent no token" in finding["found"]
    finally:
        coordinator.start()


def test_a_coordinator_that_stands_still_is_a_failure_and_is_not_waited_for(doctor, coordinator):
    process = psutil.Process(coordinator.process.pid)
    process.suspend()
    try:
        code, (finding,) = doctor(State.FAILURE)
    finally:
        process.resume()
    assert (code, finding["fix"]) == (1, f"kill -CONT {process.pid}")
    assert "was stopped, and stands still" in finding["found"]


def test_a_coordinator_that_is_named_and_does_not_answer_is_a_failure(coordinator, tmp_path):
    connection = ["--address", "127.0.0.1:1", "--ca", str(coordinator.state / "ca.pem")]
    token = ["--token-file", str(coordinator.state / "keys" / "operator.token")]
    config = {"FLEET_CONFIG": str(tmp_path / "config.toml")}
    done = CliRunner().invoke(app, [*connection, *token, "doctor", "-o", "json"], env=config)
    failed = [each for each in json.loads(done.stdout)["findings"] if each["state"] == State.FAILURE]
    assert (done.exit_code, [each["area"] for each in failed]) == (1, ["ports"])
    assert "no answer from the coordinator at 127.0.0.1:1" in failed[0]["found"]


@pytest.fixture
def sleeper() -> Iterator[Callable[..., psutil.Process]]:
    """Start processes that stand for a SuperLink: what is looked at is what the kernel knows of them."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*before: str, **options: Any) -> psutil.Process:
        command = before if before[-1:] and before[-1].endswith("sleep 600") else (*before, "sleep", "600")
        started.append(subprocess.Popen(command, **options))
        process = psutil.Process(started[-1].pid)
        return eventually("it sleeps", lambda: _sleeping(process))

    yield start
    for process in started:
        family = psutil.Process(process.pid).children(recursive=True)
        for each in (*family, process):
            each.kill()
        process.wait()


def _sleeping(process: psutil.Process) -> psutil.Process | None:
    found = [each for each in (process, *process.children(recursive=True)) if each.name() == "sleep"]
    return found[-1] if found else None


@pytest.fixture
def keys(tmp_path):
    (tmp_path / "state" / "keys").mkdir(parents=True)
    return tmp_path / "state" / "keys"


def test_a_superlink_under_the_coordinators_user_is_a_warning(sleeper, keys):
    (finding,) = walls(sleeper(), sleeper(), "running", keys)
    assert finding.state is State.WARNING
    assert "runs under the coordinator's user, with no namespace of its own" in finding.found
    assert f"a file system that has {keys}" in finding.found
    assert "can read the command key" in finding.found
    assert "--flower-attach" in finding.fix


@pytest.mark.skipif(WITHOUT_ROOT, reason="only root may start a process of another user")
def test_a_superlink_under_its_own_user_is_well(sleeper, keys):
    (finding,) = walls(sleeper(), sleeper(user=65534, group=65534), "attached", keys)
    assert finding.state is State.OK
    assert "runs under user nobody" in finding.found


@pytest.mark.skipif(WITHOUT_ROOT, reason="only root may start a process of root")
def test_a_superlink_under_root_is_a_warning_whoever_the_coordinator_is(sleeper, keys):
    (finding,) = walls(sleeper(user=65534, group=65534), sleeper(), "attached", keys)
    assert (finding.state, "runs under user root" in finding.found) == (State.WARNING, True)


def test_namespaces_are_enough_only_with_a_file_system_that_has_no_keys(sleeper, keys):
    if subprocess.run(["unshare", "--user", "--map-root-user", "true"], check=False).returncode:
        lacking("this machine lets nobody make a user namespace")
    cage = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")

    (finding,) = walls(sleeper(), sleeper(*cage), "running", keys)
    assert (finding.state, "(user, mnt, pid)" in finding.found) == (State.WARNING, True), finding.found

    hiding = ("sh", "-c", f"mount -t tmpfs none {keys.parent} && exec sleep 600")
    (finding,) = walls(sleeper(), sleeper(*cage, *hiding), "running", keys)
    assert (finding.state, f"a file system that has not {keys}" in finding.found) == (State.OK, True), finding.found

    (finding,) = walls(sleeper(), sleeper("unshare", "--user", "--map-root-user", "--net"), "running", keys)
    assert (finding.state, "(user, net)" in finding.found) == (State.WARNING, True), finding.found
