"""Figures say what they were given, look the same everywhere, and become the same files."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from fleet.errors import InvalidInputError
from fleet.report.bands import Band, BandPanel, bands
from fleet.report.bars import BarPanel, StackedBar, stacked_bars
from fleet.report.curves import Curve, CurvePanel, Mark, curves
from fleet.report.style import save_figure, save_figures
from fleet.report.tornado import Swing, TornadoPanel, tornado


def breakdown() -> Figure:
    digital = StackedBar("digital", {"SRAM": 3e-9, "MAC": 1e-9}, "4 nJ")
    analogue = StackedBar("analogue", {"ADC": 1e-3}, "1 mJ")
    panel = BarPanel("Inference", [digital, analogue])
    return stacked_bars("Energy", [panel], components=["ADC", "MAC", "SRAM", "radio"], share_of="energy")


def swings() -> TornadoPanel:
    numbers = [
        Swing("voltage_v", 50.0, 400.0, "1", "4"),
        Swing("width_s", 10.0, 1000.0, "1e-8", "1e-5"),
        Swing("unused_j", 100.0, 100.0, "0", "1"),
        Swing("sram_j", 120.0, 80.0, "1", "2"),
    ]
    return TornadoPanel("Updates", 100.0, numbers, reference=147.76, reference_label="paper")


def ratio_bands() -> BandPanel:
    results = [Band("whole", 14.0, 13.5, 14.0, 14.5, "cannot reach it"), Band("time", 2e4, 2e3, 4e4, 9e5)]
    return BandPanel("Training", 147.76, "paper", 0.25, results)


def fits() -> Figure:
    fit = Curve("fit", [1.0, 2.0, 3.0], [1.0, 4.0, 9.0], y_low=[0.5, 3.0, 8.0], y_high=[1.5, 5.0, 10.0])
    cells = Curve("cells", [1.0, 3.0], [1.1, 8.7], Mark.POINTS)
    panels = [
        CurvePanel("after 1 s", "G (µS)", "σ (µS)", [fit, cells]),
        CurvePanel("after 1 d", "G (µS)", "σ (µS)", [fit], y_log=True),
        CurvePanel("by age", "t (s)", "σ (µS)", [cells], x_log=True, x_ticks=[(1.0, "1 s"), (3.0, "3 s")]),
    ]
    return curves("Fits", panels)


EVERY_FIGURE = {
    "bars": breakdown,
    "tornado": lambda: tornado("Sensitivity", [swings()], axis_label="ratio"),
    "bands": lambda: bands(ratio_bands(), axis_label="ratio"),
    "curves": fits,
}


def widths(figure: Figure) -> list[float]:
    """Return the widths of the bars that have one."""
    return [patch.get_width() for patch in figure.axes[0].patches if abs(patch.get_width()) > 1e-12]


@pytest.mark.parametrize("draw", EVERY_FIGURE.values(), ids=EVERY_FIGURE)
def test_same_data_gives_the_same_svg_bytes_whatever_the_users_style(draw, tmp_path):
    first = save_figure(draw(), tmp_path / "first.svg").read_bytes()
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "black", "savefig.dpi": 10.0}):
        second = save_figure(draw(), tmp_path / "second.svg").read_bytes()

    assert first == second


@pytest.mark.parametrize("draw", EVERY_FIGURE.values(), ids=EVERY_FIGURE)
def test_every_axis_that_is_shown_has_a_label_and_the_users_settings_stay(draw, tmp_path):
    before = dict(mpl.rcParams)

    figure = draw()
    save_figure(figure, tmp_path / "figure.png")

    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert shown
    assert all(axis.get_xlabel() for axis in shown)
    assert dict(mpl.rcParams) == before


def test_bars_are_cut_into_shares_in_the_order_of_the_components():
    figure = breakdown()

    # MAC 25 % and SRAM 75 % of 4 nJ, then ADC all of 1 mJ.
    assert widths(figure) == pytest.approx([25.0, 75.0, 100.0])
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"4 nJ", "1 mJ"} <= texts


def test_legend_of_bars_names_only_what_is_there():
    (legend,) = breakdown().legends

    assert [text.get_text() for text in legend.get_texts()] == ["ADC", "MAC", "SRAM"]


def test_bar_without_any_energy_is_drawn_as_nothing():
    empty = BarPanel("Deploy", [StackedBar("digital", {"SRAM": 0.0}, "0 J")])

    assert widths(stacked_bars("Energy", [empty], components=["SRAM"], share_of="energy")) == []


def test_tornado_has_the_largest_swing_on_top_and_leaves_out_what_moves_nothing():
    figure = tornado("Sensitivity", [swings()], axis_label="ratio", longest=2)

    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["width_s", "voltage_v"]


def test_tornado_bars_run_from_nominal_to_both_ends():
    figure = tornado("Sensitivity", [swings()], axis_label="ratio", longest=1)

    assert widths(figure) == pytest.approx([10.0 - 100.0, 1000.0 - 100.0])


def test_bands_show_every_draw_band_and_the_published_value():
    panel = ratio_bands()

    left, right = bands(panel, axis_label="ratio").axes[0].get_xlim()

    assert left < min(band.low for band in panel.bands)
    assert right > max(band.high for band in panel.bands)
    assert left < panel.reference < right


def test_same_name_in_several_panels_has_one_colour_and_one_entry():
    figure = fits()

    colours = {line.get_color() for axis in figure.axes[:2] for line in axis.lines if line.get_label() == "fit"}
    assert len(colours) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fit", "cells"]


def test_panel_that_is_left_over_is_hidden():
    assert [axis.get_visible() for axis in fits().axes] == [True, True, True, False]


def test_figures_go_into_a_new_folder_under_their_names(tmp_path):
    files = save_figures({"a": breakdown(), "b": fits()}, tmp_path / "new" / "plots")

    assert [file.name for file in files] == ["a.svg", "b.svg"]
    assert all(file.read_text(encoding="utf-8").lstrip().startswith("<?xml") for file in files)


def test_unknown_file_type_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(InvalidInputError, match=r"\.gif") as caught:
        save_figure(breakdown(), tmp_path / "figure.gif")

    assert ".svg" in caught.value.hint


@pytest.mark.parametrize("name", ["file/plots", "file"])
def test_folder_that_cannot_be_made_is_refused(tmp_path: Path, name):
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidInputError, match="cannot make the folder"):
        save_figures({"a": breakdown()}, tmp_path / name)
