"""Plots of `fleet chip restore` show the document's figures."""

import pytest

from fleet.lab.chip.calibration.plots import restore_figures


def quality(mean):
    spread = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "chips": [mean]}
    return {"accuracy": spread, "feature_error": spread}


def condition(sweep, label, value, *, kept=None):
    return {
        "sweep": sweep,
        "label": label,
        "value": value,
        "chip": quality(0.5),
        "restored": quality(0.8),
        "kept": kept,
    }


def document(*conditions):
    return {
        "network": {"name": "face-mixer", "accuracy": 0.9},
        "preset": {"name": "130nm-neurram"},
        "chips": 3,
        "lora": {"rank": 6, "sram_bytes": 3956},
        "ideal_chip": quality(0.88),
        "conditions": conditions,
    }


def panels(*conditions):
    (figure,) = restore_figures(document(*conditions)).values()
    return figure.axes


def lines(panel):
    return {line.get_label(): line for line in panel.get_lines()}


def test_every_sweep_has_a_panel_of_accuracy_above_one_of_feature_error():
    shown = panels(condition("noise", "1 uS", 1.0), condition("age", "1d", 86_400.0), condition("stuck", "1 %", 0.01))

    assert [panel.get_title(loc="left") for panel in shown] == [
        "Accuracy over programming error",
        "Accuracy over age",
        "Accuracy over stuck cells",
        "Feature error over programming error",
        "Feature error over age",
        "Feature error over stuck cells",
    ]


def test_curves_go_through_the_means():
    accuracy, _ = panels(condition("noise", "1 uS", 1.0), condition("noise", "5 uS", 5.0))

    drawn = lines(accuracy)
    assert list(drawn["chip"].get_xdata()) == [1.0, 5.0]
    assert list(drawn["chip"].get_ydata()) == [0.5, 0.5]
    assert list(drawn["with calibration LoRA"].get_ydata()) == [0.8, 0.8]
    assert list(drawn["chip without errors"].get_ydata()) == [0.88, 0.88]
    assert list(drawn["network in float"].get_ydata()) == [0.9, 0.9]


def test_shares_are_in_percent_and_ages_have_their_names():
    stuck, _ = panels(condition("stuck", "5 %", 0.05))
    age, _ = panels(condition("age", "1s", 1.0), condition("age", "2d", 172_800.0))

    assert list(lines(stuck)["chip"].get_xdata()) == [5.0]
    assert [text.get_text() for text in age.get_xticklabels()] == ["1s", "2d"]


@pytest.mark.parametrize(("kept", "shown"), [(None, False), (quality(0.7), True)])
def test_an_old_lora_is_drawn_where_there_is_one(kept, shown):
    accuracy, error = panels(condition("age", "1d", 86_400.0, kept=kept))

    assert all(("LoRA fitted at the first age" in lines(panel)) is shown for panel in (accuracy, error))


def test_the_title_names_network_preset_and_what_the_lora_takes():
    (figure,) = restore_figures(document(condition("noise", "1 uS", 1.0))).values()

    assert figure.get_suptitle() == (
        "face-mixer on 130nm-neurram: 3 chips, calibration LoRA of rank 6 (3,956 bytes of SRAM)"
    )
