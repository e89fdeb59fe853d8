"""Report on networks on a chip: their costs in three designs, held against the ratios of arXiv 2601.10037.

Everything is computed by `hwmodel.cost`; here it is gathered once for table, JSON and plots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fleet.documents import Document, document
from fleet.errors import InvalidInputError
from hwmodel import Cost, HwModelError, Preset
from hwmodel.cost.designs import Activity, Design, DesignReport, design_report
from hwmodel.cost.ratios import TOLERANCE, InterpretationResult, RatioReport, ratio_report
from hwmodel.cost.uncertainty import MEASURES, Band, QuantityBand, monte_carlo
from hwmodel.networks import NetworkSpec


@dataclass(frozen=True, eq=False, slots=True)
class ChipReport:
    """Everything that a report says, as `hwmodel` found it."""

    preset: Preset
    networks: tuple[NetworkSpec, ...]
    draws: int
    seed: int
    designs: tuple[DesignReport[Cost], ...]  #: nominal cost of each network in each design
    bands: tuple[QuantityBand, ...]  #: spread of the same quantities over the draws
    comparison: RatioReport


def chip_report(
    networks: Sequence[NetworkSpec], preset: Preset, *, draws: int, seed: int, progress: Callable[[str], None]
) -> ChipReport:
    """Compute the report of some networks on a preset.

    Raises `InvalidInputError` if there are no draws, or a network has no LoRA or nothing on crossbars, so that there is
    nothing to compare.
    """
    if draws < 1:
        raise InvalidInputError(f"a Monte Carlo has at least one draw; got {draws}")
    try:
        progress(f"Costs of {len(networks)} network(s) in three designs on {preset.name}")
        designs = tuple(design_report(network, preset, design) for network in networks for design in Design)
        progress(f"{draws} draws over the ranges of {preset.name}")
        bands = monte_carlo(networks, preset, draws=draws, seed=seed)
        progress("Interpretations of the paper's three ratios, and what would reach them")
        comparison = ratio_report(networks, preset, draws=draws, seed=seed)
    except HwModelError as error:
        raise InvalidInputError(str(error)) from error
    return ChipReport(preset, tuple(networks), draws, seed, designs, bands, comparison)


def report_document(report: ChipReport) -> Document:
    """Return the whole report as JSON; what is unlimited is null."""
    comparison, anchored = report.comparison, report.comparison.anchored
    bands = {(b.network, b.design, b.activity, b.measure): b.band for b in report.bands}
    return document(
        "ChipReport",
        preset={"name": report.preset.name, "version": report.preset.version},
        draws=report.draws,
        seed=report.seed,
        networks=[_network(network, report.preset) for network in report.networks],
        designs=[_design(each, bands) for each in report.designs],
        ratios={
            "source": "arXiv 2601.10037",
            "tolerance": TOLERANCE,
            "paper_ratios": [
                {
                    "ratio": found.ratio,
                    "paper": found.paper,
                    "consistent_with": [
                        {"network": result.network, "interpretation": result.interpretation}
                        for result in found.consistent
                    ],
                    "interpretations": [_interpretation(result) for result in found.interpretations],
                }
                for found in comparison.ratios
            ],
            "caps_of_inference": dict(comparison.caps),
            "cannot_follow": list(comparison.exclusions),
            "anchored_set": {
                "values": None if anchored.values is None else dict(anchored.values),
                "pulses_per_cell": anchored.pulses_per_cell,
                "interpretations": [
                    {"ratio": ratio, "interpretation": interpretation, "network": network}
                    for ratio, interpretation, network in anchored.interpretations
                ],
                "ratios": None if anchored.ratios is None else list(anchored.ratios),
                "share_of_draws_within_tolerance": anchored.share_within,
                "note": "Three numbers are free and three ratios are given: a set that is consistent with all three "
                "proves nothing.",
            },
        },
    )


_COUNTS = (
    "crossbar_weights",
    "parameters",
    "lora_parameters",
    "macs",
    "lora_macs",
    "digital_macs",
    "passes_per_output",
)


def _network(network: NetworkSpec, preset: Preset) -> Document:
    return {
        "name": network.name,
        "title": network.title,
        "source": network.source,
        **{count: getattr(network, count) for count in _COUNTS},
        "tiles": network.tiles(preset),
        "utilisation": network.utilisation(preset),
        "training": network.training.model_dump() if network.training else None,
        "input_density": network.density.source if network.density else None,
    }


_DESIGN_FIELDS = (
    *("network", "design", "tiles", "utilisation", "sram_serving_bytes", "sram_training_bytes", "sram_bytes"),
    *("fits_serving", "fits_training"),
)


def _design(each: DesignReport[Cost], bands: dict[tuple[str, Design, Activity, str], Band]) -> Document:
    activities = {}
    for activity, breakdown in each.costs.items():
        total = breakdown.total
        measured = {measure: bands[each.network, each.design, activity, measure] for measure in MEASURES}
        activities[activity] = {
            **{
                measure: {"nominal": getattr(total, measure), "p5": band.p5, "p50": band.p50, "p95": band.p95}
                for measure, band in measured.items()
            },
            "bytes": total.bytes,
            "components_j": {component: cost.energy_j for component, cost in breakdown.parts.items()},
        }
    return {
        **{name: getattr(each, name) for name in _DESIGN_FIELDS},
        "assumptions": asdict(each.assumptions),
        "adaptations_left": _finite(each.adaptations_left),
        "rewrites_left": _finite(each.rewrites_left),
        "activities": activities,
    }


def _interpretation(result: InterpretationResult) -> Document:
    return {
        "network": result.network,
        "interpretation": result.interpretation,
        "meaning": result.meaning,
        "nominal": result.nominal,
        **asdict(result.band),
        "share_of_draws_within_tolerance": result.share_within,
        "verdict": result.verdict,
        "largest_if_crossbars_were_free": result.free_analogue,
        "sensitivities": [asdict(sensitivity) for sensitivity in result.sensitivities],
    }


def _finite(value: Any) -> float | None:
    """Return a number for JSON, which knows no infinity: None if there is no limit, or no figure."""
    return None if value is None or not math.isfinite(float(np.asarray(value))) else float(value)
