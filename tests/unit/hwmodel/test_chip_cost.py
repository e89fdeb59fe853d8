"""Closed-form costs against the figures that they were derived from."""

import pytest

from hwmodel import Cost, CostError, Precision, cost, expected_write_verify, load_preset, preset_names

PRESET = load_preset("180nm-1t1r")
NEURRAM = load_preset("130nm-neurram")
PRESETS = {name: load_preset(name) for name in preset_names()}


@pytest.mark.parametrize(("name", "picojoule"), [("180nm-1t1r", 0.465), ("130nm-neurram", 0.161), ("22nm", 0.036)])
def test_a_full_tile_takes_the_energy_of_the_reference_per_mac(name, picojoule):
    preset = PRESETS[name]
    rows, weights = preset.tile.rows, preset.tile.columns

    energy_j = cost.crossbar_mvm(preset, rows, weights).energy_j

    assert energy_j / (rows * weights) == pytest.approx(picojoule * 1e-12, rel=0.02)


@pytest.mark.parametrize(("name", "nanojoule"), [("180nm-1t1r", 1.65), ("130nm-neurram", 0.75), ("22nm", 0.26)])
def test_a_weight_takes_the_energy_of_the_reference_to_program(name, nanojoule):
    programmed = cost.program_weights(PRESETS[name], 100_000)

    assert programmed.energy_j / 100_000 == pytest.approx(nanojoule * 1e-9, rel=0.04)


def test_an_8_bit_conversion_takes_26_picojoule_at_180nm_and_the_tenth_bit_four_times_the_ninth():
    fom = PRESET.converter.adc_j_per_step

    assert cost.conversion_j(fom, 8) == pytest.approx(26e-12, rel=0.01)
    assert cost.conversion_j(fom, 9) == pytest.approx(2 * cost.conversion_j(fom, 8))
    assert cost.conversion_j(fom, 10) == pytest.approx(4 * cost.conversion_j(fom, 9))


def test_a_read_takes_one_settling_time_and_the_turns_of_a_shared_adc():
    assert cost.crossbar_mvm(PRESET, 512, 512).seconds == pytest.approx(0.1e-6 + 8 * 1e-6)
    assert cost.crossbar_mvm(PRESET, 512, 2).seconds == pytest.approx(0.1e-6 + 2 * 1e-6)


def test_a_bit_serial_read_settles_once_per_phase_and_converts_once():
    assert cost.crossbar_mvm(NEURRAM, 256, 256).seconds == pytest.approx(3 * 10e-9 + 2e-6)


def test_parts_of_a_read_make_its_whole():
    parts = cost.crossbar_mvm_energy(PRESET, 300, 200, vectors=4)

    assert min(parts.array_j, parts.dac_j, parts.adc_j) > 0
    assert parts.total_j == pytest.approx(cost.crossbar_mvm(PRESET, 300, 200, vectors=4).energy_j)


def test_converters_take_most_of_a_tile_at_180nm():
    parts = cost.crossbar_mvm_energy(PRESET, 128, 128)

    assert parts.adc_j == pytest.approx(1.2 * 128 * (1.02e-13 * 256 + 1.8e-12))
    assert parts.dac_j == pytest.approx(1.2 * 128 * 5.1e-14 * 256)
    cells = 128 * (128 + 4)
    assert parts.array_j == pytest.approx(1.2 * cells * 0.3333 * 0.2**2 * 50e-6 * 1e-7)


def test_inputs_at_zero_drive_no_row_but_every_column_is_converted():
    dense = cost.crossbar_mvm_energy(PRESET, 140, 512)
    sparse = cost.crossbar_mvm_energy(PRESET, 140, 512, input_density=0.05)

    assert sparse.array_j == pytest.approx(0.05 * dense.array_j)
    assert sparse.dac_j == pytest.approx(0.05 * dense.dac_j)
    assert sparse.adc_j == dense.adc_j


def test_bit_serial_inputs_repeat_the_drive_with_two_bit_drivers_and_not_the_conversion():
    serial = PRESET.with_values({"converter.input_phases": 7})
    once, phases = cost.crossbar_mvm_energy(PRESET, 128, 128), cost.crossbar_mvm_energy(serial, 128, 128)

    assert phases.array_j == pytest.approx(7 * once.array_j)
    assert phases.dac_j == pytest.approx(7 * once.dac_j / 2**6)
    assert phases.adc_j - once.adc_j == pytest.approx(1.2 * 128 * 6 * 1.8e-12)


def test_every_slice_of_a_weight_has_cells_and_conversions_of_its_own():
    sliced = PRESET.with_values({"tile.weight_slices": 2})

    assert cost.crossbar_cells(sliced, 128, 128) == 128 * 2 * (128 + 4)
    assert cost.crossbar_mvm(sliced, 128, 128).energy_j == pytest.approx(
        2 * cost.crossbar_mvm(PRESET, 128, 128).energy_j
    )
    assert cost.program_weights(sliced, 1000).cell_writes == cost.program_weights(PRESET, 2000).cell_writes


def test_a_weight_takes_18_microseconds_to_program():
    programmed = cost.program_weights(PRESET, 100_000)

    assert programmed.seconds / 100_000 == pytest.approx(8.52 * 2.1e-6, rel=0.01)
    assert programmed.cell_writes == pytest.approx(851_580, abs=10)


@pytest.mark.parametrize("name", preset_names())
def test_programming_is_the_closed_form_of_the_device(name):
    assert cost.program_cells(PRESETS[name], 12_345) == expected_write_verify(PRESETS[name], 12_345).cost


def test_an_update_takes_two_pulses_a_weight_at_the_price_of_those_of_programming():
    one_pulse_j = cost.program_cells(PRESET, 100_000).energy_j / 851_577
    update = cost.update_weights(PRESET, 5048)

    assert update.cell_writes == 2 * 5048
    assert update.energy_j == pytest.approx(update.cell_writes * one_pulse_j, rel=1e-4)
    assert cost.update_weights(PRESET, 5048, steps=200).cell_writes == 200 * update.cell_writes


def test_updating_the_face_mixer_in_place_against_its_lora_in_sram_is_as_the_reference_says():
    """200 steps over 5,048 weights against 16 over 1,404 fp32 parameters with SGD: 109 times the energy."""
    analogue = cost.update_weights(PRESET, 5048, steps=200)
    adapter = cost.lora_update(PRESET, 1404, steps=16)

    assert analogue.energy_j / adapter.energy_j == pytest.approx(109, rel=0.02)


def test_adam_accesses_a_parameter_three_times_as_often_as_sgd():
    assert cost.lora_update(PRESET, 100) == Cost(8e2 * 2.0e-11, 8e2 / 4e8, bytes=800)
    assert cost.lora_update(PRESET, 100, accesses_per_parameter=6).bytes == 2400


def test_a_cell_lives_for_2500_trainings_of_the_face_mixer_or_117_thousand_programmings():
    assert cost.adaptations_left(PRESET, steps=200) == 2500
    assert cost.adaptations_left(PRESET) == pytest.approx(117_428, abs=2)
    assert cost.adaptations_left(PRESET, steps=200, pulses_spent_per_cell=1e6 - 401) == 1
    assert cost.adaptations_left(PRESET, pulses_spent_per_cell=1e6 - 9) == 1
    assert cost.adaptations_left(PRESET, pulses_spent_per_cell=2e6) == 0


def test_cells_of_a_layer_include_the_reference_columns_of_each_tile():
    assert cost.crossbar_cells(PRESET, 512, 512) == 512 * (512 + 4 * 4)
    assert cost.crossbar_cells(PRESET, 10, 9) == 10 * (9 + 4)
    differential = PRESET.with_values({"tile.cells_per_weight": 2})
    assert cost.crossbar_cells(differential, 512, 512) == 2 * 512 * 512


def test_deploying_an_adapter_writes_no_cell():
    deployed = cost.deploy(PRESET, 1404, over_radio=False)

    assert deployed == cost.sram_write(PRESET, 1404)
    assert deployed.cell_writes == 0


def test_deploying_the_face_mixer_lora_instead_of_its_weights_saves_as_the_reference_says():
    """5,048 weights against 1,404 int8 LoRA parameters, both without radio: 297 times less energy."""
    analogue = cost.program_weights(PRESET, 5048)
    adapter = cost.deploy(PRESET, 1404, over_radio=False)

    assert analogue.energy_j / adapter.energy_j == pytest.approx(297, rel=0.02)


def test_fetching_the_lora_from_dram_in_fp32_leaves_a_fiftieth_of_that():
    """The same with 4 bytes per parameter through DRAM and SRAM: 6.2 times less energy."""
    analogue = cost.program_weights(PRESET, 5048)
    adapter = cost.deploy(PRESET, 4 * 1404, over_radio=False, from_dram=True)

    assert analogue.energy_j / adapter.energy_j == pytest.approx(6.2, rel=0.02)
    assert adapter.bytes == 4 * 1404
    through_both = cost.dram_read(PRESET, 4 * 1404) + cost.sram_write(PRESET, 4 * 1404)
    assert adapter.energy_j == pytest.approx(through_both.energy_j)
    assert adapter.seconds == pytest.approx(through_both.seconds)


def test_an_adapter_from_the_radio_counts_its_bytes_once():
    deployed = cost.deploy(PRESET, 1000, over_radio=True)
    assert deployed.energy_j == pytest.approx(1000 * (1e-7 + 2e-11))
    assert deployed.bytes == 1000


def test_erasing_overwrites_once():
    assert cost.erase(PRESET, 64) == Cost(energy_j=64 * 2e-11, seconds=64 / 4e8, bytes=64)


def test_lora_forward_counts_both_factors():
    forward = cost.lora_forward(PRESET, inputs=512, outputs=9, rank=16, samples=10)

    parameters = 16 * (512 + 9)
    assert forward.energy_j == pytest.approx(10 * parameters * 7.4e-11 + parameters * 4 * 2e-11)


def test_training_only_b_costs_less_than_training_both_factors():
    step = {"inputs": 512, "outputs": 9, "rank": 16, "samples": 10}
    only_b = cost.lora_training_step(PRESET, train_a=False, **step)
    both = cost.lora_training_step(PRESET, train_a=True, **step)
    forward = cost.lora_forward(PRESET, **step)

    assert forward.energy_j < only_b.energy_j < both.energy_j
    macs = 10 * 16 * (512 + 9) + 10 * 16 * 9
    moved = 4 * 16 * (512 + 9) + 4 * 10 * 512 + 4 * 2 * 16 * 9
    assert only_b.energy_j == pytest.approx(macs * 7.4e-11 + moved * 2e-11)
    assert only_b.cell_writes == 0


def test_shorter_numbers_make_cheaper_macs():
    int8, fp16, fp32 = (cost.digital_macs(PRESET, 1000, precision) for precision in Precision)

    assert int8.energy_j == pytest.approx(3.7e-9)
    assert fp16.energy_j == pytest.approx(2.4e-8)
    assert fp32.energy_j == pytest.approx(7.4e-8)
    assert int8.seconds == fp16.seconds == fp32.seconds == pytest.approx(1e-5)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: cost.crossbar_mvm(PRESET, -1, 5),
        lambda: cost.crossbar_mvm(PRESET, 1, 5, vectors=-1),
        lambda: cost.program_weights(PRESET, -1),
        lambda: cost.update_cells(PRESET, -1),
        lambda: cost.update_weights(PRESET, 5, steps=-1),
        lambda: cost.adaptations_left(PRESET, pulses_spent_per_cell=-1),
        lambda: cost.radio(PRESET, -1),
        lambda: cost.dram_read(PRESET, -1),
        lambda: cost.deploy(PRESET, -1, over_radio=True),
        lambda: cost.erase(PRESET, -1),
        lambda: cost.digital_macs(PRESET, -1, Precision.FP32),
        lambda: cost.lora_forward(PRESET, inputs=1, outputs=1, rank=-1, samples=1),
        lambda: cost.lora_update(PRESET, -1),
    ],
)
def test_negative_work_is_refused(ask):
    with pytest.raises(CostError, match="must not be negative; got -1"):
        ask()


def test_an_impossible_density_or_adaptation_is_refused():
    with pytest.raises(CostError, match=r"input_density is a share, 0 \.\.\. 1; got 1.5"):
        cost.crossbar_mvm(PRESET, 1, 1, input_density=1.5)
    with pytest.raises(CostError, match="at least one step; got 0"):
        cost.adaptations_left(PRESET, steps=0)
