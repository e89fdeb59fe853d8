"""What `fleet doctor` says of a real Prometheus, as it is configured well or not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
from reram_fleet.processes.flower import free_port

from fleet.config import Context
from fleet.coordinator.folder import CoordinatorFolder
from fleet.doctor.findings import State
from fleet.doctor.prometheus import check_prometheus
from fleet.doctor.target import Target
from fleet.doctor.web import PageError, answer
from fleet.local.prometheus import prometheus_command
from tests.deployment import checker
from tests.integration.coordinator.coordinator_process import CoordinatorProcess, eventually

Examine = Callable[[str], list[tuple[State, str]]]


@pytest.fixture
def examine(coordinator) -> Examine:
    def look(prometheus: str) -> list[tuple[State, str]]:
        target = Target.find(Context(), CoordinatorFolder(coordinator.state), prometheus)
        return [(each.state, each.found) for each in check_prometheus(target)]

    return look


@pytest.fixture
def watch(tmp_path) -> Iterator[Callable[..., str]]:
    """Start a Prometheus that scrapes an address, and has evaluated its rules; returns its URL."""
    checker("prometheus")
    started: list[subprocess.Popen[bytes]] = []

    def start(metrics: str, alert: str = "") -> str:
        port = free_port(range(20_000, 32_000))
        command = prometheus_command(tmp_path, port, metrics, interval_s=1)
        rule = {"alert": "OfOurOwn", "expr": alert or "vector(1) > 1"}
        rules = {"groups": [{"name": "own", "rules": [rule]}]}
        (tmp_path / "own.json").write_text(json.dumps(rules))
        config = tmp_path / "prometheus.json"
        settings = json.loads(config.read_text())
        files = [*settings["rule_files"], "own.json"] if alert else ["own.json"]
        config.write_text(json.dumps({**settings, "rule_files": files}))
        with (tmp_path / "log").open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        eventually("it has looked at every target", lambda: _all_scraped(f"http://127.0.0.1:{port}"))
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.kill()
        process.wait()


def _all_scraped(url: str) -> bool:
    try:
        targets = answer(f"{url}/api/v1/targets?state=active")["data"]["activeTargets"]
        groups = answer(f"{url}/api/v1/rules")["data"]["groups"]
    except PageError:
        return False
    judged = all(rule["health"] != "unknown" for group in groups for rule in group["rules"])
    return len(targets) >= 2 and all(each["health"] != "unknown" for each in targets) and judged


def metrics_of(coordinator: CoordinatorProcess) -> str:
    with coordinator.client() as client:
        return client.get_fleet().metrics_address


@pytest.mark.slow
def test_a_fleet_that_is_scraped_and_watched_by_rules_is_well_and_alerts_are_told(coordinator, watch, examine):
    url = watch(metrics_of(coordinator), "fleet_forget_generation >= 0")

    answers, scrapes, rules, alerts = eventually(
        "it has found the shards, and alerts", lambda: found if len(found := examine(url)) == 4 else None
    )

    assert (answers[0], scrapes[0], rules[0]) == (State.OK, State.OK, State.OK)
    assert "targets that are up: 2" in scrapes[1]
    assert rules[1] == "all alerts of this version are loaded"
    assert alerts == (State.WARNING, "it alerts: OfOurOwn")


@pytest.mark.slow
def test_a_prometheus_that_scrapes_nobody_says_so(watch, examine, tmp_path):
    closed = f"127.0.0.1:{free_port(range(20_000, 32_000))}"
    reachable, scrapes, rules = examine(watch(closed))
    assert reachable[0] is State.OK
    assert (scrapes[0], "it has nothing of fleet" in scrapes[1]) == (State.FAILURE, True)
    assert rules[0] is State.WARNING
    assert "alerts that are not loaded: NodeServingBehindGeneration" in rules[1]


def test_a_prometheus_that_is_not_there_is_a_failure(examine):
    port = free_port(range(20_000, 32_000))
    ((state, found),) = examine(f"http://127.0.0.1:{port}")
    assert state is State.FAILURE
    assert "does not answer: [Errno 111] Connection refused" in found


def test_an_address_of_something_else_is_a_failure(coordinator, examine):
    ((state, found),) = examine(f"http://{metrics_of(coordinator)}")
    assert state is State.FAILURE
    assert "answers 404" in found
