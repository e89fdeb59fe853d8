"""Preset files: complete, sourced, checked; faults are named."""

import copy
import pickle
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from hwmodel import Preset, PresetError, drawn_paths, is_structure, load_preset, preset_names, preset_text

TEXT = preset_text("180nm-1t1r")


def load_text(folder: Path, text: str):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_preset(path)


def test_three_technologies_come_with_the_package():
    assert preset_names() == ("130nm-neurram", "180nm-1t1r", "22nm")


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_loads_under_its_own_name(name):
    preset = load_preset(name)

    assert preset.name == name
    assert preset.version
    assert preset.description


@pytest.mark.parametrize("name", preset_names())
def test_every_number_of_the_schema_has_a_range_and_a_source(name):
    quantities = load_preset(name).quantities

    assert set(quantities) == {
        f"{section}.{key}" for section, model in Preset.SECTIONS.items() for key in model.model_fields
    }
    assert all(quantity.source for quantity in quantities.values())


@pytest.mark.parametrize("name", preset_names())
def test_every_property_that_is_drawn_has_a_range_and_not_a_point(name):
    preset = load_preset(name)

    assert [p for p in drawn_paths(preset) if preset.quantity(p).low == preset.quantity(p).high] == []


def test_180nm_1t1r_is_the_technology_of_the_paper():
    preset = load_preset("180nm-1t1r")

    assert (preset.tile.rows, preset.tile.columns, preset.tile.cells_per_weight) == (128, 128, 1)
    assert (preset.cell.conductance_min_us, preset.cell.conductance_max_us) == (20, 80)
    assert preset.cell.conductance_grid_us == 0.0625
    assert preset.cell.programming_sigma_us == 1
    assert (preset.converter.dac_bits, preset.converter.adc_bits, preset.converter.input_phases) == (8, 8, 1)


def test_180nm_1t1r_has_the_errors_of_the_papers_code_and_no_others():
    preset = load_preset("180nm-1t1r")
    cell = preset.cell

    assert (preset.models.programming_error, preset.models.relaxation) == ("constant", "none")
    assert (cell.read_noise_us, cell.stuck_low_share, cell.stuck_high_share) == (0, 0, 0)
    assert preset.read.wire_resistance_ohm == 0
    assert (cell.conductance_floor_us, cell.conductance_ceiling_us) == (20, 80)


def test_130nm_neurram_follows_its_published_chip():
    preset = load_preset("130nm-neurram")

    assert (preset.tile.rows, preset.tile.columns, preset.tile.cells_per_weight) == (256, 256, 2)
    assert (preset.models.programming_error, preset.models.relaxation) == ("wan-aihwkit", "wan")
    assert (preset.cell.conductance_min_us, preset.cell.conductance_max_us) == (1, 40)
    assert (preset.converter.dac_bits, preset.converter.input_phases) == (4, 3)


@pytest.mark.parametrize("name", ["130nm-neurram", "22nm"])
def test_the_other_presets_have_every_fault_switched_on(name):
    preset = load_preset(name)

    assert preset.cell.read_noise_us > 0
    assert preset.cell.stuck_low_share + preset.cell.stuck_high_share == pytest.approx(0.005)
    assert preset.read.wire_resistance_ohm > 0


@pytest.mark.parametrize(("name", "mean_us"), [("180nm-1t1r", 50), ("130nm-neurram", 10.75), ("22nm", 23.75)])
def test_a_differential_pair_conducts_less_since_one_cell_rests(name, mean_us):
    assert load_preset(name).mean_conductance_us == mean_us


def test_every_number_tells_its_range_and_source():
    quantity = load_preset("180nm-1t1r").quantity("converter.adc_j_per_step")

    assert quantity.low < quantity.value < quantity.high
    assert "adc_list.csv" in quantity.source


def test_ones_own_preset_starts_from_the_text_of_another(tmp_path):
    preset = load_text(tmp_path, TEXT.replace('name = "180nm-1t1r"', 'name = "mine"'))

    assert preset.name == "mine"
    assert load_preset(str(tmp_path / "mine.toml")) == preset
    assert preset_text(tmp_path / "mine.toml").startswith("# A hybrid node")


def test_a_preset_cannot_be_changed():
    preset = load_preset("180nm-1t1r")

    with pytest.raises(ValidationError):
        preset.tile.rows = 64
    with pytest.raises(TypeError):
        preset.quantities["tile.rows"] = preset.quantity("tile.columns")


def test_a_preset_survives_copying_and_another_process():
    preset = load_preset("22nm").with_models(relaxation="cmo").with_values({"cell.programming_sigma_us": 1})

    assert pickle.loads(pickle.dumps(preset)) == preset
    assert copy.deepcopy(preset) == preset


def test_with_values_changes_numbers_and_keeps_their_sources():
    preset = load_preset("180nm-1t1r")
    quiet = preset.with_values({"cell.programming_sigma_us": 0})

    assert quiet.cell.programming_sigma_us == 0
    assert preset.cell.programming_sigma_us == 1
    assert quiet.quantity("cell.programming_sigma_us").source == (preset.quantity("cell.programming_sigma_us").source)
    assert quiet.with_values({"cell.programming_sigma_us": 1}) == preset


def test_with_values_refuses_unknown_numbers_and_values_out_of_range():
    preset = load_preset("180nm-1t1r")

    with pytest.raises(PresetError, match=r"cell\.sigma"):
        preset.with_values({"cell.sigma": 1})
    with pytest.raises(PresetError, match="outside its own range"):
        preset.with_values({"cell.programming_sigma_us": 11})


def test_with_models_changes_the_models_named_and_no_number():
    preset = load_preset("130nm-neurram")

    rival = preset.with_models(programming_error="wan-crosssim")

    assert (rival.models.programming_error, rival.models.relaxation) == ("wan-crosssim", "wan")
    assert rival.quantities == preset.quantities
    assert rival.with_models(programming_error="wan-aihwkit") == preset
    assert preset.with_models(relaxation="none").models.relaxation == "none"
    assert rival.with_values({"tile.rows": 128}).models == rival.models


def test_with_models_refuses_a_model_that_there_is_not_and_names_those_that_there_are():
    with pytest.raises(PresetError, match=r"models\.relaxation: .*'none', 'wan' or 'cmo'"):
        load_preset("22nm").with_models(relaxation="pcm")


def test_structure_is_what_a_designer_chooses():
    sections = Preset.SECTIONS

    for section, key in [
        ("tile", "rows"),
        ("cell", "conductance_max_us"),
        ("converter", "adc_bits"),
        ("digital", "sram_bytes"),
    ]:
        assert is_structure(sections[section], key)
    for section, key in [("cell", "programming_sigma_us"), ("write_verify", "update_pulses"), ("radio", "j_per_byte")]:
        assert not is_structure(sections[section], key)


@pytest.mark.parametrize(
    ("pattern", "replacement", "told"),
    [
        (r"adc_j_per_step = .*", "", r"converter\.adc_j_per_step: Field required"),
        (r"adc_j_per_step = ", "adc_pj = ", r"converter\.adc_pj: Extra inputs"),
        (r"\[radio\][\s\S]*", "", r"radio\.j_per_byte: Field required"),
        (r"\[models\][\s\S]*?\n\n", "", r"models: Field required"),
        (r'relaxation = "none"', 'relaxation = "pcm"', r"models\.relaxation: Input should be"),
        (r"rows = \{ value = 128", "rows = { value = 0", r"outside its own range"),
        (r"rows = \{ value = 128, low = 64", "rows = { value = 0, low = 0", r"tile\.rows"),
        (r"rows = \{ value = 128", "rows = { value = 128.5", r"tile\.rows: .*integer"),
        (r"rows = \{ value = 128", "rows = { value = 256", r"31211520, which float32 does not .* fewer rows"),
        (r', source = "as rows"', "", r"tile\.columns\.source: Field required"),
        (r'source = "as rows"', 'source = ""', r"tile\.columns\.source"),
        (r"(?<=reference_columns = \{ value = )4, low = 1", "0, low = 0", r"reference_columns of at least 1"),
        (r"weight_slices = \{ value = 1", "weight_slices = { value = 9", r"tile\.weight_slices: .*outside"),
        (r"conductance_max_us = \{ value = 80", "conductance_max_us = { value = 80.01", r"grid steps"),
        (r"min_us = \{ value = 20, low = 1, high = 40", "min_us = { value = 90, low = 1, high = 90", "below"),
        (r"floor_us = \{ value = 20, low = 0, high = 20", "floor_us = { value = 30, low = 0, high = 30",
         "inside the window"),
        (r"ceiling_us = \{ value = 80, low = 80", "ceiling_us = { value = 70, low = 70", "inside the window"),
        (r"adc_bits = \{.*", "adc_bits = 8", r"converter\.adc_bits"),
        (r"input_phases = \{ value = 1", "input_phases = { value = 4", r"dac_bits - 1 = 7 \(bit-serial\)"),
        (r"adc_s = \{ value = 1e-6, low = 1e-8", "adc_s = { value = 1e-6, low = 0", r"adc_s\.low: "),
        (r"j_per_byte = \{ value = 1e-7", "j_per_byte = { value = nan", r"radio\.j_per_byte"),
        (r"stuck_low_share = \{ value = 0.0, low = 0.0, high = 0.055",
         "stuck_low_share = { value = 0, low = 0, high = 0.95", "reach up to more than all cells"),
        (r'name = "180nm-1t1r"', 'name = "../mine"', r"name: String should match"),
        (r'name = "180nm-1t1r"', 'name = "$x_$"', r"name: String should match"),
        (r'version = "2"', "", r"version: Field required"),
        (r"\[radio\]", "[[radio]]", r"radio: must be a table"),
        (r"\[radio\]", "[radio", r"is not TOML"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_refused_and_the_fault_named(tmp_path, pattern, replacement, told):
    faulty, changes = re.subn(pattern, replacement, TEXT, count=1)
    assert changes == 1

    with pytest.raises(PresetError, match=told):
        load_text(tmp_path, faulty)


def test_a_slice_needs_a_level_for_each_of_its_steps():
    sliced = load_preset("180nm-1t1r").with_values({"tile.weight_slices": 2, "tile.bits_per_slice": 8})
    assert sliced.tile.bits_per_slice == 8

    coarse = {"tile.weight_slices": 2, "tile.bits_per_slice": 8, "cell.conductance_grid_us": 0.25}
    with pytest.raises(PresetError, match="more steps than the 120 levels"):
        load_preset("180nm-1t1r").with_values(coarse)


def test_partial_sums_of_22nm_are_exact_on_its_grid_and_would_not_be_on_a_finer_one(tmp_path):
    finer = preset_text("22nm").replace("{ value = 0.25, low = 0.25", "{ value = 0.125, low = 0.125")

    with pytest.raises(PresetError, match="coarser conductance_grid_us"):
        load_text(tmp_path, finer)


def test_all_faults_are_told_at_once_and_none_twice(tmp_path):
    faulty = re.sub(r"adc_j_per_step = .*", "", TEXT).replace("rows = { value = 128", "rows = { value = 0")
    faulty = faulty.replace("dac_bits = { value = 8", "dac_bits = { value = nan")

    with pytest.raises(PresetError) as caught:
        load_text(tmp_path, faulty)

    _, *faults = str(caught.value).splitlines()
    assert sorted(fault.split(":")[0].strip() for fault in faults) == [
        "converter.adc_j_per_step",
        "converter.dac_bits.value",
        "tile.rows",
    ]


def test_an_unknown_name_and_an_unreadable_file_say_what_to_do(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(PresetError, match=r"there are: 130nm-neurram, 180nm-1t1r, 22nm.*path of a \.toml"):
        load_preset("7nm")
    with pytest.raises(PresetError, match="No such file"):
        load_preset(tmp_path / "absent.toml")
    with pytest.raises(PresetError, match="not UTF-8"):
        preset_text(tmp_path / "binary.toml")
