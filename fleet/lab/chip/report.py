"""What networks take on a chip, in three designs, and how that compares with the ratios of arXiv 2601.10037.

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
from hwmodel.cost.breakdown import CostBreakdown
from hwmodel.cost.designs import Design, DesignReport, design_report
from hwmodel.cost.ratios import TOLERANCE, AnchoredSet, RatioReport, ReadingResult, ratio_report
from hwmodel.cost.uncertainty import Band, QuantityBand, monte_carlo
from hwmodel.networks import NetworkSpec

#: The measures of a bill that have a band.
_MEASURES = ("energy_j", "seconds", "cell_writes")


@dataclass(frozen=True, eq=False, slots=True)
class ChipReport:
    """Everything that a report says, as `hwmodel` found it.

    Attributes
    ----------
    preset, networks
        What was asked about.
    draws, seed
        Of the Monte Carlo.
    designs
        Nominal cost of each network in each design.
    bands
        Spread of the same quantities over the draws.
    ratios
        The paper's three ratios, reading by reading.
    """

    preset: Preset
    networks: tuple[NetworkSpec, ...]
    draws: int
    seed: int
    designs: tuple[DesignReport[Cost], ...]
    bands: tuple[QuantityBand, ...]
    ratios: RatioReport


def chip_report(
    networks: Sequence[NetworkSpec], preset: Preset, *, draws: int, seed: int, progress: Callable[[str], None]
) -> ChipReport:
    """Compute the report of some networks on a preset.

    Parameters
    ----------
    networks, preset
        What to report on.
    draws, seed
        Of the Monte Carlo over the ranges of the preset's numbers.
    progress
        Called with what is being worked on.

    Raises
    ------
    InvalidInputError
        If there are no draws, or a network has no LoRA or nothing on crossbars, so that there is nothing to
        compare.
    """
    if draws < 1:
        raise InvalidInputError(f"a Monte Carlo has at least one draw; got {draws}")
    try:
        progress(f"Costs of {len(networks)} network(s) in three designs on {preset.name}")
        designs = tuple(design_report(network, preset, design) for network in networks for design in Design)
        progress(f"{draws} draws over the ranges of {preset.name}")
        bands = monte_carlo(networks, preset, draws=draws, seed=seed)
        progress("Readings of the paper's three ratios, and what would reach them")
        ratios = ratio_report(networks, preset, draws=draws, seed=seed)
    except HwModelError as error:
        raise InvalidInputError(str(error)) from error
    return ChipReport(preset, tuple(networks), draws, seed, designs, bands, ratios)


def report_document(report: ChipReport) -> Document:
    """Return the whole report as JSON; what is unlimited is null."""
    ratios = report.ratios
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
            "headlines": [
                {
                    "headline": headline.headline,
                    "paper": headline.paper,
                    "consistent_with": [
                        {"network": result.network, "reading": result.reading} for result in headline.consistent
                    ],
                    "readings": [_reading(result) for result in headline.results],
                }
                for headline in ratios.headlines
            ],
            "caps_of_inference": dict(ratios.caps),
            "cannot_follow": list(ratios.exclusions),
            "anchored_set": _anchored(ratios.anchored),
        },
    )


def _network(network: NetworkSpec, preset: Preset) -> Document:
    return {
        "name": network.name,
        "title": network.title,
        "source": network.source,
        "crossbar_weights": network.crossbar_weights,
        "parameters": network.parameters,
        "lora_parameters": network.lora_parameters,
        "macs": network.macs,
        "lora_macs": network.lora_macs,
        "digital_macs": network.digital_macs,
        "passes_per_output": network.passes_per_output,
        "tiles": network.tiles(preset),
        "utilisation": network.utilisation(preset),
        "training": network.training.model_dump() if network.training else None,
        "input_density": network.density.source if network.density else None,
    }


def _design(each: DesignReport[Cost], bands: dict[tuple[Any, ...], Band]) -> Document:
    return {
        "network": each.network,
        "design": each.design,
        "assumptions": asdict(each.assumptions),
        "tiles": each.tiles,
        "utilisation": each.utilisation,
        "sram_serving_bytes": each.sram_serving_bytes,
        "sram_training_bytes": each.sram_training_bytes,
        "sram_bytes": each.sram_bytes,
        "fits_serving": each.fits_serving,
        "fits_training": each.fits_training,
        "adaptations_left": _finite(each.adaptations_left),
        "rewrites_left": _finite(each.rewrites_left),
        "activities": {
            activity: _activity(
                bill, {measure: bands[each.network, each.design, activity, measure] for measure in _MEASURES}
            )
            for activity, bill in each.bills.items()
        },
    }


def _activity(bill: CostBreakdown[Cost], bands: dict[str, Band]) -> Document:
    total = bill.total
    return {
        **{
            measure: {"nominal": getattr(total, measure), "p5": band.p5, "p50": band.p50, "p95": band.p95}
            for measure, band in bands.items()
        },
        "bytes": total.bytes,
        "components_j": {component: cost.energy_j for component, cost in bill.parts.items()},
    }


def _reading(result: ReadingResult) -> Document:
    return {
        "network": result.network,
        "reading": result.reading,
        "meaning": result.meaning,
        "nominal": result.nominal,
        "p5": result.band.p5,
        "p50": result.band.p50,
        "p95": result.band.p95,
        "smallest": result.band.smallest,
        "largest": result.band.largest,
        "share_of_draws_within_tolerance": result.share_within,
        "verdict": result.verdict,
        "largest_if_crossbars_were_free": result.free_analogue,
        "sensitivities": [asdict(sensitivity) for sensitivity in result.sensitivities],
    }


def _anchored(anchored: AnchoredSet) -> Document:
    return {
        "values": None if anchored.values is None else dict(anchored.values),
        "pulses_per_cell": anchored.pulses_per_cell,
        "readings": [
            {"headline": headline, "reading": reading, "network": network}
            for headline, reading, network in anchored.readings
        ],
        "ratios": None if anchored.ratios is None else list(anchored.ratios),
        "share_of_draws_within_tolerance": anchored.share_within,
        "note": "Three numbers are free and three ratios are given: a set that is consistent with all three "
        "proves nothing.",
    }


def _finite(value: Any) -> float | None:
    """Return a number for JSON, which knows no infinity: None if there is no limit, or no figure."""
    return None if value is None or not math.isfinite(float(np.asarray(value))) else float(value)
