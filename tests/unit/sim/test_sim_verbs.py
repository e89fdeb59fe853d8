"""`fleet sim`: what is asked for is checked before anything runs."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fleet.cli import app
from fleet.cli.exits import ExitCode
from fleet.sim import gallery
from fleet.sim.cli import changes_of, seeds_of


def fleet_sim(*arguments):
    return CliRunner().invoke(app, ["sim", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "first-forgot"], ExitCode.NOT_FOUND, "it has chip-ageing"),
        (["run", "none.toml"], ExitCode.NOT_FOUND, "cannot read none.toml"),
        (["run", "first-forget", "--set", "time.lease"], ExitCode.USAGE, "is no KEY=VALUE"),
        (["run", "first-forget", "--set", "time.lease=soon"], ExitCode.USAGE, "'soon' is no duration"),
        (["run", "first-forget", "--set", "time.leese=1h"], ExitCode.USAGE, "time.leese"),
        (["run", "first-forget", "--seeds", "5-1"], ExitCode.USAGE, "like 1-5"),
        (["run", "first-forget", "--seeds", "1-5", "--seed", "1"], ExitCode.USAGE, "not both"),
        (["run", "first-forget", "--engine", "warp"], ExitCode.USAGE, "no engine 'warp'"),
        (["run", "first-forget", "--engine", "flower"], ExitCode.USAGE, "it cannot run a scenario"),
        (["run", "first-forget", "--actors", "2"], ExitCode.USAGE, "the engine inline has no actors"),
        (["sweep", "first-forget"], ExitCode.USAGE, "no values to go through"),
        (["sweep", "first-forget", "--vary", "fleet.nodes=0"], ExitCode.USAGE, "sweep"),
        (["show"], ExitCode.USAGE, "either a scenario, a run or --schema"),
        (["show", "."], ExitCode.NOT_FOUND, "no folder of a run"),
        (["compare", "here", "there"], ExitCode.NOT_FOUND, "no folder of a run"),
        (["report", "nowhere"], ExitCode.NOT_FOUND, "no folder of a run"),
        (["resume", "nowhere"], ExitCode.NOT_FOUND, "no folder of a run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(arguments, code, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = fleet_sim(*arguments)

    assert done.exit_code == code, done.output
    assert said in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_show_prints_a_file_to_start_from_and_the_schema():
    assert fleet_sim("show", "first-forget").stdout == gallery.text("first-forget")
    assert json.loads(fleet_sim("show", "--schema").stdout)["title"] == "Scenario"


def test_list_has_the_gallery_and_the_runs(finished, tmp_path):
    empty = fleet_sim("list", "--output", tmp_path)
    body = json.loads(fleet_sim("list", "--output", finished.folder.parent, "-o", "json").stdout)

    assert "lease-trade-off" in empty.stdout
    assert "fleet sim run first-forget" in empty.stderr
    assert finished.folder.name in {run["folder"] for run in body["runs"]}
    assert [each["name"] for each in body["scenarios"]] == gallery.names()


def test_show_of_a_run_has_its_figures(finished):
    body = json.loads(fleet_sim("show", finished.folder, "-o", "json").stdout)

    assert body["kind"] == "SimulationRun"
    assert body["digest"] == finished.digest
    assert "slowest suppression" in fleet_sim("show", finished.folder).stdout


def test_values_are_toml_or_text():
    pairs = ["a.b=3", "c=2h", 'd=["1h"]', "e=true", "f=180nm-1t1r"]
    assert changes_of(pairs, 4) == {
        "a.b": 3,
        "c": "2h",
        "d": ["1h"],
        "e": True,
        "f": "180nm-1t1r",
        "fleet.nodes": 4,
    }


def test_seeds_are_numbers_and_ranges_each_once():
    assert seeds_of(None, None) == [1]
    assert seeds_of(7, None) == [7]
    assert seeds_of(None, "1-3,9,2-4") == [1, 2, 3, 9, 4]
