"""Experiment on bad chips: accuracy and features of a network on chips that err, age or have stuck cells, before and
after a calibration LoRA fitted on public data.

Three sweeps, one thing changed at a time: a constant programming error instead of the preset's, the age since
programming, and the share of stuck cells (half of them at either end of the window).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.errors import InvalidInputError
from fleet.lab.chip.calibration.data import PublicData, load_public_data
from fleet.lab.chip.calibration.fit import ChipCalibration, calibrate_chip
from fleet.lab.chip.calibration.network import Network, accuracy, features_and_scores, train_network
from fleet.lab.chip.calibration.settings import Condition, RestoreSettings, Sweep, conditions, resolved
from hwmodel import Cost, DeviceModels, HwModelError, Phase, load_network, program
from hwmodel.nn import ProgrammedModel

#: Inputs, about, by which the ranges of DACs and ADCs are set.
_RANGE_INPUTS = 40


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality of chips on held-out inputs, one number per chip.

    Attributes
    ----------
    feature_error
        Distance of the features from those of the network, relative to the spread of the network's own:
        ``sqrt(sum |f - g|^2 / sum |g - mean g|^2)``.
    """

    accuracy: tuple[float, ...]  #: share of inputs that are classified correctly
    feature_error: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RestoredChips:
    """Chips of one condition, before and after their LoRA."""

    condition: Condition
    chip: Quality  #: without a LoRA
    restored: Quality  #: with a calibration LoRA fitted in this condition
    kept: Quality | None  #: with the one that was fitted at the first age of the sweep; None in the other sweeps
    fit: Cost  #: of the LoRA, on one chip
    inference: Cost  #: of the products of one input, without the LoRA
    restored_inference: Cost


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """Everything that was found."""

    settings: RestoreSettings  #: what was tried, `rank` and `ages` resolved
    data: str
    held_out: int  #: inputs judged by
    fit_inputs: int  #: inputs calibrated on
    network: Quality  #: the trained network in float arithmetic
    ideal: Quality  #: on a chip without errors: what its converters leave
    network_weights: int  #: on crossbars
    lora_parameters: int
    sram_bytes: int
    conditions: tuple[RestoredChips, ...]  #: in the order of the sweeps
    notes: tuple[str, ...]  #: what the reader should know


def run_restore(settings: RestoreSettings, progress: Callable[[str], None]) -> RestoreReport:
    """Train the network once, then make, judge, calibrate and judge again the chips of every condition.

    Sets torch to one thread: with several, small products are slower on shared cores, and may round differently. Raises
    `InvalidInputError` if a setting is out of range, the preset's cells have no such age or are beyond what their
    models cover, or data are missing.
    """
    torch.set_num_threads(1)
    settings, notes = resolved(settings)
    try:
        return _restored(settings, list(notes), progress)
    except HwModelError as error:
        raise InvalidInputError(str(error)) from error


def _restored(settings: RestoreSettings, notes: list[str], progress: Callable[[str], None]) -> RestoreReport:
    tried = conditions(settings)
    data = load_public_data(settings.network, folder=settings.data, seed=settings.seed)
    progress(f"Training {settings.network}")
    bench = _Bench(settings, data, train_network(settings.network, data, seed=settings.seed))
    results: list[RestoredChips] = []
    first_age: ChipCalibration | None = None
    for number, condition in enumerate(tried, 1):
        progress(f"Chips {number} of {len(tried)}: {condition.sweep} {condition.label}")
        result, calibration = bench.restore(condition, first_age)
        results.append(result)
        if condition.sweep is Sweep.AGE and first_age is None:
            first_age = calibration
    if calibration.parameters >= bench.weights:
        notes.append(
            f"the LoRA of rank {settings.rank} has {calibration.parameters} numbers, no fewer than the "
            f"{bench.weights} weights on crossbars: choose a lower rank"
        )
    return RestoreReport(
        settings=settings,
        data=data.title,
        held_out=len(data.held_out),
        fit_inputs=len(data.fit),
        network=bench.network_quality,
        ideal=bench.ideal_quality,
        network_weights=bench.weights,
        lora_parameters=calibration.parameters,
        sram_bytes=calibration.sram_bytes,
        conditions=tuple(results),
        notes=tuple(notes),
    )


class _Bench:
    """One trained network, and what it is judged by."""

    def __init__(self, settings: RestoreSettings, data: PublicData, network: Network) -> None:
        self.settings, self.data, self.network = settings, data, network
        features, scores = features_and_scores(network, data.held_out, 1)
        self._reference = features
        self.network_quality = self._judged(features, scores)
        ideal = self._program(DeviceModels.ideal(), 0.0, nodes=["ideal"])
        self.ideal_quality = self._quality(ideal)
        self.weights = ideal.weights

    def restore(self, condition: Condition, earlier: ChipCalibration | None) -> tuple[RestoredChips, ChipCalibration]:
        """Judge the chips of a condition as they are, with `earlier` if it is given, and calibrated now."""
        settings = self.settings
        nodes = [f"chip-{index}" for index in range(settings.chips)]
        chip = self._program(condition.models, condition.age_s, nodes=nodes)
        before, inference = self._metered(chip)
        kept = None
        if earlier is not None and condition.sweep is Sweep.AGE:
            earlier.attach(chip)
            kept = self._quality(chip)
        calibration = calibrate_chip(
            chip,
            self.network,
            self.data.fit,
            rank=settings.rank or 1,
            storage=settings.storage,
            layers=self._corrected(chip),
        )
        after, restored_inference = self._metered(chip)
        if condition.sweep is Sweep.AGE and kept is None:
            kept = after
        fit = chip.energy()[Phase.TRAIN]
        return (RestoredChips(condition, before, after, kept, fit, inference, restored_inference), calibration)

    def _program(self, models: DeviceModels, age_s: float, *, nodes: Sequence[str]) -> ProgrammedModel:
        return program(
            self.network,
            self.settings.preset,
            self.settings.seed,
            nodes=nodes,
            models=models,
            age_s=age_s,
            # Enough for the ranges of the converters, which are looked for anew for every chip.
            calibration=self.data.fit[:: max(1, len(self.data.fit) // _RANGE_INPUTS)],
        )

    def _corrected(self, chip: ProgrammedModel) -> tuple[str, ...]:
        names = tuple(layer.name for layer in chip.layers)
        if self.settings.corrected == "all":
            return names
        layers = load_network(self.settings.network).layers
        return tuple(name for name, layer in zip(names, layers, strict=True) if layer.lora_rank)

    def _metered(self, chip: ProgrammedModel) -> tuple[Quality, Cost]:
        mark = chip.ledger.mark()
        quality = self._quality(chip)
        spent = chip.ledger.since(mark)[Phase.INFER]
        inputs = len(self.data.held_out)
        return quality, Cost(spent.energy_j / inputs, spent.seconds / inputs)

    def _quality(self, chip: ProgrammedModel) -> Quality:
        return self._judged(*features_and_scores(chip.module, self.data.held_out, len(chip.nodes)))

    def _judged(self, features: Tensor, scores: Tensor) -> Quality:
        reference = self._reference
        spread = (reference - reference.mean(dim=1, keepdim=True)).square().sum()
        distance = ((features - reference).square().sum(dim=(1, 2)) / spread).sqrt()
        return Quality(tuple(accuracy(scores, self.data.held_out_labels).tolist()), tuple(distance.tolist()))
