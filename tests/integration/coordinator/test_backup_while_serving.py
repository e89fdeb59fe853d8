"""`fleet admin` beside a coordinator that serves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import Result
from reram_fleet.crypto.identifiers import new_tag
from typer.testing import CliRunner

from fleet.cli import app
from tests.integration.coordinator.coordinator_process import CoordinatorProcess, eventually


@pytest.fixture
def coordinator(tmp_path) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "coordinator")
    process.start()
    yield process
    process.kill()


def admin(coordinator: CoordinatorProcess, *arguments: str) -> Result:
    config = {"FLEET_CONFIG": str(coordinator.state / "no-config.toml")}
    return CliRunner().invoke(app, ["admin", *arguments, "--state", str(coordinator.state), "-o", "json"], env=config)


def generation(coordinator: CoordinatorProcess) -> int:
    with coordinator.client() as client:
        return client.get_fleet().generation


def forget_somebody(coordinator: CoordinatorProcess) -> None:
    with coordinator.client() as client:
        client.create_forget(new_tag(), [new_tag()], allow_unknown=True)


def test_a_backup_is_taken_of_a_coordinator_that_serves_and_restored_to_one_that_does_not(coordinator, tmp_path):
    file = str(tmp_path / "backup.tar.gz")
    forget_somebody(coordinator)
    made = admin(coordinator, "backup", "--output", file)
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["generation"] == 1
    assert admin(coordinator, "backup", "--output", file).exit_code == 4

    serving = admin(coordinator, "restore", file, "--yes")
    assert (serving.exit_code, "serves from" in serving.stderr) == (4, True)

    forget_somebody(coordinator)
    coordinator.kill()
    assert admin(coordinator, "restore", file).exit_code == 2, "nobody said yes"
    refused = admin(coordinator, "restore", file, "--yes")
    assert (refused.exit_code, "1 would be lost" in refused.stderr) == (4, True)
    done = admin(coordinator, "restore", file, "--yes", "--lose-forgets")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["kind"], document["generation_before"], document["manifest"]["generation"]) == ("Restore", 2, 1)

    coordinator.start()
    # No node is awaited, so the forget that is in no log any more is committed anew.
    eventually("generation 2", lambda: generation(coordinator) == 2 or None)
