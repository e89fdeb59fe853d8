"""Costs add up, are never negative, and grow with the work and with the hardware."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodel import Cost, EnergyLedger, Phase, Precision, cost, load_preset, preset_names, sample_preset

PRESETS = {name: load_preset(name) for name in preset_names()}
PRESET = PRESETS["180nm-1t1r"]

amounts = st.floats(0, 1e3, allow_nan=False)
whole = st.integers(0, 10**9)
costs = st.builds(Cost, amounts, amounts, whole, whole)
sizes = st.integers(0, 2000)
presets = st.sampled_from(sorted(PRESETS))
#: For what is repeated for each closed form, or builds presets.
few = settings(max_examples=20)

#: Each of one size, for a preset or a sample.
CLOSED_FORMS = {
    "crossbar_mvm": lambda t, n: cost.crossbar_mvm(t, n, n, vectors=3),
    "crossbar_mvm of a batch": lambda t, n: cost.crossbar_mvm(t, 30, 20, vectors=n),
    "program_cells": lambda t, n: cost.program_cells(t, n),
    "program_weights": lambda t, n: cost.program_weights(t, n),
    "update_cells": lambda t, n: cost.update_cells(t, n, steps=3),
    "update_weights in n steps": lambda t, n: cost.update_weights(t, 100, steps=n),
    "digital_macs": lambda t, n: cost.digital_macs(t, n, Precision.FP16),
    "sram_read": cost.sram_read,
    "dram_read": cost.dram_read,
    "erase": cost.erase,
    "radio": cost.radio,
    "deploy": lambda t, n: cost.deploy(t, n, over_radio=True, from_dram=True),
    "lora_forward": lambda t, n: cost.lora_forward(t, inputs=n, outputs=9, rank=4, samples=n),
    "lora_update": lambda t, n: cost.lora_update(t, n, steps=3),
    "lora_training_step": lambda t, n: cost.lora_training_step(t, inputs=n, outputs=9, rank=4, samples=n, train_a=True),
}
WRITING = {"program_cells", "program_weights", "update_cells", "update_weights in n steps"}


@pytest.mark.parametrize("form", CLOSED_FORMS)
@few
@given(name=presets, n=sizes)
def test_more_work_never_costs_less(form, name, n):
    less, more = CLOSED_FORMS[form](PRESETS[name], n), CLOSED_FORMS[form](PRESETS[name], n + 1)

    assert 0 <= less.energy_j < more.energy_j
    assert 0 <= less.seconds <= more.seconds
    assert less.cell_writes <= more.cell_writes
    assert less.bytes <= more.bytes


@pytest.mark.parametrize("form", CLOSED_FORMS)
@few
@given(name=presets, n=sizes, seed=st.integers(0, 2**32))
def test_a_draw_costs_what_a_preset_of_its_numbers_costs(form, name, n, seed):
    sample = sample_preset(PRESETS[name], 1, seed)
    preset = PRESETS[name].with_values({path: float(draws[0]) for path, draws in sample.drawn.items()})

    drawn, scalar = CLOSED_FORMS[form](sample, n)[0], CLOSED_FORMS[form](preset, n)

    assert drawn.energy_j == pytest.approx(scalar.energy_j, rel=1e-12)
    assert drawn.seconds == pytest.approx(scalar.seconds, rel=1e-12)
    assert (drawn.bytes, drawn.cell_writes) == (scalar.bytes, scalar.cell_writes)


@pytest.mark.parametrize("form", CLOSED_FORMS)
@few
@given(name=presets, n=sizes, draws=st.integers(1, 50))
def test_no_draw_of_any_cost_is_negative_nor_depends_on_how_many_there_are(form, name, n, draws):
    many = CLOSED_FORMS[form](sample_preset(PRESETS[name], draws, seed=1), n)
    fewer = CLOSED_FORMS[form](sample_preset(PRESETS[name], 1, seed=1), n)

    assert many.energy_j.shape == (draws,)
    assert (many.energy_j >= 0).all()
    assert (many.seconds >= 0).all()
    assert many[0] == fewer[0]


@pytest.mark.parametrize("form", CLOSED_FORMS)
def test_only_programming_and_updating_write_cells(form):
    assert (CLOSED_FORMS[form](PRESET, 100).cell_writes > 0) == (form in WRITING)


@given(inputs=sizes, outputs=sizes, vectors=st.integers(0, 50))
def test_reading_vectors_costs_as_much_as_reading_each(inputs, outputs, vectors):
    together = cost.crossbar_mvm(PRESET, inputs, outputs, vectors)
    each = cost.crossbar_mvm(PRESET, inputs, outputs) * vectors

    assert together.energy_j == pytest.approx(each.energy_j)
    assert together.seconds == pytest.approx(each.seconds)


@pytest.mark.parametrize(
    ("number", "low", "high"),
    [
        ("write_verify.tolerance_us", 2.0, 0.5),
        ("write_verify.pulse_voltage_v", 1.2, 2.5),
        ("cell.stuck_low_share", 0, 0.05),
        ("tile.cells_per_weight", 1, 2),
        ("tile.weight_slices", 1, 2),
    ],
)
def test_programming_costs_more_with_more_pulses_volts_faults_and_cells(number, low, high):
    less = cost.program_weights(PRESET.with_values({number: low}), 1000)
    more = cost.program_weights(PRESET.with_values({number: high}), 1000)

    assert less.energy_j < more.energy_j


@given(pulses=st.lists(st.floats(1, 5), min_size=2, max_size=2))
def test_an_update_of_more_pulses_costs_more_and_wears_more(pulses):
    fewer, more = (PRESET.with_values({"write_verify.update_pulses": number}) for number in sorted(pulses))

    assert cost.update_weights(fewer, 1000).energy_j <= cost.update_weights(more, 1000).energy_j
    assert cost.update_weights(fewer, 1000).cell_writes <= cost.update_weights(more, 1000).cell_writes
    assert cost.adaptations_left(fewer, steps=10) >= cost.adaptations_left(more, steps=10)


@given(bits=st.integers(1, 15))
def test_each_bit_of_a_conversion_costs_at_least_twice_the_energy(bits):
    assert cost.conversion_j(1e-13, bits + 1) >= 2 * cost.conversion_j(1e-13, bits)


@few
@given(name=presets, bits=st.integers(4, 6), inputs=sizes, outputs=sizes)
def test_a_read_costs_more_with_more_bits(name, bits, inputs, outputs):
    finer = {"converter.adc_bits": bits + 1}
    one_phase = {"converter.input_phases": 1}
    preset = PRESETS[name].with_values(one_phase | {"converter.adc_bits": bits, "converter.dac_bits": bits})

    read = cost.crossbar_mvm(preset, inputs, outputs).energy_j
    read_by_finer_adcs = cost.crossbar_mvm(preset.with_values(finer), inputs, outputs).energy_j

    assert read <= read_by_finer_adcs
    # Finer inputs take a finer DAC, or one more phase.
    for phases in (1, bits):
        more = {"converter.dac_bits": bits + 1, "converter.input_phases": phases}
        fewer = {"converter.input_phases": max(1, phases - 1)}
        driven = cost.crossbar_mvm(preset.with_values(fewer), inputs, outputs).energy_j
        assert driven <= cost.crossbar_mvm(preset.with_values(more), inputs, outputs).energy_j


@given(name=presets, inputs=st.integers(1, 2000), outputs=st.integers(1, 2000))
def test_a_layer_on_smaller_tiles_takes_more_of_them_and_more_energy(name, inputs, outputs):
    large = PRESETS[name].with_values({"tile.rows": 128, "tile.columns": 128})
    small = large.with_values({"tile.rows": 64, "tile.columns": 64})

    less, more = (cost.crossbar_mvm_energy(preset, inputs, outputs) for preset in (large, small))

    assert less.array_j <= more.array_j
    assert less.dac_j <= more.dac_j
    assert less.adc_j <= more.adc_j
    # An ADC has one conversion per column and row tile.
    tiles = math.ceil(inputs / 64) / math.ceil(inputs / 128)
    assert more.adc_j == pytest.approx(tiles * less.adc_j)


@given(name=presets, densities=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_sparser_input_never_costs_more(name, densities):
    sparse, dense = sorted(densities)

    less = cost.crossbar_mvm(PRESETS[name], 140, 512, input_density=sparse)
    more = cost.crossbar_mvm(PRESETS[name], 140, 512, input_density=dense)

    assert 0 < less.energy_j <= more.energy_j
    assert less.seconds == more.seconds


@given(name=presets, steps=st.integers(1, 10**6), spent=st.floats(0, 2e9))
def test_adaptations_left_are_what_the_endurance_has_room_for(name, steps, spent):
    preset = PRESETS[name]
    left = cost.adaptations_left(preset, steps=steps, pulses_spent_per_cell=spent)
    pulses = steps * preset.write_verify.update_pulses

    assert left >= 0
    assert left == 0 or spent + left * pulses <= preset.cell.endurance_cycles * (1 + 1e-12)
    assert spent + (left + 1) * pulses > preset.cell.endurance_cycles * (1 - 1e-12)


@given(st.lists(st.tuples(st.sampled_from(list(Phase)), costs), max_size=12))
def test_a_ledger_holds_the_sum_of_what_it_was_charged(charges):
    ledger = EnergyLedger(1)
    for phase, spent in charges:
        ledger.charge(phase, spent)

    for phase, total in ledger.totals().items():
        expected = sum((spent for charged, spent in charges if charged is phase), start=Cost())
        assert total.energy_j == pytest.approx(expected.energy_j)
        assert total.seconds == pytest.approx(expected.seconds)
        assert (total.bytes, total.cell_writes) == (expected.bytes, expected.cell_writes)


@given(st.lists(costs, max_size=6), st.lists(costs, max_size=6))
def test_what_is_since_a_mark_and_what_was_before_make_the_total(before, after):
    ledger = EnergyLedger(1)
    for spent in before:
        ledger.charge(Phase.ERASE, spent)
    earlier, mark = ledger.total(), ledger.mark()
    for spent in after:
        ledger.charge(Phase.ERASE, spent)

    since = ledger.since(mark)[Phase.ERASE]

    assert since.energy_j >= 0
    assert (earlier + since).energy_j == pytest.approx(ledger.total().energy_j)
    assert (earlier + since).cell_writes == ledger.total().cell_writes


@given(costs, costs, costs)
def test_costs_add_in_any_order(first, second, third):
    one, other = (first + second) + third, third + (second + first)

    assert one.energy_j == pytest.approx(other.energy_j)
    assert (one.bytes, one.cell_writes) == (other.bytes, other.cell_writes)
