"""The paper's three ratios: interpretations that are consistent with them, and what cannot follow."""

import dataclasses
import json

import numpy as np
import pytest

from hwmodel import CostError, NetworkSpec, load_network, load_preset, network_names, sample_preset
from hwmodel.cost.interpretations import INTERPRETATIONS, PaperRatio
from hwmodel.cost.ratios import TOLERANCE, Verdict, anchored_set, network_ratios, ratio_report

PRESET = load_preset("180nm-1t1r")
NETWORKS = [load_network(name) for name in network_names()]


@pytest.fixture(scope="module")
def report():
    return ratio_report(NETWORKS, PRESET)


@pytest.fixture(scope="module")
def results(report):
    return {(r.interpretation, r.network): r for ratio in report.ratios for r in ratio.interpretations}


def test_the_papers_figures_are_the_targets(report):
    assert [(found.ratio, found.paper) for found in report.ratios] == [
        (PaperRatio.TRAINING, 147.76),
        (PaperRatio.DEPLOYMENT, 387.95),
        (PaperRatio.INFERENCE, 48.44),
    ]


def test_every_interpretation_is_computed_for_every_network_that_it_is_about(results):
    names = [interpretation.name for interpretation in INTERPRETATIONS]

    assert len(set(names)) == len(names)
    assert set(results) == {(r.name, n.name) for r in INTERPRETATIONS for n in NETWORKS if r.applies(n)}
    assert ("event-driven unit", "face-mixer") not in results
    assert ("equal unit, whole network", "speaker-lsm") not in results


@pytest.mark.parametrize(
    ("interpretation", "network", "nominal"),
    [
        ("updates, SGD", "face-mixer", 109),
        ("updates, SGD", "speaker-lsm", 54),
        ("updates, SGD", "image-dit", 666),
        ("parameter updates", "face-mixer", 44.9),
        ("parameter updates", "speaker-lsm", 22.4),
        ("parameter updates", "image-dit", 274),
        ("parameters", "face-mixer", 3.60),
        ("parameters", "speaker-lsm", 25.1),
        ("int8 to SRAM", "face-mixer", 297),
        ("int8 to SRAM", "speaker-lsm", 2071),
        ("int8 to SRAM", "image-dit", 22634),
        ("fp32 from DRAM, targets at hand", "face-mixer", 6.2),
        ("fp32 from DRAM, targets at hand", "speaker-lsm", 43),
        ("fp32 from DRAM, targets at hand", "image-dit", 472),
        ("equal digital unit", "image-dit", 38.3),
    ],
)
def test_nominal_ratios_are_those_of_the_reference(results, interpretation, network, nominal):
    assert results[interpretation, network].nominal == pytest.approx(nominal, rel=0.02)


def test_adam_divides_the_ratio_of_updates_by_three(results):
    for network in NETWORKS:
        sgd, adam = (results[f"updates, {rule}", network.name].nominal for rule in ("SGD", "Adam"))
        assert sgd == pytest.approx(3 * adam)


@pytest.mark.parametrize(
    ("ratio", "interpretation", "network"),
    [
        (PaperRatio.TRAINING, "updates, SGD", "face-mixer"),
        (PaperRatio.DEPLOYMENT, "int8 to SRAM", "face-mixer"),
        (PaperRatio.DEPLOYMENT, "fp32 from DRAM, targets at hand", "image-dit"),
        (PaperRatio.INFERENCE, "equal digital unit", "image-dit"),
    ],
)
def test_interpretations_that_are_consistent_with_the_paper(report, ratio, interpretation, network):
    rivals = next(found for found in report.ratios if found.ratio is ratio).consistent

    found = next(r for r in rivals if (r.interpretation, r.network) == (interpretation, network))
    assert found.band.p5 <= found.paper <= found.band.p95
    assert found.share_within > 0.05
    assert [r.distance for r in rivals] == sorted(r.distance for r in rivals)


def test_a_mixer_is_capped_by_an_equal_digital_unit_whatever_the_crossbar_takes(report, results):
    mixer = results["equal digital unit", "face-mixer"]

    assert report.caps["face-mixer"] == pytest.approx(4.33, abs=0.005)
    assert mixer.free_analogue == pytest.approx(report.caps["face-mixer"])
    assert mixer.band.largest < report.caps["face-mixer"]
    assert mixer.verdict is Verdict.TOO_LOW
    assert any("face-mixer: an equal digital unit caps inference at M / M_L = 4.33" in s for s in report.exclusions)


def test_the_image_network_is_not_capped_below_the_papers_figure(report):
    assert report.caps["image-dit"] == pytest.approx(155.6, abs=0.05)
    assert not any("image-dit: an equal digital unit caps" in s for s in report.exclusions)


@pytest.mark.parametrize("preset", ["180nm-1t1r", "130nm-neurram", "22nm"])
def test_the_energy_of_whole_training_never_reaches_the_papers_figure_in_any_draw(preset):
    report = ratio_report(NETWORKS, load_preset(preset), draws=2000, seed=1)

    for result in report.ratios[0].interpretations:
        if result.interpretation.startswith("whole training"):
            assert result.verdict is Verdict.TOO_LOW
            assert result.share_within == 0
            assert all(sensitivity.needed is None for sensitivity in result.sensitivities)
            assert any(
                result.network in s and f"'{result.interpretation}' at a batch of" in s for s in report.exclusions
            )


def test_that_whole_training_is_excluded_is_a_matter_of_the_batch():
    """Update by update, without a batch to share a pulse, a mixer's best case reaches what the paper says."""
    mixer = load_network("face-mixer")
    single = mixer.model_copy(update={"training": mixer.training.model_copy(update={"batch": 1})})

    results = ratio_report([single], PRESET).ratios[0].interpretations

    found = next(r for r in results if r.interpretation == "whole training, gradient stops")
    assert found.band.largest > found.paper > found.band.p95


def test_spikes_that_spare_the_baseline_too_exclude_the_papers_inference_figure(results):
    gated = results["event-driven unit", "speaker-lsm"]

    assert gated.verdict is Verdict.TOO_LOW
    assert gated.free_analogue < gated.paper


def test_a_verdict_follows_from_the_band(results):
    for result in results.values():
        inside = result.band.p5 <= result.paper <= result.band.p95
        among = result.band.smallest <= result.paper <= result.band.largest
        assert (result.verdict is Verdict.CONSISTENT) == inside
        assert (result.verdict in {Verdict.TOO_LOW, Verdict.TOO_HIGH}) == (not among)


def test_the_share_of_draws_is_counted_within_a_quarter_of_the_papers_figure(results):
    interpretation = next(r for r in INTERPRETATIONS if r.name == "equal digital unit")
    sample = sample_preset(PRESET, 4000, seed=0)

    ratios = interpretation.figure(load_network("image-dit"), sample)

    within = np.mean((ratios > 48.44 * (1 - TOLERANCE)) & (ratios < 48.44 * (1 + TOLERANCE)))
    assert results["equal digital unit", "image-dit"].share_within == pytest.approx(within)


def test_a_number_alone_reaches_the_papers_figure(results):
    for name, network, path in (
        ("updates, SGD", "face-mixer", "write_verify.update_pulses"),
        ("int8 to SRAM", "face-mixer", "write_verify.first_pulse_sigma_us"),
        ("equal digital unit", "image-dit", "converter.adc_j_per_step"),
    ):
        result = results[name, network]
        sensitivity = next(k for k in result.sensitivities if k.path == path)
        figure = next(r for r in INTERPRETATIONS if r.name == name).figure
        reached = figure(load_network(network), PRESET.with_values({path: sensitivity.needed}))
        assert reached == pytest.approx(result.paper, rel=1e-4)


def test_the_pulses_per_update_that_reach_the_training_figure_are_those_of_the_reference(results):
    sensitivity = next(
        k for k in results["updates, SGD", "face-mixer"].sensitivities if k.path == "write_verify.update_pulses"
    )

    assert 2.6 < sensitivity.needed < 2.9


def test_the_pulses_per_cell_that_reach_the_deployment_figure_are_those_of_the_reference(results):
    assert results["int8 to SRAM", "face-mixer"].pulses_per_cell == pytest.approx(11, rel=0.03)
    assert results["int8 to SRAM", "image-dit"].pulses_per_cell is None


def test_one_set_of_numbers_meets_all_three_ratios_and_few_draws_do(report):
    anchored = report.anchored

    assert anchored.ratios == pytest.approx((48.44, 147.76, 387.95), rel=1e-4)
    assert anchored.pulses_per_cell == pytest.approx(11.9, rel=0.02)
    assert anchored.values["write_verify.update_pulses"] == pytest.approx(2.90, rel=0.02)
    assert anchored.values["converter.adc_j_per_step"] * 2**8 == pytest.approx(13.3e-12, rel=0.1)
    assert 0 < anchored.share_within < 0.02


def test_a_technology_whose_ranges_hold_no_such_set_has_none():
    narrow = load_preset("22nm")

    anchored = anchored_set(narrow, sample_preset(narrow, 100, seed=0))

    assert anchored.values is anchored.ratios is anchored.pulses_per_cell is None
    assert anchored.share_within == 0


def test_the_same_seed_gives_the_same_report():
    mixer = [load_network("face-mixer")]

    assert ratio_report(mixer, PRESET, draws=50, seed=2) == ratio_report(mixer, PRESET, draws=50, seed=2)


def test_a_report_is_json(report):
    text = json.dumps(dataclasses.asdict(report))

    assert json.loads(text)["caps"]["face-mixer"] == pytest.approx(4.33, abs=0.005)


def test_a_network_of_ones_own_without_training_facts_is_compared_where_it_can_be():
    own = NetworkSpec.model_validate(
        {
            "name": "own",
            "title": "Own",
            "source": "test",
            "layers": [{"name": "fc", "inputs": 256, "outputs": 256, "uses": 1, "lora_rank": 4}],
            "lora": {"alpha": 4, "source": "test"},
        }
    )

    compared = {
        r.interpretation for found in ratio_report([own], PRESET, draws=20).ratios for r in found.interpretations
    }

    assert {"one update", "parameters", "int8 to SRAM", "equal digital unit"} <= compared
    assert not any(name.startswith(("whole training", "updates")) for name in compared)


def test_a_chip_in_service_is_described_by_one_interpretation_of_each_ratio(report, results):
    for network in NETWORKS:
        found = network_ratios(network, PRESET)

        assert [of.ratio for of in found] == list(PaperRatio)
        for of in found:
            reported = results[of.interpretation, network.name]
            assert (of.nominal, of.band) == (reported.nominal, reported.band)
    without_training = NETWORKS[0].model_copy(update={"training": None})
    assert [of.ratio for of in network_ratios(without_training, PRESET)] == [
        PaperRatio.DEPLOYMENT,
        PaperRatio.INFERENCE,
    ]
    plain = [layer.model_copy(update={"lora_rank": 0}) for layer in NETWORKS[0].layers]
    assert network_ratios(NETWORKS[0].model_copy(update={"layers": tuple(plain)}), PRESET) == ()


def test_a_comparison_of_nothing_is_refused():
    with pytest.raises(CostError, match="at least one network"):
        ratio_report([], PRESET)
