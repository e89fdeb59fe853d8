"""Preset files: complete, sourced, checked; faults are named."""

import re
from importlib import resources
from pathlib import Path

import pytest
from pydantic import ValidationError

from hwmodel import PresetError, load_preset, preset_names

TEXT = (resources.files("hwmodel") / "presets" / "180nm-1t1r.toml").read_text(encoding="utf-8")


def load_text(folder: Path, text: str):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_preset(path)


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_loads_under_its_own_name(name):
    preset = load_preset(name)

    assert preset.name == name
    assert preset.version
    assert all(quantity.source for quantity in preset.quantities.values())


def test_180nm_1t1r_is_the_technology_of_the_paper():
    preset = load_preset("180nm-1t1r")

    assert (preset.tile.rows, preset.tile.columns) == (128, 128)
    assert (preset.cell.conductance_min_us, preset.cell.conductance_max_us) == (20, 80)
    assert preset.cell.conductance_grid_us == 0.0625
    assert preset.cell.programming_sigma_us == 1
    assert (preset.converter.dac_bits, preset.converter.adc_bits) == (8, 8)


def test_every_number_tells_its_range_and_source():
    quantity = load_preset("180nm-1t1r").quantity("converter.adc_j")

    assert quantity.low < quantity.value < quantity.high
    assert "adc_list.csv" in quantity.source


def test_ones_own_file_loads_by_path_and_by_string(tmp_path):
    preset = load_text(tmp_path, TEXT.replace('name = "180nm-1t1r"', 'name = "mine"'))

    assert preset.name == "mine"
    assert load_preset(str(tmp_path / "mine.toml")) == preset


def test_a_preset_cannot_be_changed():
    preset = load_preset("180nm-1t1r")

    with pytest.raises(ValidationError):
        preset.tile.rows = 64
    with pytest.raises(TypeError):
        preset.quantities["tile.rows"] = preset.quantity("tile.columns")


def test_with_values_changes_numbers_and_keeps_their_sources():
    preset = load_preset("180nm-1t1r")
    quiet = preset.with_values({"cell.programming_sigma_us": 0})

    assert quiet.cell.programming_sigma_us == 0
    assert preset.cell.programming_sigma_us == 1
    assert quiet.quantity("cell.programming_sigma_us").source == (
        preset.quantity("cell.programming_sigma_us").source
    )
    assert quiet.with_values({"cell.programming_sigma_us": 1}) == preset


def test_with_values_refuses_unknown_numbers_and_values_out_of_range():
    preset = load_preset("180nm-1t1r")

    with pytest.raises(PresetError, match=r"cell\.sigma"):
        preset.with_values({"cell.sigma": 1})
    with pytest.raises(PresetError, match="outside its own range"):
        preset.with_values({"cell.programming_sigma_us": 11})


@pytest.mark.parametrize(
    ("pattern", "replacement", "told"),
    [
        (r"adc_j = .*", "", r"converter\.adc_j: Field required"),
        (r"adc_j = ", "adc_pj = ", r"converter\.adc_pj: Extra inputs"),
        (r"\[radio\][\s\S]*", "", r"radio\.j_per_byte: Field required"),
        (r"rows = \{ value = 128", "rows = { value = 0", r"outside its own range"),
        (r"rows = \{ value = 128, low = 64", "rows = { value = 0, low = 0", r"tile\.rows"),
        (r"rows = \{ value = 128", "rows = { value = 128.5", r"tile\.rows: .*integer"),
        (r', source = "as rows"', "", r"tile\.columns\.source: Field required"),
        (r'source = "as rows"', 'source = ""', r"tile\.columns\.source"),
        (r"conductance_max_us = \{ value = 80", "conductance_max_us = { value = 80.01", r"grid steps"),
        (r"min_us = \{ value = 20, low = 1, high = 40", "min_us = { value = 90, low = 1, high = 90", "below"),
        (r"adc_bits = \{.*", "adc_bits = 8", r"converter\.adc_bits"),
        (r"j_per_byte = \{ value = 1e-7", "j_per_byte = { value = nan", r"radio\.j_per_byte"),
        (r'version = "1"', "", r"version: Field required"),
        (r"\[radio\]", "[[radio]]", r"radio: must be a table"),
        (r"\[radio\]", "[radio", r"is not TOML"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_refused_and_the_fault_named(tmp_path, pattern, replacement, told):
    faulty, changes = re.subn(pattern, replacement, TEXT, count=1)
    assert changes == 1

    with pytest.raises(PresetError, match=told):
        load_text(tmp_path, faulty)


def test_all_faults_are_told_at_once(tmp_path):
    faulty = re.sub(r"adc_j = .*", "", TEXT).replace("rows = { value = 128", "rows = { value = 0")

    with pytest.raises(PresetError) as caught:
        load_text(tmp_path, faulty)

    assert "converter.adc_j" in str(caught.value)
    assert "tile.rows" in str(caught.value)


def test_an_unknown_name_and_a_missing_file_say_what_to_do(tmp_path):
    with pytest.raises(PresetError, match="there are: 180nm-1t1r"):
        load_preset("7nm")
    with pytest.raises(PresetError, match="No such file"):
        load_preset(tmp_path / "absent.toml")
