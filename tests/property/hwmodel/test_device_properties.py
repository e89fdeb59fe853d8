"""Properties of every cell, whatever its target, model, key and age."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodel import (
    PROGRAMMING_ERROR_FITS,
    CellKey,
    CmoRelaxation,
    ConductanceWindow,
    ConstantProgrammingError,
    DeviceError,
    DeviceModels,
    IrDrop,
    NoRelaxation,
    StuckCells,
    WanRelaxation,
    cell_levels,
    expected_write_verify,
    load_preset,
    mean_pulses,
    simulate_write_verify,
)

PRESETS = {name: load_preset(name) for name in ("180nm-1t1r", "130nm-neurram", "22nm")}
FITS = list(PROGRAMMING_ERROR_FITS.values())
DAY_S = 86_400.0

presets = st.sampled_from(sorted(PRESETS))
keys = st.builds(
    CellKey,
    fleet_seed=st.integers(0, 2**31),
    node=st.sampled_from(["a", "b"]),
    layer=st.sampled_from(["fc1", "fc2"]),
    epoch=st.integers(0, 5),
    plane=st.sampled_from(["weight", "reference"]),
)
ages = st.floats(1.0, 2 * DAY_S)
shares = st.floats(0, 0.3)


@st.composite
def programmings(draw):
    """A window, targets in it, and models that cover it."""
    preset = PRESETS[draw(presets)]
    window = ConductanceWindow.of(preset)
    count = draw(st.integers(0, 60))
    level = st.integers(window.min_level, window.max_level)
    targets = torch.tensor(draw(st.lists(level, min_size=count, max_size=count)), dtype=torch.int32)
    wan = preset.name == "130nm-neurram"
    models = DeviceModels(
        programming_error=PROGRAMMING_ERROR_FITS["wan-aihwkit"]
        if wan
        else ConstantProgrammingError(draw(st.floats(0, 10))),
        relaxation=WanRelaxation() if wan else draw(st.sampled_from([NoRelaxation(), CmoRelaxation()])),
        stuck_cells=StuckCells(draw(shares), draw(shares)),
    )
    return preset, window, targets, models


@settings(max_examples=60)
@given(programmings(), keys, ages)
def test_cells_stay_on_the_grid_between_floor_and_ceiling_at_every_age(programming, key, age_s):
    _, window, targets, models = programming

    levels = cell_levels(targets, key=key, models=models, window=window, age_s=age_s)

    assert levels.dtype == torch.int32
    assert levels.shape == targets.shape
    assert bool(((levels >= window.floor_level) & (levels <= window.ceiling_level)).all())


@settings(max_examples=40)
@given(programmings(), keys, ages, st.data())
def test_a_cell_depends_on_its_own_target_and_key_alone(programming, key, age_s, data):
    """So a chip is regenerated bit for bit, in any shape, whatever its other weights are."""
    _, window, targets, models = programming
    before = cell_levels(targets, key=key, models=models, window=window, age_s=age_s)
    if len(targets) == 0:
        return
    changed = data.draw(st.integers(0, len(targets) - 1))
    others = targets.clone()
    others[changed] = data.draw(st.integers(window.min_level, window.max_level))

    after = cell_levels(others.view(1, -1), key=key, models=models, window=window, age_s=age_s)[0]

    untouched = torch.arange(len(targets)) != changed
    assert torch.equal(before[untouched], after[untouched])


@settings(max_examples=60)
@given(st.sampled_from(FITS), st.floats(-50, 300))
def test_a_fit_answers_inside_its_range_and_raises_outside(model, conductance_us):
    conductance = torch.tensor([conductance_us], dtype=torch.float64)

    if model.low_us <= conductance_us <= model.high_us:
        assert model.sigma_us(conductance).item() > 0
    elif not model.low_us - 1e-6 <= conductance_us <= model.high_us + 1e-6:
        with pytest.raises(DeviceError):
            model.sigma_us(conductance)


@given(st.floats(0, 40), ages)
def test_relaxation_of_wan_only_adds_and_ends_between_its_fits(conductance_us, age_s):
    conductance = torch.tensor([conductance_us], dtype=torch.float64)
    relaxation = WanRelaxation()
    fits = [relaxation.total_sigma_us(conductance, age).item() for age in (1.0, DAY_S, 2 * DAY_S)]

    total = relaxation.total_sigma_us(conductance, age_s).item()

    assert min(fits) - 1e-12 <= total <= max(fits) + 1e-12
    assert relaxation.shift(conductance, age_s).sigma_us.item() >= 0


@given(st.floats(0.05, 50), st.floats(0.5, 50), st.integers(1, 1000), st.floats(0, 1))
def test_mean_pulses_lie_between_one_and_the_time_out(tolerance_us, sigma_us, max_pulses, stuck_share):
    pulses = mean_pulses(tolerance_us, sigma_us, max_pulses, stuck_share)

    assert 1 - 1e-9 <= pulses <= max_pulses + 1e-9


@given(st.floats(0.05, 50), st.floats(1.01, 5), st.floats(0.5, 50), st.integers(1, 500))
def test_a_wider_tolerance_never_takes_more_pulses_nor_a_longer_time_out_fewer(
    tolerance_us, factor, sigma_us, max_pulses
):
    pulses = mean_pulses(tolerance_us, sigma_us, max_pulses)

    assert mean_pulses(tolerance_us * factor, sigma_us, max_pulses) <= pulses + 1e-9
    assert mean_pulses(tolerance_us, sigma_us, max_pulses + 1) >= pulses - 1e-9


@given(st.lists(st.floats(0.05, 50), min_size=1, max_size=5), st.floats(0.5, 50), st.floats(0, 1))
def test_an_array_of_draws_is_each_draw_by_itself(tolerances_us, sigma_us, stuck_share):
    together = mean_pulses(np.array(tolerances_us), sigma_us, 100, stuck_share)

    # Not to the bit: the power of an array is numpy's, that of a number the C library's.
    alone = [mean_pulses(one, sigma_us, 100, stuck_share) for one in tolerances_us]
    assert list(together) == pytest.approx(alone, rel=1e-12)


@settings(max_examples=40)
@given(programmings(), keys)
def test_every_simulated_cell_is_accepted_inside_the_tolerance_or_given_up(programming, key):
    preset, window, targets, models = programming

    simulated = simulate_write_verify(targets, preset, key=key, models=models)

    limit = preset.write_verify.max_pulses
    assert torch.equal(simulated.converged, simulated.deviation_us.abs() <= preset.write_verify.tolerance_us)
    assert bool(((simulated.pulses >= 1) & (simulated.pulses <= limit)).all())
    assert bool((simulated.pulses[~simulated.converged] == limit).all())
    assert bool(((simulated.levels >= window.floor_level) & (simulated.levels <= window.ceiling_level)).all())
    assert simulated.result.pulses == int(simulated.pulses.sum())
    assert simulated.result.not_converged == int((~simulated.converged).sum())


@settings(max_examples=30)
@given(programmings(), keys, st.integers(1, 59))
def test_write_verify_costs_more_with_every_cell_and_pulse(programming, key, cut):
    preset, _, targets, models = programming

    whole = simulate_write_verify(targets, preset, key=key, models=models)
    part = simulate_write_verify(targets[:cut], preset, key=replace(key, plane="part"), models=models)
    total = whole.result + part.result

    assert whole.result.energy_j >= whole.result.pulses * preset.write_verify.line_energy_j
    assert total.energy_j >= max(whole.result.energy_j, part.result.energy_j) >= 0
    assert total.pulses == whole.result.pulses + part.result.pulses
    assert min(whole.result.wear, part.result.wear) - 1e-12 <= total.wear
    assert total.wear <= max(whole.result.wear, part.result.wear) + 1e-12


@given(presets, st.integers(0, 10**6), st.floats(0, 100), st.floats(0, 50))
def test_expected_energy_grows_with_the_conductance(name, count, conductance_us, more_us):
    less = expected_write_verify(PRESETS[name], count, mean_conductance_us=conductance_us)
    more = expected_write_verify(PRESETS[name], count, mean_conductance_us=conductance_us + more_us)

    assert 0 <= less.energy_j <= more.energy_j
    assert (less.pulses, less.seconds, less.wear) == (more.pulses, more.seconds, more.wear)


@settings(max_examples=60)
@given(presets, st.integers(1, 140), st.floats(0, 0.3), st.floats(0, 1), st.integers(0, 2**31))
def test_no_amplifier_sees_more_than_the_cell_nor_loses_more_than_the_limit(name, inputs, wire_ohm, activity, seed):
    window = ConductanceWindow.of(PRESETS[name])
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(window.min_level, window.max_level + 1, (inputs, 3), generator=generator)

    seen = IrDrop(wire_ohm, activity).seen(levels.int(), window, tile_rows=64)

    assert bool((seen <= levels).all())
    assert bool((seen >= levels * (1 - IrDrop.max_drop) - 1).all())
