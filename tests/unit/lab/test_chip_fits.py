"""Model against published fits, as document and as plots."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleet.errors import InvalidInputError
from fleet.lab.chip.fits import DAY_S, chip_fits, fits_document
from fleet.lab.chip.fits_plots import age_text, fits_figures


@pytest.fixture(scope="module")
def fits():
    return chip_fits(cells=1000, seed=1, progress=lambda text: None, ages_s=(1.0, DAY_S), tolerances_us=(1.0, 2.0))


def test_simulated_cells_are_within_the_tolerance_of_the_fits(fits):
    document = fits_document(fits)

    assert document["holds"] is True
    assert [error["age_s"] for error in document["programming_error"]] == [1.0, DAY_S]
    assert all(0 < error["worst_share_of_tolerance"] < 1 for error in document["programming_error"])


def test_rival_fit_is_there_at_one_second_and_says_nothing_later(fits):
    at_1s, at_1d = fits_document(fits)["programming_error"]

    assert 0.3 < at_1s["rival_worst_deviation_us"] < 0.8
    assert at_1d["rival_worst_deviation_us"] is None
    assert all(point["rival_us"] is None for point in at_1d["points"])


def test_closed_form_and_simulation_agree_on_pulses(fits):
    for row in fits_document(fits)["write_verify"]:
        assert row["simulated_pulses"] == pytest.approx(row["expected_pulses"], rel=0.15)


def test_document_is_json_without_infinities(fits):
    document = fits_document(fits)

    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_cells_beside_the_fit_do_not_hold(fits):
    # Everywhere 2 uS off.
    off = replace(fits.errors[0], sampled_us=fits.errors[0].fit_us + 2.0)

    assert not replace(fits, errors=(off, *fits.errors[1:])).hold


@pytest.mark.parametrize(
    ("name", "factor"), [("pulses", 1.2), ("energy_j", 1.25), ("pulses", 0.8), ("not_converged_share", 1e6)]
)
def test_pulses_beside_the_closed_form_do_not_hold(fits, name, factor):
    first, second = fits.pulses
    simulated = getattr(first, f"expected_{name}") * factor
    off = replace(fits, pulses=(replace(first, **{f"simulated_{name}": simulated}), second))

    assert not off.hold
    assert [row["holds"] for row in fits_document(off)["write_verify"]] == [False, True]
    assert all(error["worst_share_of_tolerance"] < 1 for error in fits_document(off)["programming_error"])


def test_figures_show_one_panel_per_age_and_all_models(fits):
    figures = fits_figures(fits)

    assert list(figures) == ["chip-fits-error", "chip-fits-models", "chip-fits-write-verify"]
    assert [axis.get_title(loc="left") for axis in figures["chip-fits-error"].axes] == ["after 1 s", "after 1 d"]
    assert len(figures["chip-fits-models"].axes[0].lines) == 6


def test_age_outside_the_fits_is_refused():
    with pytest.raises(InvalidInputError, match="ages of 1 to 172800 s"):
        chip_fits(cells=100, seed=0, progress=lambda text: None, ages_s=(10 * DAY_S,))


@pytest.mark.parametrize(("age_s", "text"), [(1.0, "1 s"), (60.0, "60 s"), (DAY_S, "1 d"), (2 * DAY_S, "2 d")])
def test_ages_as_text(age_s, text):
    assert age_text(age_s) == text
