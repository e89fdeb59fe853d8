"""`fleet sim faults`: its exit codes, what it writes, and the replay of that."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from fleet.cli import app
from fleet.cli.exits import ExitCode
from fleet.sim.faults.history import History
from tests.faults.finding_histories import FINDS
from tests.faults.mutants import MUTANTS


def fleet_sim_faults(*arguments):
    return CliRunner().invoke(app, ["sim", "faults", *map(str, arguments)])


def test_a_history_that_breaks_nothing_says_so(tmp_path):
    path = tmp_path / "history.json"
    path.write_text(FINDS["key not destroyed"].text())

    done = fleet_sim_faults("--replay", path)

    assert done.exit_code == ExitCode.OK, done.output
    assert "every promise holds" in done.output


def test_a_search_tells_how_much_was_run(tmp_path):
    done = fleet_sim_faults("--runs", 1, "--seed", 4, "--output", tmp_path / "broken", "-o", "json")

    assert done.exit_code == ExitCode.OK, done.output
    assert list(tmp_path.iterdir()) == []
    body = json.loads(done.stdout)
    assert (body["runs"], body["failed"]) == (1, [])
    assert body["events"] >= 200
    assert {each["fault"] for each in body["met"]}


def test_what_breaks_a_promise_is_written_shrunk_and_replayed_to_the_same_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "forgotten kept in SRAM")
    with mutant.planted():
        searched = fleet_sim_faults("--runs", 1, "--seed", 4, "-o", "json")
        replayed = [fleet_sim_faults("--replay", "faults/seed-4.json", "-o", "json") for _ in range(2)]

    assert searched.exit_code == ExitCode.FAILED
    assert json.loads(searched.stdout)["files"] == ["faults/seed-4.json"]
    assert len(History.load(tmp_path / "faults" / "seed-4.json").actions) <= 4
    first, second = (json.loads(each.stdout) for each in replayed)
    assert first["violations"] == second["violations"] != []


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "it.json").write_text("{}")

    assert fleet_sim_faults("--replay", tmp_path / "it.json").exit_code == ExitCode.USAGE
    assert fleet_sim_faults("--replay", tmp_path / "none.json").exit_code == ExitCode.NOT_FOUND
