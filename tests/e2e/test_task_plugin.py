"""A task from outside: the example that users copy, installed by pip, on a real fleet and in a verification."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from reram_fleet.processes.flower import program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

EXAMPLE = Path(__file__).parent.parent / "example_task"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes that see the example installed."""
    folder = tmp_path_factory.mktemp("plugin")
    # Building leaves files beside the sources.
    source = shutil.copytree(EXAMPLE, folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder / "installed"), str(source)]
    subprocess.run(command, check=True, cwd=folder)
    paths = [str(folder / "installed"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(folder), "NO_COLOR": "1"}


def test_demo_of_a_task_from_outside_holds_every_claim(environment: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "demo.json"
    options = ["--task", "patterns", "--nodes", "2", "--rounds", "1", "--output", str(output)]
    done = subprocess.run([program("fleet"), "demo", *options], env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert document["ok"] is True
    assert {node["state"] for node in document["nodes"]} == {"verified"}
    assert all(node["retain_accuracy_after"] == 1 and node["forget_accuracy_after"] == 0 for node in document["nodes"])


def test_a_task_from_outside_is_verified_for_every_kind_of_adapter(environment: dict[str, str]) -> None:
    command = [program("fleet"), "verify", "--task", "patterns", "--people", "1", "-o", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    verdicts = {one["kind"]: one["verdict"] for one in json.loads(done.stdout)["verdicts"]}
    assert verdicts == {
        "subject adapter": "EXACT",
        "closed-form head": "EXACT",
        "cohort LoRA": "EXACT",
        "shared LoRA": "APPROXIMATE, accepted",
    }


def test_a_coordinator_learns_the_code_range_without_the_physics(environment: dict[str, str]) -> None:
    script = (
        "import sys; from reram_fleet.tasks import code_range; codes = code_range('patterns')\n"
        "print(codes.features, sorted({'torch', 'hwmodel', 'edge_node.recognition'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == "128 []\n"


def test_where_it_is_not_installed_its_name_is_unknown() -> None:
    for command in (["fleet", "demo", "--task", "patterns"], ["edge-node", "prepare", "--task", "patterns"]):
        done = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True)

        assert done.returncode != 0
        assert "there is no task 'patterns'; known: faces, faces-64, faces-yale-b, fsdd, fsdd-8, images" in done.stderr
