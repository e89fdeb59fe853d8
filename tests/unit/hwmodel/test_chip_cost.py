"""Closed-form costs against the figures that they were derived from."""

import pytest

from hwmodel import Cost, CostError, Precision, cost, load_preset

PRESET = load_preset("180nm-1t1r")


def test_a_full_tile_takes_0_465_picojoule_per_mac():
    assert cost.crossbar_mvm(PRESET, 128, 128).energy_j / 128**2 == pytest.approx(0.465e-12, rel=0.02)


def test_a_read_takes_one_settling_time_and_the_turns_of_a_shared_adc():
    assert cost.crossbar_mvm(PRESET, 512, 512).seconds == pytest.approx(0.1e-6 + 8 * 1e-6)
    assert cost.crossbar_mvm(PRESET, 512, 2).seconds == pytest.approx(0.1e-6 + 2 * 1e-6)


def test_a_weight_takes_1_65_nanojoule_and_18_microseconds_to_program():
    programmed = cost.program_weights(PRESET, 100_000)

    assert programmed.energy_j / 100_000 == pytest.approx(1.65e-9, rel=0.01)
    assert programmed.seconds / 100_000 == pytest.approx(8.52 * 2.1e-6, rel=0.01)
    assert programmed.cell_writes == 851_580


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
    analogue = cost.reprogram_weights(PRESET, 5048, over_radio=False)
    adapter = cost.deploy(PRESET, 1404, over_radio=False)

    assert analogue.energy_j / adapter.energy_j == pytest.approx(297, rel=0.02)


def test_radio_is_charged_on_both_sides_of_the_comparison():
    bare = cost.reprogram_weights(PRESET, 1000, over_radio=False)
    sent = cost.reprogram_weights(PRESET, 1000, over_radio=True)

    assert sent == bare + cost.radio(PRESET, 2000)
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


def test_int8_arithmetic_is_cheaper_than_fp32():
    int8 = cost.digital_macs(PRESET, 1000, Precision.INT8)
    fp32 = cost.digital_macs(PRESET, 1000, Precision.FP32)

    assert int8.energy_j == pytest.approx(3.7e-9)
    assert fp32.energy_j == pytest.approx(7.4e-8)
    assert int8.seconds == fp32.seconds == pytest.approx(1e-5)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: cost.crossbar_mvm(PRESET, -1, 5),
        lambda: cost.crossbar_mvm(PRESET, 1, 5, vectors=-1),
        lambda: cost.program_weights(PRESET, -1),
        lambda: cost.radio(PRESET, -1),
        lambda: cost.deploy(PRESET, -1, over_radio=True),
        lambda: cost.erase(PRESET, -1),
        lambda: cost.digital_macs(PRESET, -1, Precision.FP32),
        lambda: cost.lora_forward(PRESET, inputs=1, outputs=1, rank=-1, samples=1),
    ],
)
def test_negative_work_is_refused(ask):
    with pytest.raises(CostError, match="must not be negative; got -1"):
        ask()
