"""A chip report: what it says equals the cost model, as JSON and as plots."""

from __future__ import annotations

import json

import pytest

import hwmodel
from fleet.errors import InvalidInputError
from fleet.lab.chip.inputs import given_networks
from fleet.lab.chip.report import ChipReport, chip_report, report_document
from fleet.lab.chip.report_plots import nearest_interpretation, report_figures
from hwmodel.cost.designs import Activity, Design, cost_breakdown

DRAWS = 200


def report_on(*networks: str, preset: str = "180nm-1t1r", seed: int = 0) -> ChipReport:
    return chip_report(
        given_networks(networks), hwmodel.load_preset(preset), draws=DRAWS, seed=seed, progress=lambda text: None
    )


@pytest.fixture(scope="module")
def report():
    return report_on("all")


@pytest.fixture(scope="module")
def figures(report):
    return report_figures(report)


@pytest.fixture(scope="module")
def document(report):
    return report_document(report)


def ratio_of(document, name):
    (found,) = [each for each in document["ratios"]["paper_ratios"] if each["ratio"] == name]
    return found


def test_document_is_json_without_infinities(document):
    text = json.dumps(document, allow_nan=False)

    assert json.loads(text) == document
    assert document["kind"] == "ChipReport"


def test_counts_are_those_of_the_paper(document):
    counted = {n["name"]: (n["crossbar_weights"], n["lora_parameters"]) for n in document["networks"]}

    assert counted == {
        "face-mixer": (5_048, 1_404),
        "speaker-lsm": (336_384, 13_408),
        "image-dit": (101_093_376, 368_640),
    }


@pytest.mark.parametrize("activity", Activity)
def test_every_cost_is_that_of_the_cost_model_and_its_components_add_up(document, activity):
    preset = hwmodel.load_preset("180nm-1t1r")
    for each in document["designs"]:
        network, design = hwmodel.load_network(each["network"]), Design(each["design"])
        said = each["activities"][activity]

        computed = cost_breakdown(network, preset, design, activity).total
        assert said["energy_j"]["nominal"] == computed.energy_j
        assert said["seconds"]["nominal"] == computed.seconds
        assert sum(said["components_j"].values()) == pytest.approx(computed.energy_j)


def test_bands_are_in_order(document):
    quantities = [
        activity[measure]
        for each in document["designs"]
        for activity in each["activities"].values()
        for measure in ("energy_j", "seconds", "cell_writes")
    ]
    interpretations = [r for found in document["ratios"]["paper_ratios"] for r in found["interpretations"]]

    assert interpretations
    assert all(q["p5"] <= q["p50"] <= q["p95"] for q in (*quantities, *interpretations))


def test_unlimited_life_is_null_and_a_rewritten_chip_wears(document):
    life = {(d["network"], d["design"]): d["rewrites_left"] for d in document["designs"]}

    assert life["face-mixer", "lora"] is None
    assert 0 < life["face-mixer", "analogue"] < 1e6


def test_what_cannot_follow_is_said(document):
    ratios = document["ratios"]
    whole = [
        r for r in ratio_of(document, "training cost")["interpretations"] if r["interpretation"] == "whole training"
    ]

    assert ratios["caps_of_inference"]["face-mixer"] == pytest.approx(4.33, abs=0.005)
    assert any("4.33" in sentence for sentence in ratios["cannot_follow"])
    assert len(whole) == 3
    assert all(r["verdict"] == "cannot reach it" and r["largest"] < 147.76 for r in whole)


def test_each_ratio_names_interpretations_that_are_consistent_with_it_nearest_first(document):
    for found in document["ratios"]["paper_ratios"]:
        verdicts = {(r["network"], r["interpretation"]): r for r in found["interpretations"]}
        named = [verdicts[c["network"], c["interpretation"]] for c in found["consistent_with"]]
        apart = [max(r["nominal"] / found["paper"], found["paper"] / r["nominal"]) for r in named]

        assert named
        assert all(r["p5"] <= found["paper"] <= r["p95"] for r in named)
        assert apart == sorted(apart)


def test_needed_value_of_a_number_lies_in_its_range(document):
    sensitivities = [
        sensitivity
        for found in document["ratios"]["paper_ratios"]
        for interpretation in found["interpretations"]
        for sensitivity in interpretation["sensitivities"]
    ]
    needed = [sensitivity for sensitivity in sensitivities if sensitivity["needed"] is not None]

    assert needed
    assert len(needed) < len(sensitivities)
    assert all(sensitivity["low"] <= sensitivity["needed"] <= sensitivity["high"] for sensitivity in needed)


def test_same_seed_gives_the_same_report_and_another_seed_the_same_nominals():
    first, again, other = (report_document(report_on("face-mixer", seed=seed)) for seed in (3, 3, 4))

    def energies(document, key):
        return [a["energy_j"][key] for d in document["designs"] for a in d["activities"].values()]

    assert first == again
    assert energies(first, "nominal") == energies(other, "nominal")
    assert energies(first, "p50") != energies(other, "p50")


def test_figures_are_one_breakdown_per_network_a_tornado_and_a_plot_per_ratio(report, figures):
    assert list(figures) == [
        *(f"chip-energy-{network.name}" for network in report.networks),
        "chip-tornado",
        "chip-ratios-training-cost",
        "chip-ratios-deployment-overhead",
        "chip-ratios-inference-energy",
    ]
    # Every interpretation of every network is a row.
    rows = [len(f.axes[0].get_yticks()) for name, f in figures.items() if name.startswith("chip-ratios")]
    assert rows == [len(found.interpretations) for found in report.comparison.ratios]


def test_tornado_is_of_the_consistent_reading_nearest_to_each_figure(report, figures):
    titles = [axis.get_title(loc="left") for axis in figures["chip-tornado"].axes]

    for title, found in zip(titles, report.comparison.ratios, strict=True):
        chosen = nearest_interpretation(found)
        assert chosen is found.consistent[0]
        assert chosen.network in title
        assert chosen.interpretation in title


def test_network_that_was_never_trained_is_reported_without_training(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(
        'name = "tiny"\ntitle = "t"\nsource = "s"\n'
        '[[layers]]\nname = "only"\ninputs = 64\noutputs = 64\nuses = 1\nlora_rank = 2\n'
        '[lora]\nalpha = 1\nsource = "s"\n'
    )

    report = report_on(str(file))
    document = report_document(report)

    assert set(document["designs"][0]["activities"]) == {"deploy", "update", "inference"}
    assert "whole training" not in {r["interpretation"] for r in ratio_of(document, "training cost")["interpretations"]}
    assert "chip-energy-tiny" in report_figures(report)


def test_network_without_a_lora_has_nothing_to_compare(tmp_path):
    file = tmp_path / "plain.toml"
    file.write_text(
        'name = "plain"\ntitle = "t"\nsource = "s"\n[[layers]]\nname = "only"\ninputs = 8\noutputs = 8\nuses = 1\n'
    )

    with pytest.raises(InvalidInputError, match="plain has no LoRA"):
        report_on(str(file))


def test_no_draws_are_refused():
    with pytest.raises(InvalidInputError, match="at least one draw"):
        chip_report(
            given_networks(["face-mixer"]), hwmodel.load_preset("22nm"), draws=0, seed=0, progress=lambda text: None
        )
