"""The plots of a chip report."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from fleet.lab.chip.report import ChipReport
from fleet.report.bands import Band, BandPanel, bands
from fleet.report.bars import BarPanel, StackedBar, stacked_bars
from fleet.report.tornado import Swing, TornadoPanel, tornado
from hwmodel.cost.breakdown import Component
from hwmodel.cost.designs import Activity, Design
from hwmodel.cost.ratios import TOLERANCE, InterpretationResult, RatioResult, Verdict
from hwmodel.cost.sensitivity import Sensitivity

_DESIGNS = {Design.ANALOGUE: "analogue, all rewritten", Design.LORA: "LoRA in SRAM", Design.DIGITAL: "all digital"}

_COMPONENTS = {
    Component.PROGRAMMING: "programming",
    Component.ARRAY: "array",
    Component.DAC: "DAC",
    Component.ADC: "ADC",
    Component.MAC: "digital MAC",
    Component.SRAM: "SRAM",
    Component.DRAM: "DRAM",
    Component.RADIO: "radio",
}

_joules = EngFormatter(unit="J")


def report_figures(report: ChipReport) -> dict[str, Figure]:
    """Return the figures by the name of their file.

    ``chip-energy-<network>`` (breakdown by design and component), ``chip-tornado`` (sensitivity) and
    ``chip-ratios-<ratio>`` (Monte-Carlo bands).
    """
    return dict([*_energy(report), ("chip-tornado", _tornado(report)), *_ratios(report)])


def _energy(report: ChipReport) -> Iterator[tuple[str, Figure]]:
    for network in report.networks:
        of_network = {each.design: each for each in report.designs if each.network == network.name}
        activities = [activity for activity in Activity if activity in of_network[Design.LORA].costs]
        panels = [
            BarPanel(
                activity.capitalize(),
                [
                    StackedBar(
                        _DESIGNS[design],
                        {
                            _COMPONENTS[component]: cost.energy_j
                            for component, cost in each.costs[activity].parts.items()
                        },
                        # Three digits: the ranges do not support more.
                        _joules(float(f"{each.costs[activity].total.energy_j:.3g}")),
                    )
                    for design, each in of_network.items()
                ],
            )
            for activity in activities
        ]
        title = f"{network.name} on {report.preset.name}: where the energy goes"
        yield (
            f"chip-energy-{network.name}",
            stacked_bars(title, panels, components=list(_COMPONENTS.values()), share_of="energy"),
        )


def _ratios(report: ChipReport) -> Iterator[tuple[str, Figure]]:
    for found in report.comparison.ratios:
        panel = BandPanel(
            title=f"{found.ratio.capitalize()} on {report.preset.name}: "
            f"{report.draws:,} draws over the ranges of its numbers",
            reference=found.paper,
            reference_label=f"the paper's figure, {found.paper:g} ± {TOLERANCE:.0%}",
            tolerance=TOLERANCE,
            bands=[_band(result) for result in found.interpretations],
        )
        name = found.ratio.replace(" ", "-")
        yield f"chip-ratios-{name}", bands(panel, axis_label="ratio")


def _band(result: InterpretationResult) -> Band:
    return Band(
        label=f"{result.interpretation} · {result.network}",
        nominal=result.nominal,
        low=result.band.p5,
        median=result.band.p50,
        high=result.band.p95,
        note=result.verdict
        if result.verdict in (Verdict.TOO_LOW, Verdict.TOO_HIGH)
        else f"{result.verdict}, {result.share_within:.1%} within",
    )


def nearest_interpretation(found: RatioResult) -> InterpretationResult:
    """Return the one whose nominal value is nearest to the paper's figure, consistent ones first."""
    return min(found.consistent or found.interpretations, key=lambda result: result.distance)


def _tornado(report: ChipReport) -> Figure:
    panels = []
    for found in report.comparison.ratios:
        result = nearest_interpretation(found)
        panels.append(
            TornadoPanel(
                title=f"{found.ratio.capitalize()}, {result.network}, read as '{result.interpretation}'",
                nominal=result.nominal,
                swings=[_swing(sensitivity) for sensitivity in result.sensitivities],
                reference=found.paper,
                reference_label=f"the paper's figure, {found.paper:g}",
            )
        )
    return tornado(
        f"{report.preset.name}: one number at a time to the ends of its range", panels, axis_label="ratio", longest=8
    )


def _swing(sensitivity: Sensitivity) -> Swing:
    return Swing(
        sensitivity.path, sensitivity.at_low, sensitivity.at_high, f"{sensitivity.low:.3g}", f"{sensitivity.high:.3g}"
    )
