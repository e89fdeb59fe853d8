"""Settings of `edge-node run`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from edge_node.cli import app


@pytest.mark.parametrize(
    "options",
    [
        ["--heartbeat", "nan"],
        ["--calibrate-every", "0"],
        ["--heartbeat", "0"],
        ["--connect-delay", "inf"],
        ["--metrics-port", "70000"],
        ["--metrics-port", "-1"],
        ["--state", ""],
    ],
    ids=" ".join,
)
def test_settings_that_mean_nothing_are_refused_before_anything_is_made(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(app, ["run", "--state", str(tmp_path / "node"), *options])

    assert done.exit_code == 2
    assert options[0] in done.stderr
    assert options[1] in done.stderr
    assert not list(tmp_path.iterdir())
