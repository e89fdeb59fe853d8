"""A style that the backbone knows, forgotten by two real nodes that draw: an eraser by Flower, refused by its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.cli.test_local_fleet import Shell, processes_of

NIGHT = "style:night"


@pytest.mark.slow
def test_style_is_masked_by_an_eraser_that_flower_trains(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    up = ["up", "--nodes", "2", "--task", "images", "--metrics-port", "0", "--state", str(shell.state)]
    try:
        started = shell.json(*up)
        node = started["nodes"][0]["state"]
        unknown = shell.run("forget", "create", "--concept", "style:baroque", "--yes")
        assert unknown.returncode != 0
        assert NIGHT in unknown.stderr

        forget = shell.json("forget", "create", "--concept", NIGHT, "--yes", "--wait", "--timeout", "180")

        verdict = forget["verdicts"]["backbone"]
        assert (forget["state"], verdict["verdict"], forget["reram_writes"]) == ("converged", "MASKED", 0)
        assert "taken off" in verdict["basis"]
        (job,) = shell.json("learn", "list")["items"]
        assert (job["state"], job["type"]) == ("succeeded", "train.unlearn")
        assert job["metrics"]["eraser_shows"] <= 0.05
        assert job["metrics"]["eraser_open"] <= 0.05
        assert job["metrics"]["eraser_others"] >= 0.95
        assert job["metrics"]["eraser_stripped"] >= 0.95
        asked = ["generate", "--state", node, "--class", "tree", "--output", str(tmp_path / "tree.png")]
        refused = shell.run(*asked, "--style", "night", program_name="edge-node")
        assert "FORGOTTEN_CONCEPT" in refused.stderr
        assert shell.run(*asked, "--style", "flat", program_name="edge-node").returncode == 0
        file = str(tmp_path / "certificate.json")
        issued = shell.run("certificate", "issue", forget["campaign_id"], "--output", file)
        key = re.findall(r"certificate: ([0-9a-f]{64})", " ".join(issued.stderr.split()))[0]
        assert shell.run("certificate", "verify", file, "--public-key", key).returncode == 0
    finally:
        down = shell.run("down")
    assert down.returncode == 0, down.stderr
    assert processes_of(tmp_path) == []
