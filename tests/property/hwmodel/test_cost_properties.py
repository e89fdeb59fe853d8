"""Costs add up, are never negative, and grow with the work and with the hardware."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodel import Cost, EnergyLedger, Phase, Precision, cost, load_preset

PRESET = load_preset("180nm-1t1r")

amounts = st.floats(0, 1e3, allow_nan=False)
whole = st.integers(0, 10**9)
costs = st.builds(Cost, amounts, amounts, whole, whole)
sizes = st.integers(0, 2000)

CLOSED_FORMS = {
    "crossbar_mvm": lambda n: cost.crossbar_mvm(PRESET, n, n, vectors=3),
    "program_weights": lambda n: cost.program_weights(PRESET, n),
    "reprogram_weights": lambda n: cost.reprogram_weights(PRESET, n, over_radio=True),
    "digital_macs": lambda n: cost.digital_macs(PRESET, n, Precision.FP32),
    "sram_read": lambda n: cost.sram_read(PRESET, n),
    "erase": lambda n: cost.erase(PRESET, n),
    "radio": lambda n: cost.radio(PRESET, n),
    "deploy": lambda n: cost.deploy(PRESET, n, over_radio=True),
    "lora_forward": lambda n: cost.lora_forward(PRESET, inputs=n, outputs=9, rank=4, samples=n),
    "lora_training_step": lambda n: cost.lora_training_step(
        PRESET, inputs=n, outputs=9, rank=4, samples=n, train_a=True
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
@given(n=sizes)
def test_more_work_never_costs_less(name, n):
    less, more = CLOSED_FORMS[name](n), CLOSED_FORMS[name](n + 1)

    assert 0 <= less.energy_j < more.energy_j
    assert 0 <= less.seconds <= more.seconds
    assert less.cell_writes <= more.cell_writes
    assert less.bytes <= more.bytes


@pytest.mark.parametrize("name", sorted(set(CLOSED_FORMS) - {"program_weights", "reprogram_weights"}))
def test_only_programming_writes_cells(name):
    assert CLOSED_FORMS[name](100).cell_writes == 0


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
        ("tile.cells_per_weight", 1, 2),
    ],
)
def test_programming_costs_more_with_more_pulses_volts_and_cells(number, low, high):
    less = cost.program_weights(PRESET.with_values({number: low}), 1000)
    more = cost.program_weights(PRESET.with_values({number: high}), 1000)

    assert less.energy_j < more.energy_j


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
