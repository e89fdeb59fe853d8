"""Draws of a preset: lawful, keyed, and priced by the same formulas as the preset."""

import copy
import pickle

import numpy as np
import pytest

from hwmodel import (
    Cost,
    CostDraws,
    CostError,
    SamplingError,
    cost,
    drawn_paths,
    load_preset,
    preset_names,
    sample_preset,
)

PRESET = load_preset("180nm-1t1r")
DRAWS = 20_000


@pytest.fixture(scope="module")
def sample():
    return sample_preset(PRESET, DRAWS, seed=1)


def test_structure_is_not_drawn(sample):
    assert sample.tile == PRESET.tile
    assert sample.converter.adc_bits == 8
    assert sample.cell.conductance_max_us == 80
    assert sample.write_verify.parallel_cells == 1
    assert not any(path.startswith("tile.") for path in sample.drawn)


def test_every_property_is_drawn_under_the_name_it_has_in_the_preset(sample):
    assert tuple(sample.drawn) == drawn_paths(PRESET)
    for path, draws in sample.drawn.items():
        section, key = path.split(".")
        assert getattr(getattr(sample, section), key) is draws
        assert draws.shape == (DRAWS,)


@pytest.mark.parametrize("name", preset_names())
def test_no_draw_leaves_its_range_and_the_median_is_the_nominal_value(name):
    preset = load_preset(name)
    sample = sample_preset(preset, DRAWS, seed=1)

    for path, draws in sample.drawn.items():
        quantity = preset.quantity(path)
        assert quantity.low <= draws.min()
        assert draws.max() <= quantity.high
        # 20,000 draws put their median within two percent of the ranks around the middle
        below, above = np.quantile(draws, [0.48, 0.52])
        assert below <= quantity.value <= above


def test_each_half_is_log_uniform(sample):
    draws = sample.converter.adc_j_per_step
    quantity = PRESET.quantity("converter.adc_j_per_step")

    lower = np.log(draws[draws < quantity.value] / quantity.low) / np.log(quantity.value / quantity.low)
    upper = np.log(draws[draws > quantity.value] / quantity.value) / np.log(quantity.high / quantity.value)

    for share in (lower, upper):
        assert np.quantile(share, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.02)


def test_a_range_from_zero_is_uniform_up_to_the_nominal_value(sample):
    draws = sample.write_verify.line_energy_j
    value = PRESET.write_verify.line_energy_j

    assert draws[draws < value].mean() == pytest.approx(value / 2, rel=0.02)


def test_numbers_are_drawn_independently(sample):
    logs = np.log([sample.drawn[p] for p in sample.drawn if PRESET.quantity(p).low > 0])

    correlations = np.corrcoef(logs) - np.eye(len(logs))

    assert np.abs(correlations).max() < 0.04


def test_draws_are_a_function_of_seed_preset_and_name():
    again = sample_preset(PRESET, DRAWS, seed=1)
    fewer = sample_preset(PRESET, 10, seed=1)
    other = sample_preset(PRESET, 10, seed=2)

    assert np.array_equal(again.radio.j_per_byte[:10], fewer.radio.j_per_byte)
    assert not np.array_equal(other.radio.j_per_byte, fewer.radio.j_per_byte)


def test_a_sample_cannot_be_changed(sample):
    with pytest.raises(ValueError, match="read-only"):
        sample.radio.j_per_byte[0] = 0
    with pytest.raises(TypeError):
        sample.drawn["radio.j_per_byte"] = 0


def test_a_misspelt_number_names_those_that_there_are(sample):
    with pytest.raises(AttributeError, match=r"radio .* 'joules'; it has: j_per_byte, bytes_per_s"):
        _ = sample.radio.joules


def test_a_sample_survives_copying_and_another_process():
    sample = sample_preset(PRESET, 3, seed=1)

    for twin in (copy.deepcopy(sample), pickle.loads(pickle.dumps(sample))):
        assert np.array_equal(twin.radio.j_per_byte, sample.radio.j_per_byte)
        assert twin.converter.adc_bits == 8


def test_a_sample_without_draws_is_refused():
    with pytest.raises(SamplingError, match="at least one draw; got 0"):
        sample_preset(PRESET, 0, seed=1)


def test_the_draws_of_a_cost_are_those_of_presets_with_these_numbers():
    sample = sample_preset(PRESET, 5, seed=3)
    drawn_costs = cost.program_weights(sample, 500) + cost.radio(sample, 1000)

    for draw in range(5):
        preset = PRESET.with_values({path: float(values[draw]) for path, values in sample.drawn.items()})
        single = cost.program_weights(preset, 500) + cost.radio(preset, 1000)
        assert drawn_costs[draw].energy_j == pytest.approx(single.energy_j, rel=1e-12)
        assert drawn_costs[draw].seconds == pytest.approx(single.seconds, rel=1e-12)
        assert drawn_costs[draw].cell_writes == single.cell_writes
        assert drawn_costs[draw].bytes == single.bytes


def test_wear_has_draws_too(sample):
    left = cost.adaptations_left(sample, steps=200)

    assert left.shape == (DRAWS,)
    assert np.quantile(left, 0.02) < 2500 < np.quantile(left, 0.98)
    assert np.array_equal(left, np.floor(left))


def test_costs_of_draws_add_up_and_multiply(sample):
    read = cost.sram_read(sample, 10)
    both = read + cost.radio(sample, 5) * 2

    assert both.draws == DRAWS
    assert both.bytes == 20
    assert np.allclose(both.energy_j, 10 * sample.digital.sram_j_per_byte + 10 * sample.radio.j_per_byte, rtol=1e-12)
    assert (2 * read)[0] == read[0] * 2
    assert sample.priced()[7] == Cost()


def test_costs_of_other_draws_and_impossible_ones_are_refused(sample):
    with pytest.raises(CostError, match="20000 and of 3 draws"):
        cost.radio(sample, 1) + cost.radio(sample_preset(PRESET, 3, seed=1), 1)
    with pytest.raises(CostError, match="energy_j must be finite and not negative"):
        sample.priced(-1.0)
    with pytest.raises(CostError, match=r"seconds has shape \(3,\)"):
        CostDraws(np.zeros(2), np.zeros(3), 0, np.zeros(2))
    with pytest.raises(CostError, match="bytes must not be negative"):
        CostDraws(np.zeros(2), np.zeros(2), -1, np.zeros(2))
