"""Programming error: the published formulas, the ranges they were measured in, and their names."""

import math
from typing import get_args

import numpy as np
import pytest
import torch

from hwmodel import (
    PROGRAMMING_ERROR_FITS,
    ConstantProgrammingError,
    DeviceError,
    load_preset,
    programming_error_named,
    programming_error_names,
    relaxation_named,
    relaxation_names,
)
from hwmodel.presets.technology import ProgrammingErrorName, RelaxationName

PRESET = load_preset("180nm-1t1r")
BOUNDED = list(PROGRAMMING_ERROR_FITS.values())


def us(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("model", "conductance_us", "sigma_us"),
    [
        (PROGRAMMING_ERROR_FITS["wan-aihwkit"], 0, 0.348),
        (PROGRAMMING_ERROR_FITS["wan-aihwkit"], 20, 0.348 + 8.015 - 10.96325 + 5.674125 - 1.0509375),
        (PROGRAMMING_ERROR_FITS["wan-aihwkit"], 40, 1.103),
        (PROGRAMMING_ERROR_FITS["wan-crosssim"], 0, 1.053),
        (PROGRAMMING_ERROR_FITS["wan-crosssim"], 20, 1.053 + 4.748 - 4.668 + 1.2288),
        (PROGRAMMING_ERROR_FITS["milo"], 50, 4.32665),
        (PROGRAMMING_ERROR_FITS["milo"], 225, 2.732925),
        (PROGRAMMING_ERROR_FITS["cmo-0.2%"], 50, 0.00081 + 0.0535),
        (PROGRAMMING_ERROR_FITS["cmo-2%"], 50, 0.0112 + 0.565),
        (ConstantProgrammingError(3.0), 50, 3.0),
    ],
)
def test_sigma_is_the_published_formula(model, conductance_us, sigma_us):
    assert model.sigma_us(us(conductance_us)).item() == pytest.approx(sigma_us, rel=2e-3)


@pytest.mark.parametrize("model", BOUNDED, ids=repr)
def test_sigma_is_positive_over_the_whole_range_and_float64(model):
    sigma = model.sigma_us(torch.linspace(model.low_us, model.high_us, 1001, dtype=torch.float64))

    assert sigma.dtype == torch.float64
    assert bool((sigma > 0).all())


@pytest.mark.parametrize("model", BOUNDED, ids=repr)
@pytest.mark.parametrize("beyond", ["low", "high"])
def test_outside_its_range_a_model_says_value_and_range(model, beyond):
    wrong = model.low_us - 0.5 if beyond == "low" else model.high_us + 0.5

    with pytest.raises(DeviceError) as refused:
        model.sigma_us(us((model.low_us + model.high_us) / 2, wrong))

    for part in (f"got {wrong:g} uS", f"{model.low_us:g} to {model.high_us:g} uS", model.name):
        assert part in str(refused.value)


@pytest.mark.parametrize("model", [*BOUNDED, ConstantProgrammingError(1.0)], ids=repr)
@pytest.mark.parametrize("wrong", [-1.0, math.nan])
def test_what_is_no_conductance_is_refused(model, wrong):
    with pytest.raises(DeviceError, match=getattr(model, "name", "ConstantProgrammingError")):
        model.sigma_us(us(wrong))


@pytest.mark.parametrize("model", BOUNDED, ids=repr)
def test_no_cells_are_no_error(model):
    assert model.sigma_us(us()).shape == (0,)


def test_the_rival_fits_of_one_figure_differ_by_no_more_than_the_data_supports():
    conductance = torch.linspace(0, 39.26, 500, dtype=torch.float64)

    gap = PROGRAMMING_ERROR_FITS["wan-aihwkit"].sigma_us(conductance) - PROGRAMMING_ERROR_FITS["wan-crosssim"].sigma_us(
        conductance
    )
    inner = (conductance > 8) & (conductance < 36)

    assert gap[inner].abs().max().item() == pytest.approx(0.35, abs=0.03)
    assert gap.abs().max().item() == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("sigma", [-1, math.nan, math.inf])
def test_an_impossible_sigma_is_refused(sigma):
    with pytest.raises(DeviceError, match="sigma"):
        ConstantProgrammingError(sigma)


def test_every_name_that_a_preset_may_give_has_a_model():
    assert programming_error_names() == get_args(ProgrammingErrorName)
    assert relaxation_names() == get_args(RelaxationName)
    for name in programming_error_names():
        assert programming_error_named(name, PRESET).source
    for name in relaxation_names():
        assert relaxation_named(name).source


def test_names_lead_to_their_models():
    named = {name: programming_error_named(name, PRESET) for name in programming_error_names()}

    assert named == {"constant": ConstantProgrammingError(PRESET.cell.programming_sigma_us), **PROGRAMMING_ERROR_FITS}
    assert all(fit.name == name for name, fit in PROGRAMMING_ERROR_FITS.items())


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(DeviceError, match=r"no programming error 'pcm'.*wan-crosssim"):
        programming_error_named("pcm", PRESET)
    with pytest.raises(DeviceError, match="no programming error 'cmo-1%'"):
        programming_error_named("cmo-1%", PRESET)
    with pytest.raises(DeviceError, match=r"no relaxation 'pcm'.*none, wan, cmo"):
        relaxation_named("pcm")


def test_horner_gives_what_powers_give():
    """The oracle of the polynomial: numpy's."""
    conductance = np.linspace(0, 40, 41)

    expected = np.polynomial.polynomial.polyval(conductance / 40, [0.348, 16.030, -43.853, 45.393, -16.815])

    assert PROGRAMMING_ERROR_FITS["wan-aihwkit"].sigma_us(torch.from_numpy(conductance)).numpy() == pytest.approx(
        expected
    )
