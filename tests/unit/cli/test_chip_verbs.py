"""`fleet chip presets|show|report|fits`: no coordinator, no state, clear exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from fleet.cli import app
from fleet.documents import API_VERSION

FAST_REPORT = ["report", "--network", "face-mixer", "--draws", "50"]
FAST_FITS = ["fits", "--cells", "300"]


def chip(*arguments: str):
    return CliRunner().invoke(app, ["chip", *arguments])


def chip_json(*arguments: str) -> dict[str, Any]:
    result = chip(*arguments, "-o", "json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["presets"], "ChipPresetList"),
        (["show", "22nm"], "ChipPreset"),
        (FAST_REPORT, "ChipReport"),
        (FAST_FITS, "ChipFits"),
    ],
)
def test_every_verb_prints_versioned_json_alone_on_stdout(arguments, kind):
    document = chip_json(*arguments)

    assert (document["api_version"], document["kind"]) == (API_VERSION, kind)


def test_presets_are_listed_with_tile_window_and_models():
    by_name = {preset["name"]: preset for preset in chip_json("presets")["presets"]}

    assert set(by_name) == {"180nm-1t1r", "130nm-neurram", "22nm"}
    assert by_name["180nm-1t1r"]["window_us"] == [20, 80]
    assert by_name["130nm-neurram"]["models"] == {"programming_error": "wan-aihwkit", "relaxation": "wan"}
    assert by_name["130nm-neurram"]["tile"]["rows"] == 256


def test_show_has_every_number_with_range_and_source():
    numbers = {number["path"]: number for number in chip_json("show", "180nm-1t1r")["numbers"]}

    assert numbers["write_verify.pulse_voltage_v"]["value"] == 1.8
    assert all(n["low"] <= n["value"] <= n["high"] and n["source"] for n in numbers.values())
    assert numbers["tile.rows"]["structure"] is True
    assert numbers["write_verify.pulse_voltage_v"]["structure"] is False


def test_tables_have_the_same_figures_without_colour():
    table = chip("show", "180nm-1t1r").stdout

    assert "write_verify.pulse_voltage_v" in table
    assert "NeuRRAM 1.75 V" in table
    assert "\x1b" not in table


def test_toml_of_a_preset_is_the_start_of_ones_own(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(chip("show", "22nm", "--toml").stdout.replace('name = "22nm"', 'name = "mine"'))

    shown = chip_json("show", str(mine))

    assert shown["name"] == "mine"
    assert shown["numbers"] == chip_json("show", "22nm")["numbers"]
    assert chip_json(*FAST_REPORT, "--preset", str(mine))["preset"]["name"] == "mine"


def test_report_says_what_the_ratios_are_consistent_with_and_what_cannot_follow():
    result = chip(*FAST_REPORT)

    assert result.exit_code == 0
    for words in ("consistent with it", "never reached", "4.33", "147.76", "387.95", "48.44", "proves nothing"):
        assert words in result.stdout
    assert "reproduc" not in result.stdout


def test_report_with_output_writes_json_and_plots(tmp_path):
    folder = tmp_path / "new" / "report"

    result = chip(*FAST_REPORT, "--output", str(folder), "-o", "json")

    assert result.exit_code == 0, result.stderr
    assert json.loads((folder / "chip-report.json").read_text()) == json.loads(result.stdout)
    assert sorted(file.stem for file in folder.glob("*.svg")) == [
        "chip-energy-face-mixer",
        "chip-ratios-deployment-overhead",
        "chip-ratios-inference-energy",
        "chip-ratios-training-cost",
        "chip-tornado",
    ]


def test_fits_with_output_writes_json_and_plots(tmp_path):
    result = chip(*FAST_FITS, "--output", str(tmp_path))

    assert result.exit_code == 0, result.stderr
    assert "holds" in result.stdout
    assert {file.name for file in tmp_path.iterdir()} == {
        "chip-fits.json",
        "chip-fits-error.svg",
        "chip-fits-models.svg",
        "chip-fits-write-verify.svg",
    }


def test_fits_that_do_not_hold_are_exit_1(monkeypatch):
    from fleet.lab.chip.fits import ChipFits

    monkeypatch.setattr(ChipFits, "hold", property(lambda self: False))

    result = chip(*FAST_FITS)

    assert result.exit_code == 1
    assert "outside" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["show", "7nm"], ["report", "--preset", "7nm"], ["report", "--network", "resnet"]]
)
def test_unknown_preset_or_network_is_exit_3_and_the_known_ones_are_named(arguments):
    result = chip(*arguments)

    assert result.exit_code == 3
    assert "neither built in nor a file" in result.stderr
    assert "Built in:" in result.stderr
    assert result.stdout == ""


def test_bad_preset_is_exit_2_with_all_faults(tmp_path):
    bad = tmp_path / "bad.toml"
    text = chip("show", "180nm-1t1r", "--toml").stdout
    bad.write_text(
        text.replace("voltage_v = { value = 0.2,", "voltage_v = { value = 7,").replace("macs_per_s", "macs_per_hour")
    )

    result = chip("show", str(bad))

    assert result.exit_code == 2
    for fault in ("read.voltage_v", "digital.macs_per_s", "digital.macs_per_hour"):
        assert fault in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("option", [["--draws", "0"], ["--draws", "many"]])
def test_bad_option_is_exit_2(option):
    assert chip("report", *option).exit_code == 2


def test_output_that_is_a_file_is_exit_2(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("")

    assert chip(*FAST_REPORT, "--output", str(taken / "below")).exit_code == 2


def missing(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Have the presets need a module that is not installed."""

    def absent():
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("fleet.lab.chip.presets.preset_list_document", absent)


def test_missing_extra_says_what_to_install(monkeypatch):
    missing(monkeypatch, "matplotlib.figure")
    result = chip("presets")

    assert result.exit_code == 2
    assert "`fleet chip` needs matplotlib" in result.stderr
    assert "reram-fleet[sim]" in result.stderr


def test_other_missing_modules_are_not_mistaken_for_the_extra(monkeypatch):
    missing(monkeypatch, "fleet.lab.chip_typo")

    assert isinstance(chip("presets").exception, ModuleNotFoundError)
