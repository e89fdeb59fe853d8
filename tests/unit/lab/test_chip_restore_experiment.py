"""The experiment behind `fleet chip restore`: data, conditions, figures, what it says about them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fleet.errors import InvalidInputError
from fleet.lab.chip.calibration.data import load_public_data
from fleet.lab.chip.calibration.experiment import run_restore
from fleet.lab.chip.calibration.network import features_and_scores, train_network
from fleet.lab.chip.calibration.report import restore_document
from fleet.lab.chip.calibration.settings import (
    RestoreSettings,
    Sweep,
    age_seconds,
    conditions,
    given_numbers,
    given_words,
    resolved,
)
from fleet.lab.paper.networks.inputs import threshold_code
from fleet.lab.paper.networks.lsm import CHANNELS, STEPS
from hwmodel import load_preset


@pytest.fixture(autouse=True, scope="module")
def no_photos(tmp_path_factory):
    """Nobody's photos decide how these tests go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCIKIT_LEARN_DATA", str(tmp_path_factory.mktemp("no-photos")))
        for name in ("RERAM_FLEET_FACES", "RERAM_FLEET_DATA"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True, scope="module")
def trained_once():
    """Training takes most of a run, and gives the same every time (last test below)."""
    networks = {}

    def trained(name, data, *, seed):
        if (name, seed) not in networks:
            networks[name, seed] = train_network(name, data, seed=seed)
        return networks[name, seed]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fleet.lab.chip.calibration.experiment.train_network", trained)
        yield trained


def tiny(preset="180nm-1t1r", **changes):
    settings = RestoreSettings("face-mixer", load_preset(preset), noise_us=(5.0,), ages=(), stuck_shares=(), chips=2)
    return replace(settings, **changes)


def quietly(text):
    del text


@pytest.fixture(scope="module")
def report():
    return run_restore(tiny(stuck_shares=(0.05,)), quietly)


class TestOutcome:
    def test_the_network_has_learnt_its_task(self, report):
        assert report.network.accuracy[0] > 0.8

    def test_a_bad_chip_loses_accuracy_and_the_lora_brings_most_of_it_back(self, report):
        document = restore_document(report)

        for condition in document["conditions"]:
            lost = document["ideal_chip"]["accuracy"]["mean"] - condition["chip"]["accuracy"]["mean"]
            assert lost > 0.15
            assert condition["share_of_loss_restored"] > 0.7

    def test_features_come_closer_on_every_chip(self, report):
        for condition in report.conditions:
            pairs = zip(condition.chip.feature_error, condition.restored.feature_error, strict=True)
            assert all(after < before / 2 for before, after in pairs)

    def test_chips_differ_from_each_other(self, report):
        assert len(set(report.conditions[0].chip.feature_error)) == 2

    def test_the_lora_costs_sram_energy_and_no_cell_writes(self, report):
        condition = report.conditions[0]

        assert report.sram_bytes >= report.lora_parameters == 6 * (36 + 4 * 48 + 4 * 52 + 30)
        assert condition.fit.energy_j > 0
        assert condition.fit.cell_writes == 0
        assert condition.restored_inference.energy_j > condition.inference.energy_j

    def test_the_same_settings_give_the_same_chips(self, report):
        alone = run_restore(tiny(), quietly)

        assert alone.conditions[0].chip == report.conditions[0].chip


class TestWhatIsSaid:
    def test_rank_one_in_the_papers_layers_is_not_enough_and_the_report_says_so(self):
        settings = tiny(rank=1, corrected="paper")

        document = restore_document(run_restore(settings, quietly))

        assert not document["conditions"][0]["back"]
        assert any("not brought back" in note and "noise 5 uS" in note for note in document["notes"])
        assert document["lora"]["parameters"] == 4 * 52 + 30
        assert any("--layers all" in note for note in document["notes"])

    def test_nobody_is_told_to_choose_what_they_have_chosen(self):
        document = restore_document(run_restore(tiny(rank=1, chips=1), quietly))

        assert any("not brought back" in note for note in document["notes"])
        assert not any("--layers all" in note for note in document["notes"])

    def test_a_lora_larger_than_the_network_is_pointed_out(self):
        document = restore_document(run_restore(tiny(rank=16, chips=1), quietly))

        assert document["lora"]["share_of_weights"] > 1
        assert any("choose a lower rank" in note for note in document["notes"])

    def test_a_lora_that_takes_more_energy_than_its_chip_is_pointed_out(self, report):
        frugal = replace(
            report, conditions=tuple(replace(c, restored_inference=c.inference * 2) for c in report.conditions)
        )

        assert any("takes more energy than the crossbars" in n for n in restore_document(report)["notes"])
        assert not any("takes more energy" in note for note in restore_document(frugal)["notes"])

    def test_a_preset_without_relaxation_has_no_ages_and_the_report_says_so(self, report):
        assert any("do not age" in note and "130nm-neurram" in note for note in report.notes)

    def test_a_lora_that_was_fitted_young_is_followed_through_the_ages(self):
        settings = tiny("130nm-neurram", noise_us=(), ages=("1s", "2d"), chips=2)

        young, old = run_restore(settings, quietly).conditions

        assert young.kept == young.restored
        assert old.kept is not None
        assert old.kept.feature_error != old.restored.feature_error
        assert max(old.restored.feature_error) < min(old.chip.feature_error)

    def test_digits_stand_in_for_photos_that_are_not_there(self, report):
        assert "digits of scikit-learn (no Olivetti photos were found)" in report.data


class TestSettings:
    def test_the_papers_rank_is_the_default(self):
        settings, _ = resolved(tiny())

        assert settings.rank == 6
        assert resolved(tiny(network="speaker-lsm"))[0].rank == 8

    def test_cells_that_relax_are_followed_for_two_days(self):
        settings, notes = resolved(tiny("130nm-neurram", ages=None))

        assert settings.ages == ("1s", "1d", "2d")
        assert notes == ()

    def test_one_thing_is_changed_at_a_time(self):
        preset = load_preset("130nm-neurram")
        settings, _ = resolved(tiny("130nm-neurram", ages=("1d",), stuck_shares=(0.02,)))

        noise, age, stuck = conditions(settings)

        assert [c.sweep for c in (noise, age, stuck)] == [Sweep.NOISE, Sweep.AGE, Sweep.STUCK]
        assert noise.models.stuck_cells == age.models.stuck_cells
        assert (noise.age_s, age.age_s, stuck.age_s) == (1.0, 86_400.0, 1.0)
        assert stuck.models.programming_error == age.models.programming_error
        assert stuck.models.stuck_cells.share == pytest.approx(0.02)
        assert age.models.stuck_cells.share == pytest.approx(preset.cell.stuck_low_share + preset.cell.stuck_high_share)

    def test_lists_of_the_command_line_may_be_empty_or_have_blanks(self):
        assert given_numbers("noise", "1, 2.5") == (1.0, 2.5)
        assert given_words("1s,") == ("1s",)
        assert given_numbers("stuck", "") == ()

    @pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("6h", 21_600), ("0.5d", 43_200), ("1y", 31_557_600)])
    def test_ages_have_units(self, text, seconds):
        assert age_seconds(text) == seconds

    @pytest.mark.parametrize("text", ["", "s", "12", "-1s", "2w", "nans", "infd"])
    def test_what_is_no_age_is_refused(self, text):
        with pytest.raises(InvalidInputError, match="is not an age"):
            age_seconds(text)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"network": "image-dit"}, "no data to calibrate chips of network 'image-dit'"),
            ({"chips": 0}, "needs a chip"),
            ({"rank": 0}, "at least 1"),
            ({"ages": ("1d",)}, "180nm-1t1r has no model of relaxation"),
            ({"noise_us": (-1.0,)}, "not negative"),
            ({"stuck_shares": (1.5,)}, "between 0 and 1"),
            ({"noise_us": ()}, "nothing to try"),
            ({"data": Path("/no/such/folder")}, "no Olivetti photos in /no/such/folder"),
            ({"network": "speaker-lsm", "data": Path("x")}, "reads no folder"),
            ({"preset": "130nm-neurram", "ages": ("0.1s",)}, "covers ages of"),
        ],
    )
    def test_settings_out_of_range_are_refused_before_anything_is_trained(self, changes, message):
        told = []

        with pytest.raises(InvalidInputError, match=message):
            run_restore(tiny(**changes), told.append)

        assert told == []


class TestData:
    def test_a_spike_for_every_threshold_that_is_exceeded(self):
        signals = np.array([[[0.5, -1.0]]])
        thresholds = np.array([[0.0, -2.0], [0.5, 0.0]])

        assert threshold_code(signals, thresholds).tolist() == [[[1, 0, 1, 0]]]

    def test_speakers_come_as_spikes_on_140_channels_for_ten_steps(self):
        data = load_public_data("speaker-lsm", folder=None, seed=0)

        assert data.fit.shape == (270, STEPS, CHANNELS)
        assert data.held_out.shape == (370, STEPS, CHANNELS)
        assert set(data.held_out.unique().tolist()) == {0.0, 1.0}
        assert data.held_out_labels.bincount().tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]

    def test_thresholds_split_each_signal_of_the_fitted_samples_evenly(self):
        shares = load_public_data("speaker-lsm", folder=None, seed=0).fit.mean(dim=(0, 1)).view(14, 10)

        coefficients = shares[:12]
        assert torch.allclose(coefficients, torch.linspace(0.95, 0.05, 10).expand(12, 10), atol=0.005)

    def test_images_that_are_held_out_were_never_trained_on(self):
        data = load_public_data("face-mixer", folder=None, seed=0)

        distances = torch.cdist(data.held_out.flatten(1), data.training.flatten(1))

        assert data.fit.shape[1:] == (16, 16)
        assert float(distances.min()) > 0.5

    def test_images_have_mean_zero_and_mean_square_one(self):
        held_out = load_public_data("face-mixer", folder=None, seed=0).held_out

        assert float(held_out.mean(dim=(1, 2)).abs().max()) < 1e-5
        assert torch.allclose(held_out.square().mean(dim=(1, 2)), torch.ones(len(held_out)), atol=1e-4)


def test_training_repeats_itself_and_leaves_the_global_generator_alone(trained_once):
    data = load_public_data("face-mixer", folder=None, seed=0)
    first = trained_once("face-mixer", data, seed=0)
    state = torch.get_rng_state()

    second = train_network("face-mixer", data, seed=0)

    assert torch.equal(state, torch.get_rng_state())
    features, scores = features_and_scores(first, data.held_out[:5], 2)
    assert (features.shape, scores.shape) == ((2, 5, 20), (2, 5, 10))
    assert torch.equal(scores, features_and_scores(second, data.held_out[:5], 2)[1])
    assert math.isfinite(float(scores.sum()))
