"""A task from outside: written by `fleet task new`, installed by pip, on a real fleet and in a verification."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reram_fleet.processes.flower import program

import tests.drawn_people
from tests.drawn_people import draw_people

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes that see a written task, and the module of its model, installed."""
    folder = tmp_path_factory.mktemp("plugin")
    installed = folder / "installed"
    installed.mkdir()
    shutil.copy(Path(tests.drawn_people.__file__), installed / "drawn_people.py")
    paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "FLEET_CONFIG": str(folder / "config.toml"),
        "TMPDIR": str(folder),
        "NO_COLOR": "1",
    }
    written = folder / "drawn"
    command = [program("fleet"), "task", "new", str(written), "--model", "drawn_people:model"]
    command += ["--data", str(draw_people(folder / "people")), "--public", "5", "--strangers", "2"]
    subprocess.run(command, check=True, env=environment)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(installed), str(written)]
    subprocess.run(command, check=True, cwd=folder)
    return environment


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Runs `fleet`, or another program, and returns the JSON that it prints."""

    def ran(*command: str, by: str = "fleet") -> dict[str, Any]:
        command = (program(by), *command, *(["-o", "json"] if by == "fleet" else []))
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return ran


def test_a_written_task_runs_on_a_fleet_that_enrols_people_and_forgets_one(
    run: Callable[..., dict[str, Any]], environment: dict[str, str], tmp_path: Path
) -> None:
    state = str(tmp_path / "fleet")
    # Without Flower: none of its processes loads a task.
    started = run("up", "--task", "drawn", "--nodes", "2", "--no-flower", "--metrics-port", "0", "--state", state)
    try:
        node = started["nodes"][0]["state"]
        enrolled = run("people", "enroll", "--count", "3", "--state", state)["people"]
        people = {one["person"]: one["tag"] for one in enrolled}
        forgotten, *kept = people

        def named(person: str) -> set[str]:
            answer = run("identify", "--state", node, "--person", person, by="edge-node")
            return {one["bestTag"] for one in answer["answers"]}

        assert {person: named(person) for person in people} == {person: {tag} for person, tag in people.items()}
        forget = run("forget", "create", "--subject", forgotten, "--yes", "--wait", "--timeout", "90")
        assert forget["state"] == "converged"
        verdicts = {kind: found["verdict"] for kind, found in forget["verdicts"].items()}
        assert verdicts == {"subject-adapter": "EXACT", "closed-form-head": "EXACT"}
        assert people[forgotten] not in named(forgotten)
        assert {person: named(person) for person in kept} == {person: {people[person]} for person in kept}
    finally:
        subprocess.run([program("fleet"), "down", "--state", state], env=environment, check=True)


def test_a_written_task_is_verified_for_every_kind_of_adapter(run: Callable[..., dict[str, Any]]) -> None:
    found = run("verify", "--task", "drawn", "--people", "1", "--seed", "2")

    assert {one["kind"]: one["verdict"] for one in found["verdicts"]} == {
        "subject adapter": "EXACT",
        "closed-form head": "EXACT",
        "cohort LoRA": "EXACT",
        "shared LoRA": "APPROXIMATE, accepted",
    }


def test_a_coordinator_learns_the_code_range_without_the_physics(environment: dict[str, str]) -> None:
    script = (
        "import sys; from reram_fleet.tasks import code_range; codes = code_range('drawn')\n"
        "print(codes.features, sorted({'torch', 'hwmodel', 'edge_node.recognition', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == "48 []\n"
