"""The paper's three ratios: interpretations that are consistent with each, what would reach them, what cannot.

Nothing here reproduces a measurement. An interpretation whose draws contain the paper's figure is *consistent* with it;
so are others, and with three free numbers any three ratios can be met (`AnchoredSet`).
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
    INTERPRETATIONS,
    UPDATES_SGD,
    WHOLE_TRAINING,
    WHOLE_TRAINING_SHORT,
    Interpretation,
    PaperRatio,
)
from hwmodel.cost.pricing import Reals
from hwmodel.cost.sampling import PresetSample, sample_preset
from hwmodel.cost.sensitivity import Sensitivity, sensitivities
from hwmodel.cost.uncertainty import DRAWS, Band
from hwmodel.device.pulse_law import pulses_per_cell
from hwmodel.errors import CostError
from hwmodel.networks.load import load_network
from hwmodel.networks.spec import NetworkSpec
from hwmodel.presets.preset import Preset

#: A draw meets a ratio if it is within this share of the paper's figure.
TOLERANCE = 0.25

#: Number that the mean pulses per cell follow from, at a given tolerance.
_SCATTER = "write_verify.first_pulse_sigma_us"


class Verdict(StrEnum):
    """Place of the paper's figure among the draws of an interpretation."""

    CONSISTENT = "consistent"  # between the percentiles 5 and 95
    UNLIKELY = "unlikely"  # among the draws, but in a tail
    TOO_LOW = "cannot reach it"  # every draw is below
    TOO_HIGH = "always above it"  # every draw is above


@dataclass(frozen=True, slots=True)
class InterpretationResult:
    """One interpretation of a ratio, computed for one network.

    Attributes
    ----------
    sensitivities
        Numbers of the preset that move the ratio, largest swing first; each with the value that alone would reach the
        figure, or None.
    pulses_per_cell
        Mean pulses of write-verify that alone would reach the figure; None if none in range do.
    free_analogue
        Largest ratio in any draw if the crossbars took no energy; None where it has no meaning.
    """

    ratio: PaperRatio
    interpretation: str
    meaning: str
    network: str
    paper: float
    nominal: float  #: the ratio at the preset's values
    band: Band
    share_within: float  #: share of draws within 25 % of the paper's figure
    verdict: Verdict
    sensitivities: tuple[Sensitivity, ...]
    pulses_per_cell: float | None
    free_analogue: float | None

    @property
    def distance(self) -> float:
        """Decades between the nominal ratio and the paper's."""
        return abs(math.log10(self.nominal / self.paper))


@dataclass(frozen=True, slots=True)
class RatioResult:
    """All interpretations of one ratio, for every network.

    Those that are consistent with the paper's figure are listed again, nearest nominal value first: rivals, none of
    them proven.
    """

    ratio: PaperRatio
    paper: float
    interpretations: tuple[InterpretationResult, ...]
    consistent: tuple[InterpretationResult, ...]


@dataclass(frozen=True, slots=True)
class AnchoredSet:
    """One set of numbers that is consistent with all three ratios at once. It proves nothing.

    Three numbers are free and three ratios are given, so a solution is no evidence; how few draws come near all three
    at once says more.

    Attributes
    ----------
    values
        ``"section.key"`` to value; None if the preset's ranges hold no such set, as are `pulses_per_cell` (mean of
        write-verify) and `ratios` (to be compared with the paper's) under these values.
    interpretations
        Which stands for which ratio: (ratio, interpretation, network).
    """

    values: Mapping[str, float] | None
    pulses_per_cell: float | None
    interpretations: tuple[tuple[PaperRatio, str, str], ...]
    ratios: tuple[float, ...] | None
    share_within: float  #: share of draws in which all three are within 25 %


@dataclass(frozen=True, slots=True)
class NetworkRatio:
    """One of the three ratios of a network, by one interpretation of it."""

    ratio: PaperRatio
    interpretation: str
    nominal: float  #: at the preset's values
    band: Band


@dataclass(frozen=True, slots=True)
class RatioReport:
    """The three ratios for some networks on a preset.

    Attributes
    ----------
    caps
        Network to the largest inference ratio that any crossbar could have against an equal digital unit, M / M_L: the
        LoRA is computed digitally on both sides of the comparison.
    """

    preset: str
    draws: int
    seed: int
    ratios: tuple[RatioResult, ...]
    caps: Mapping[str, float]
    exclusions: tuple[str, ...]  #: sentences on what cannot follow, each computed from the figures in it
    anchored: AnchoredSet  #: a set that is consistent with all three ratios of the paper's own networks


def ratio_report(networks: Sequence[NetworkSpec], preset: Preset, *, draws: int = DRAWS, seed: int = 0) -> RatioReport:
    """Compare every interpretation of the three ratios with the paper's figures.

    Those that a network has no part in are left out: spikes without spikes, training without `training`. Raises
    `CostError` if there is no network, or one has no LoRA or nothing on crossbars; `SamplingError` if `draws` is below
    1.
    """
    if not networks:
        raise CostError("give at least one network to compare")
    sample = sample_preset(preset, draws, seed)
    results = [
        _result(interpretation, network, preset, sample)
        for interpretation in INTERPRETATIONS
        for network in networks
        if interpretation.applies(network)
    ]
    return RatioReport(
        preset=preset.name,
        draws=draws,
        seed=seed,
        ratios=tuple(_of_ratio(ratio, results) for ratio in PaperRatio),
        caps={network.name: _cap(network) for network in networks},
        exclusions=_exclusions(results, networks, draws),
        anchored=anchored_set(preset, sample),
    )


def network_ratios(
    network: NetworkSpec, preset: Preset, *, draws: int = DRAWS, seed: int = 0
) -> tuple[NetworkRatio, ...]:
    """Return the ratios that a network has, each by one interpretation: what a chip in service is described by.

    - training: `WHOLE_TRAINING_SHORT`, forward, backward and update at the network's batch, no gradient in front of the
      first layer that learns; of one step, if both designs take as many;
    - deployment: `DEPLOY_INT8`, all analogue weights written once, against an int8 LoRA to SRAM, nothing received;
    - inference: `EQUAL_UNIT`, all-digital int8, against crossbars and the LoRA on the same unit.

    A network without a LoRA has none of them, one without `training` not the first. Raises `SamplingError` if `draws`
    is below 1, `CostError` if the network has a LoRA but nothing on crossbars.
    """
    if not network.lora_parameters:
        return ()
    sample = sample_preset(preset, draws, seed)
    return tuple(
        NetworkRatio(
            taken.ratio,
            taken.name,
            float(taken.figure(network, preset)),
            Band.of(_drawn(taken, network, sample)),
        )
        for taken in (WHOLE_TRAINING_SHORT, DEPLOY_INT8, EQUAL_UNIT)
        if taken.applies(network)
    )


def anchored_set(preset: Preset, sample: PresetSample) -> AnchoredSet:
    """Solve for one set of numbers that gives the paper's three ratios under one interpretation of each.

    The ADC energy from inference of the image network, then pulses per update from the updates of the face mixer, then
    pulses per cell from its deployment: each next ratio leaves the solved ones as they are. The draws of `sample` give
    the share that meets all three.
    """
    mixer, image = load_network("face-mixer"), load_network("image-dit")
    steps = (
        (EQUAL_UNIT, image, "converter.adc_j_per_step"),
        (UPDATES_SGD, mixer, "write_verify.update_pulses"),
        (DEPLOY_INT8, mixer, _SCATTER),
    )
    values: dict[str, float] = {}
    for taken, network, path in steps:
        found = sensitivities(partial(taken.figure, network), preset.with_values(values), taken.ratio.paper)
        needed = _needed(found, path)
        if needed is None:
            break
        values[path] = needed
    met = [_within(taken.figure(network, sample), taken.ratio.paper) for taken, network, _ in steps]
    anchored = preset.with_values(values) if len(values) == len(steps) else None
    return AnchoredSet(
        values=values if anchored else None,
        pulses_per_cell=pulses_per_cell(anchored) if anchored else None,
        interpretations=tuple((taken.ratio, taken.name, network.name) for taken, network, _ in steps),
        ratios=tuple(float(taken.figure(network, anchored)) for taken, network, _ in steps) if anchored else None,
        share_within=float(np.mean(np.logical_and.reduce(met))),
    )


def _result(
    interpretation: Interpretation, network: NetworkSpec, preset: Preset, sample: PresetSample
) -> InterpretationResult:
    paper = interpretation.ratio.paper
    values = _drawn(interpretation, network, sample)
    band = Band.of(values)
    free = interpretation.free_analogue
    moved_by = sensitivities(partial(interpretation.figure, network), preset, paper)
    scatter = _needed(moved_by, _SCATTER)
    return InterpretationResult(
        ratio=interpretation.ratio,
        interpretation=interpretation.name,
        meaning=interpretation.meaning,
        network=network.name,
        paper=paper,
        nominal=float(interpretation.figure(network, preset)),
        band=band,
        share_within=float(np.mean(_within(values, paper))),
        verdict=_verdict(band, paper),
        sensitivities=moved_by,
        pulses_per_cell=pulses_per_cell(preset.with_values({_SCATTER: scatter})) if scatter else None,
        free_analogue=float(np.max(free(network, sample))) if free else None,
    )


def _drawn(interpretation: Interpretation, network: NetworkSpec, sample: PresetSample) -> Reals:
    return np.broadcast_to(np.asarray(interpretation.figure(network, sample)), (sample.draws,))


def _needed(moved_by: Sequence[Sensitivity], path: str) -> float | None:
    return next((sensitivity.needed for sensitivity in moved_by if sensitivity.path == path), None)


def _within(values: Reals, paper: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.abs(values / paper - 1) <= TOLERANCE


def _verdict(band: Band, paper: float) -> Verdict:
    if band.largest < paper:
        return Verdict.TOO_LOW
    if band.smallest > paper:
        return Verdict.TOO_HIGH
    return Verdict.CONSISTENT if band.p5 <= paper <= band.p95 else Verdict.UNLIKELY


def _of_ratio(ratio: PaperRatio, results: Sequence[InterpretationResult]) -> RatioResult:
    of_this = tuple(result for result in results if result.ratio is ratio)
    consistent = [result for result in of_this if result.verdict is Verdict.CONSISTENT]
    consistent.sort(key=lambda result: result.distance)
    return RatioResult(ratio, ratio.paper, of_this, tuple(consistent))


def _cap(network: NetworkSpec) -> float:
    return network.macs / network.lora_macs


def _exclusions(
    results: Sequence[InterpretationResult], networks: Sequence[NetworkSpec], draws: int
) -> tuple[str, ...]:
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
        where = f"{result.network}: {result.ratio} read as '{result.interpretation}'"
        if result.interpretation in by_batch:
            where += f" at a batch of {batches[result.network]}"
        if result.verdict is Verdict.TOO_LOW:
            bound = f"never reaches {result.paper}: the largest of {draws} draws is {result.band.largest:.3g}"
        elif result.verdict is Verdict.TOO_HIGH:
            bound = f"is always above {result.paper}: the smallest is {result.band.smallest:.3g}"
        else:
            continue
        sentences.append(f"{where} {bound}")
    return tuple(sentences)
