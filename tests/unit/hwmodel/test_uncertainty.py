"""Spread of figures over a preset's ranges, their sensitivities, and the values that reach a target."""

import math

import numpy as np
import pytest

from hwmodel import (
    CostError,
    SamplingError,
    cost,
    load_network,
    load_preset,
    network_names,
    preset_text,
    sweep_preset,
)
from hwmodel.cost.designs import Activity, Design, design_report
from hwmodel.cost.sensitivity import sensitivities
from hwmodel.cost.uncertainty import DRAWS, Band, monte_carlo

PRESET = load_preset("180nm-1t1r")
MIXER = load_network("face-mixer")


def programming_j(technology):
    return cost.program_weights(technology, 1_000_000).energy_j


def test_a_band_holds_percentiles_and_ends():
    assert Band.of(np.arange(101.0)) == Band(5, 50, 95, 0, 100)


@pytest.mark.parametrize("values", [np.array([]), np.array([1.0, np.nan])])
def test_a_band_of_nothing_is_refused(values):
    with pytest.raises(CostError, match="at least one draw"):
        Band.of(values)


def test_every_quantity_of_every_design_of_all_networks_gets_a_band():
    networks = [load_network(name) for name in network_names()]

    bands = monte_carlo(networks, PRESET, draws=200)

    keys = {(b.network, b.design, b.activity, b.measure) for b in bands}
    assert len(bands) == len(keys) == len(networks) * len(Design) * len(Activity) * 3
    assert all(b.band.smallest <= b.band.p5 <= b.band.p50 <= b.band.p95 <= b.band.largest for b in bands)
    assert all(b.band.smallest > 0 for b in bands if b.measure != "cell_writes")


def test_the_nominal_value_is_near_the_middle_of_its_band():
    """The median of each drawn number is its nominal value; a product of several keeps that roughly."""
    for quantity in monte_carlo([MIXER], PRESET):
        if quantity.measure == "energy_j":
            assert 0.5 < quantity.band.p50 / quantity.nominal < 2


def test_the_same_seed_gives_the_same_bands_and_another_gives_others():
    first = monte_carlo([MIXER], PRESET, draws=100, seed=3)

    assert first == monte_carlo([MIXER], PRESET, draws=100, seed=3)
    assert first != monte_carlo([MIXER], PRESET, draws=100, seed=4)


def test_the_median_barely_depends_on_the_seed_at_the_default_number_of_draws():
    """Two lots of 4,000 draws whose spread is two decades: medians within 15 %."""
    assert DRAWS == 4000
    medians = [
        {(b.design, b.activity): b.band.p50 for b in monte_carlo([MIXER], PRESET, seed=s) if b.measure == "energy_j"}
        for s in (0, 1)
    ]

    for key in medians[0]:
        assert medians[0][key] == pytest.approx(medians[1][key], rel=0.15)


def test_a_tornado_has_the_longest_bar_first_and_only_numbers_that_matter():
    swings = sensitivities(programming_j, PRESET)

    assert [s.decades for s in swings] == sorted((s.decades for s in swings), reverse=True)
    assert swings[0].path == "write_verify.pulse_width_s"
    paths = {swing.path for swing in swings}
    assert {"write_verify.tolerance_us", "converter.adc_j_per_step", "write_verify.pulse_voltage_v"} <= paths
    assert not paths & {"radio.j_per_byte", "digital.sram_j_per_byte", "cell.endurance_cycles"}


def test_a_bar_ends_where_the_number_is_at_its_ends():
    swing = next(s for s in sensitivities(programming_j, PRESET) if s.path == "write_verify.pulse_voltage_v")

    assert (swing.low, swing.high) == (1.2, 4.0)
    for end, figure in ((swing.low, swing.at_low), (swing.high, swing.at_high)):
        assert figure == pytest.approx(programming_j(PRESET.with_values({swing.path: end})))
    assert (swing.value, swing.needed) == (PRESET.write_verify.pulse_voltage_v, None)
    assert swing.decades == pytest.approx(math.log10(swing.at_high / swing.at_low))


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.5])
def test_a_number_set_to_what_is_needed_reaches_the_target(factor):
    target = factor * programming_j(PRESET)

    answers = [
        sensitivity for sensitivity in sensitivities(programming_j, PRESET, target) if sensitivity.needed is not None
    ]

    assert len(answers) >= 3
    for sensitivity in answers:
        assert sensitivity.low <= sensitivity.needed <= sensitivity.high
        reached = programming_j(PRESET.with_values({sensitivity.path: sensitivity.needed}))
        assert reached == pytest.approx(target, rel=1e-4)


def test_a_target_at_the_nominal_figure_needs_no_change():
    for sensitivity in sensitivities(programming_j, PRESET, programming_j(PRESET)):
        assert sensitivity.needed == pytest.approx(sensitivity.value, rel=1e-3)


def test_a_target_out_of_reach_of_a_number_has_no_value():
    target = 1.5 * programming_j(PRESET)

    line = next(k for k in sensitivities(programming_j, PRESET, target) if k.path == "read.voltage_v")

    assert line.needed is None
    assert max(line.at_low, line.at_high) < target


def test_of_two_values_that_reach_a_target_the_nearer_to_nominal_is_given():
    def bump(technology):
        return 1 + (np.log10(technology.radio.j_per_byte) + 6.5) ** 2

    sensitivity = next(k for k in sensitivities(bump, PRESET, 1.04) if k.path == "radio.j_per_byte")

    assert sensitivity.needed == pytest.approx(10**-6.7, rel=1e-3)


def test_a_figure_that_nothing_moves_has_no_sensitivities():
    assert sensitivities(lambda _technology: 3.0, PRESET) == sensitivities(lambda _technology: 3.0, PRESET, 3.0) == ()


def test_a_number_without_a_range_is_left_out(tmp_path):
    ranged, point = "value = 1e6, low = 1e4, high = 1e7", "value = 1e6, low = 1e6, high = 1e6"
    path = tmp_path / "fixed.toml"
    path.write_text(preset_text("180nm-1t1r").replace(ranged, point), encoding="utf-8")

    def transfer_s(technology):
        return cost.radio(technology, 1000).seconds

    assert [s.path for s in sensitivities(transfer_s, PRESET)] == ["radio.bytes_per_s"]
    assert sensitivities(transfer_s, load_preset(path)) == ()


def test_only_what_a_cost_depends_on_has_a_sensitivity():
    def multiply_j(technology):
        return cost.digital_macs(technology, 1000, cost.Precision.INT8).energy_j

    assert [s.path for s in sensitivities(multiply_j, PRESET)] == ["digital.mac_int8_j"]


@pytest.mark.parametrize("figure", [lambda _: 0.0, lambda _: -1.0, lambda _: math.inf])
def test_a_figure_without_a_logarithm_is_refused(figure):
    with pytest.raises(CostError, match="positive and finite"):
        sensitivities(figure, PRESET)
    with pytest.raises(CostError, match="target must be positive; got -2"):
        sensitivities(programming_j, PRESET, -2)


def test_a_sweep_changes_what_it_names_and_nothing_else():
    sweep = sweep_preset(PRESET, {"read.voltage_v": np.array([0.1, 0.2, 0.5])})

    assert sweep.draws == 3
    assert sweep.read.voltage_v.tolist() == [0.1, 0.2, 0.5]
    assert sweep.read.time_s.tolist() == [PRESET.read.time_s] * 3
    report = design_report(MIXER, sweep, Design.LORA)
    assert np.all(np.diff(report.costs[Activity.INFERENCE].total.energy_j) > 0)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "columns of one length"),
        ({"read.voltage_v": np.array([])}, "columns of one length"),
        ({"read.voltage_v": np.full(2, 0.2), "read.time_s": np.full(3, 1e-7)}, "columns of one length"),
        ({"read.voltage_v": np.array([0.2, 0.6])}, "swept outside its range 0.1 ... 0.5"),
        ({"tile.rows": np.array([128.0])}, "tile.rows is not a property"),
        ({"read.colour": np.array([1.0])}, "read.colour is not a property"),
    ],
)
def test_an_impossible_sweep_is_refused(values, complaint):
    with pytest.raises(SamplingError, match=complaint):
        sweep_preset(PRESET, values)
