"""`pip install reram-fleet` without extras: what needs one says which, and help is always there."""

from __future__ import annotations

import subprocess
import sys

import pytest
from reram_fleet.processes.command_line import EXTRA_MODULES

PROGRAMS = {"fleet": "fleet.cli", "edge-node": "edge_node.cli"}


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program as if none of the extras' packages were installed."""
    text = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(EXTRA_MODULES)!r}))\n"
        f"from {PROGRAMS[program]} import main\n"
        "main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["fleet", "-h"],
        ["fleet", "up", "--help"],
        ["fleet", "adapter", "train", "-h"],
        ["edge-node", "-h"],
        ["edge-node", "run", "--help"],
        ["edge-node", "--version"],
        ["fleet", "--version"],
    ],
    ids=" ".join,
)
def test_help_and_version_need_no_extra(arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["fleet", "up", "--nodes", "1"], "sim"),
        (["fleet", "demo"], "sim"),
        (["fleet", "serve"], "coordinator"),
        (["fleet", "doctor"], "coordinator"),
        (["fleet", "adapter", "train", "--output", "out", "--personal-in-the-clear"], "sim"),
        (["fleet", "chip", "presets"], "sim"),
        (["fleet", "verify", "--task", "speakers"], "sim"),
        (["fleet", "paper", "run", "--task", "speakers"], "sim"),
        (["edge-node", "run", "--state", "node"], "node"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_what_needs_an_extra_says_which(arguments, extra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    done = run(*arguments)
    assert done.returncode == 2
    assert f"pip install 'reram-fleet[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_node_is_made_without_an_extra(tmp_path):
    done = run("edge-node", "init", "--state", str(tmp_path / "node"), "--node-id", "node-1")
    assert done.returncode == 0, done.stderr
    assert "node-1" in done.stdout
