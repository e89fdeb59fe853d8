"""`edge-node prepare`: what all nodes of a task share is made once, and most tasks have nothing of the kind."""

from __future__ import annotations

from typer.testing import CliRunner

from edge_node.cli import app


def prepare(task: str):
    return CliRunner().invoke(app, ["prepare", "--task", task])


def test_a_backbone_is_trained_once_for_all_nodes_and_told_in_tenths(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    first, again = prepare("images-brief"), prepare("images-brief")

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert len(list((tmp_path / "reram-fleet" / "backbones").glob("*.safetensors"))) == 1
    assert "50 of 50 steps" in first.stderr
    assert len(first.stderr.splitlines()) == 11
    assert "steps" not in again.stderr


def test_a_task_that_shares_nothing_says_nothing():
    done = prepare("speakers")

    assert (done.exit_code, done.output) == (0, "")
