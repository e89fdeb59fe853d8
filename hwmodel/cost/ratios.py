"""The paper's three ratios: which reading is consistent with which, what would reach them, what cannot.

Nothing here reproduces a measurement. A reading whose draws contain the paper's figure is *consistent* with it; so are
others, and with three free numbers any three ratios can be met (`AnchoredSet`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np

from hwmodel.cost.interpretations import (
    DEPLOY_INT8,
    EQUAL_UNIT,
    READINGS,
    UPDATES_SGD,
    WHOLE_TRAINING,
    WHOLE_TRAINING_SHORT,
    PaperRatio,
    Reading,
)
from hwmodel.cost.pricing import Reals
from hwmodel.cost.sampling import PresetSample, sample_preset
from hwmodel.cost.sensitivity import Figure, Sensitivity, sensitivities
from hwmodel.cost.uncertainty import DRAWS, Band
from hwmodel.device import pulses_per_cell
from hwmodel.errors import CostError
from hwmodel.networks.load import load_network
from hwmodel.networks.spec import NetworkSpec
from hwmodel.presets.preset import Preset

#: A draw meets a ratio if it is within this share of the paper's figure.
TOLERANCE = 0.25

#: What the mean number of pulses per cell follows from, at a given tolerance.
_SCATTER = "write_verify.first_pulse_sigma_us"


class Verdict(StrEnum):
    """Where the paper's figure lies among the draws of a reading."""

    CONSISTENT = "consistent"  # between the percentiles 5 and 95
    UNLIKELY = "unlikely"  # among the draws, but in a tail
    TOO_LOW = "cannot reach it"  # every draw is below
    TOO_HIGH = "always above it"  # every draw is above


@dataclass(frozen=True, slots=True)
class ReadingResult:
    """What one reading gives for one network.

    Attributes
    ----------
    headline, reading, meaning, network
        Which.
    paper
        The paper's figure.
    nominal, band
        The ratio at the preset's values, and over the draws.
    share_within
        Share of draws within 25 % of the paper's figure.
    verdict
        Where the paper's figure lies.
    sensitivities
        Numbers of the preset that move the ratio, largest swing first; each with the value that alone would reach the
        figure, or None.
    pulses_per_cell
        Mean pulses of write-verify that alone would reach the figure; None if none in range do.
    free_analogue
        Largest ratio in any draw if the crossbars took no energy; None where it has no meaning.
    """

    headline: PaperRatio
    reading: str
    meaning: str
    network: str
    paper: float
    nominal: float
    band: Band
    share_within: float
    verdict: Verdict
    sensitivities: tuple[Sensitivity, ...]
    pulses_per_cell: float | None
    free_analogue: float | None

    @property
    def distance(self) -> float:
        """Decades between the nominal ratio and the paper's."""
        return abs(math.log10(self.nominal / self.paper))


@dataclass(frozen=True, slots=True)
class HeadlineResult:
    """All readings of one ratio.

    Attributes
    ----------
    headline, paper
        Which, and the paper's figure.
    results
        Every reading of every network.
    consistent
        Those that are consistent with the figure, nearest nominal value first: rivals, none of them proven.
    """

    headline: PaperRatio
    paper: float
    results: tuple[ReadingResult, ...]
    consistent: tuple[ReadingResult, ...]


@dataclass(frozen=True, slots=True)
class AnchoredSet:
    """One set of numbers that is consistent with all three ratios at once. It proves nothing.

    Three numbers are free and three ratios are given, so a solution is no evidence; how few draws come near all three
    at once says more.

    Attributes
    ----------
    values
        ``"section.key"`` to value; None if the preset's ranges hold no such set.
    pulses_per_cell
        Mean pulses of write-verify under these values; None as above.
    readings
        Which reading of which network stands for which ratio: (headline, reading, network).
    ratios
        The ratios under these values, to be compared with the paper's; None as above.
    share_within
        Share of draws in which all three are within 25 %.
    """

    values: Mapping[str, float] | None
    pulses_per_cell: float | None
    readings: tuple[tuple[PaperRatio, str, str], ...]
    ratios: tuple[float, ...] | None
    share_within: float


@dataclass(frozen=True, slots=True)
class RatioReport:
    """The three ratios for some networks on a preset.

    Attributes
    ----------
    preset, draws, seed
        What was drawn.
    headlines
        One per ratio.
    caps
        Network to the largest inference ratio that any crossbar could have against an equal digital unit, M / M_L: the
        LoRA is computed digitally on both sides of the comparison.
    exclusions
        Sentences on what cannot follow, each computed from the figures in it.
    anchored
        A set that is consistent with all three ratios of the paper's own networks.
    """

    preset: str
    draws: int
    seed: int
    headlines: tuple[HeadlineResult, ...]
    caps: Mapping[str, float]
    exclusions: tuple[str, ...]
    anchored: AnchoredSet


def ratio_report(networks: Sequence[NetworkSpec], preset: Preset, *, draws: int = DRAWS, seed: int = 0) -> RatioReport:
    """Compare every reading of the three ratios with the paper's figures.

    Readings that a network has no part in are left out: spikes without spikes, training without `training`. Raises
    `CostError` if there is no network, or one has no LoRA or nothing on crossbars; `SamplingError` if `draws` is below
    1.
    """
    if not networks:
        raise CostError("give at least one network to compare")
    sample = sample_preset(preset, draws, seed)
    results = [
        _result(reading, network, preset, sample)
        for reading in READINGS
        for network in networks
        if reading.applies(network)
    ]
    headlines = tuple(_headline(headline, results) for headline in PaperRatio)
    return RatioReport(
        preset=preset.name,
        draws=draws,
        seed=seed,
        headlines=headlines,
        caps={network.name: _cap(network) for network in networks},
        exclusions=_exclusions(results, networks, draws),
        anchored=anchored_set(preset, sample),
    )


def anchored_set(preset: Preset, sample: PresetSample) -> AnchoredSet:
    """Solve for one set of numbers that gives the paper's three ratios under one reading of each.

    The ADC energy from inference of the image network, then pulses per update from the updates of the face mixer, then
    pulses per cell from its deployment: each next ratio leaves the solved ones as they are.

    Parameters
    ----------
    preset
        Technology.
    sample
        Its draws, for the share that meets all three.
    """
    mixer, image = load_network("face-mixer"), load_network("image-dit")
    steps = (
        (EQUAL_UNIT, image, "converter.adc_j_per_step"),
        (UPDATES_SGD, mixer, "write_verify.update_pulses"),
        (DEPLOY_INT8, mixer, _SCATTER),
    )
    values: dict[str, float] = {}
    for reading, network, path in steps:
        solved = preset.with_values(values)
        moved_by = sensitivities(_figure(reading, network), solved, reading.headline.paper)
        needed = next((sensitivity.needed for sensitivity in moved_by if sensitivity.path == path), None)
        if needed is None:
            break
        values[path] = needed
    met = [_within(reading.ratio(network, sample), reading.headline.paper) for reading, network, _ in steps]
    anchored = preset.with_values(values) if len(values) == len(steps) else None
    return AnchoredSet(
        values=values if anchored else None,
        pulses_per_cell=pulses_per_cell(anchored) if anchored else None,
        readings=tuple((reading.headline, reading.name, network.name) for reading, network, _ in steps),
        ratios=tuple(float(r.ratio(n, anchored)) for r, n, _ in steps) if anchored else None,
        share_within=float(np.mean(np.logical_and.reduce(met))),
    )


def _result(reading: Reading, network: NetworkSpec, preset: Preset, sample: PresetSample) -> ReadingResult:
    paper = reading.headline.paper
    values = np.broadcast_to(np.asarray(reading.ratio(network, sample)), (sample.draws,))
    band = Band.of(values)
    free = reading.free_analogue
    turned = sensitivities(_figure(reading, network), preset, paper)
    scatter = next((sensitivity.needed for sensitivity in turned if sensitivity.path == _SCATTER), None)
    return ReadingResult(
        headline=reading.headline,
        reading=reading.name,
        meaning=reading.meaning,
        network=network.name,
        paper=paper,
        nominal=float(reading.ratio(network, preset)),
        band=band,
        share_within=float(np.mean(_within(values, paper))),
        verdict=_verdict(band, paper),
        sensitivities=turned,
        pulses_per_cell=pulses_per_cell(preset.with_values({_SCATTER: scatter})) if scatter else None,
        free_analogue=float(np.max(free(network, sample))) if free else None,
    )


def _figure(reading: Reading, network: NetworkSpec) -> Figure:
    return partial(reading.ratio, network)


def _within(values: Reals, paper: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.abs(values / paper - 1) <= TOLERANCE


def _verdict(band: Band, paper: float) -> Verdict:
    if band.largest < paper:
        return Verdict.TOO_LOW
    if band.smallest > paper:
        return Verdict.TOO_HIGH
    return Verdict.CONSISTENT if band.p5 <= paper <= band.p95 else Verdict.UNLIKELY


def _headline(headline: PaperRatio, results: Sequence[ReadingResult]) -> HeadlineResult:
    of_this = tuple(result for result in results if result.headline is headline)
    consistent = [result for result in of_this if result.verdict is Verdict.CONSISTENT]
    consistent.sort(key=lambda result: result.distance)
    return HeadlineResult(headline, headline.paper, of_this, tuple(consistent))


def _cap(network: NetworkSpec) -> float:
    return network.macs / network.lora_macs


def _exclusions(results: Sequence[ReadingResult], networks: Sequence[NetworkSpec], draws: int) -> tuple[str, ...]:
    sentences = [
        f"{network.name}: an equal digital unit caps inference at M / M_L = {_cap(network):.2f}, so "
        f"{PaperRatio.INFERENCE.paper} cannot follow, whatever the crossbar takes"
        for network in networks
        if _cap(network) < PaperRatio.INFERENCE.paper
    ]
    # Forward and backward passes weigh against the update by the batch, so the sentence must name it.
    batches = {network.name: network.training.batch for network in networks if network.training}
    by_batch = {WHOLE_TRAINING.name, WHOLE_TRAINING_SHORT.name}
    for result in results:
        where = f"{result.network}: {result.headline} read as '{result.reading}'"
        if result.reading in by_batch:
            where += f" at a batch of {batches[result.network]}"
        if result.verdict is Verdict.TOO_LOW:
            bound = f"never reaches {result.paper}: the largest of {draws} draws is {result.band.largest:.3g}"
        elif result.verdict is Verdict.TOO_HIGH:
            bound = f"is always above {result.paper}: the smallest is {result.band.smallest:.3g}"
        else:
            continue
        sentences.append(f"{where} {bound}")
    return tuple(sentences)
