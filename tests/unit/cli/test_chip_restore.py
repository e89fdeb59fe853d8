"""`fleet chip restore`: figures on stdout, files where asked, help where it cannot."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fleet.cli import app
from fleet.cli.exits import ExitCode
from fleet.documents import API_VERSION


@pytest.fixture
def restore(tmp_path):
    """Run it where no photos are found, so on digits."""
    environment = {
        "SCIKIT_LEARN_DATA": str(tmp_path / "no-photos"),
        "RERAM_FLEET_FACES": None,
        "RERAM_FLEET_DATA": None,
    }

    def run(*arguments: str):
        return CliRunner().invoke(app, ["chip", "restore", *arguments], env=environment)

    return run


TINY = ("--noise", "5", "--stuck", "", "--chips", "1")


def test_json_on_stdout_and_the_same_with_a_plot_in_the_folder(restore, tmp_path):
    result = restore(*TINY, "--output", str(tmp_path / "out"), "-o", "json")

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["api_version"], document["kind"]) == (API_VERSION, "ChipRestore")
    (condition,) = document["conditions"]
    assert condition["restored"]["accuracy"]["mean"] > condition["chip"]["accuracy"]["mean"]
    assert json.loads((tmp_path / "out" / "chip-restore.json").read_text()) == document
    assert (tmp_path / "out" / "chip-restore.svg").read_text().lstrip().startswith("<?xml")


def test_the_table_says_what_it_cost_and_what_it_could_not_do(restore):
    result = restore(*TINY, "--rank", "1", "--layers", "paper")

    assert result.exit_code == 0, result.stderr
    assert "face-mixer on 180nm-1t1r, 1 chip per condition" in result.stdout
    assert "rank 1, paper layers, int8: 238 numbers" in result.stdout
    assert "digits of scikit-learn (no Olivetti photos were found)" in result.stdout
    assert "180nm-1t1r has no model of relaxation" in result.stdout
    assert "not brought back to within 2 points" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--network", "image-dit"), ExitCode.USAGE, "Choose face-mixer or speaker-lsm."),
        (("--preset", "7nm"), ExitCode.NOT_FOUND, "no preset '7nm'"),
        (("--noise", "one"), ExitCode.USAGE, "--noise takes numbers separated by commas; got 'one'"),
        (("--age", "1d"), ExitCode.USAGE, "--preset 130nm-neurram"),
        (("--preset", "130nm-neurram", "--age", "9y"), ExitCode.USAGE, "covers ages of"),
        (("--stuck", "2"), ExitCode.USAGE, "between 0 and 1"),
        (("--data", "/no/such/folder"), ExitCode.USAGE, "no Olivetti photos in /no/such/folder"),
        (("--rank", "0"), ExitCode.USAGE, "--rank"),
    ],
)
def test_what_cannot_be_done_is_told_with_an_exit_code(restore, arguments, code, message):
    result = restore(*arguments)

    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (('programming_error = "constant"', 'programming_error = "milo"'), "50 to 225 uS that programming error"),
        (('relaxation = "none"', 'relaxation = "wan"'), "0 to 40 uS that relaxation 'wan' covers"),
        (
            (
                "wire_resistance_ohm = { value = 0.0, low = 0.0, high = 0.7",
                "wire_resistance_ohm = { value = 9, low = 0, high = 9",
            ),
            "first order holds to 20%",
        ),
    ],
    ids=["programming error", "relaxation", "wire"],
)
def test_own_preset_that_no_chip_can_be_made_of_is_told_with_an_exit_code(restore, tmp_path, model, message):
    mine = tmp_path / "mine.toml"
    text = CliRunner().invoke(app, ["chip", "show", "180nm-1t1r", "--toml"]).stdout.replace(*model)
    mine.write_text(text.replace('name = "180nm-1t1r"', 'name = "mine"'))

    # On a layer of 512 rows, so that a wire is long enough to lose its voltage.
    result = restore("--preset", str(mine), "--network", "speaker-lsm", *TINY)

    assert result.exit_code == ExitCode.USAGE
    assert message in result.stderr
    assert result.stdout == ""
