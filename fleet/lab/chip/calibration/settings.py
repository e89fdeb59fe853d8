"""Settings of an experiment with calibrated chips, and the conditions that they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

import torch

from fleet.errors import InvalidInputError
from hwmodel import ConstantProgrammingError, DeviceError, DeviceModels, Precision, Preset, StuckCells, load_network

#: Seconds of the units of an age.
_UNITS_S = {"s": 1.0, "h": 3600.0, "d": 86_400.0, "y": 365.25 * 86_400.0}

#: The networks for which there are data to calibrate with.
NETWORKS = ("face-mixer", "speaker-lsm")

#: The ages at which the relaxation of the 130 nm preset was measured.
DEFAULT_AGES = ("1s", "1d", "2d")


class Sweep(StrEnum):
    """Kind of difference between one condition and the next."""

    NOISE = "noise"
    AGE = "age"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class RestoreSettings:
    """Settings of the experiment.

    Ages are such as ``"1s"``, ``"2d"``; None stands for `DEFAULT_AGES` if the preset's cells relax, else for none.
    """

    network: str  #: ``"face-mixer"`` or ``"speaker-lsm"``
    preset: Preset
    noise_us: Sequence[float] = (1.0, 2.0, 5.0, 10.0)  #: standard deviations of the constant programming error, uS
    ages: Sequence[str] | None = None
    stuck_shares: Sequence[float] = (0.0, 0.01, 0.05)
    rank: int | None = None  #: of the LoRA; the paper's for this network if None
    corrected: Literal["all", "paper"] = "all"  #: every layer, or those to which the paper gives a LoRA
    storage: Precision = Precision.INT8
    chips: int = 5  #: chips per condition, each with its own errors
    seed: int = 0
    data: Path | None = None  #: folder with the photos of the mixer, or None


@dataclass(frozen=True, slots=True)
class Condition:
    """One setting of one sweep."""

    sweep: Sweep
    label: str
    value: float  #: of what is changed: uS, seconds or a share
    models: DeviceModels
    age_s: float


def age_seconds(text: str) -> float:
    """Return the seconds of an age such as ``"90s"``, ``"6h"``, ``"1d"`` or ``"0.5y"``.

    Raises `InvalidInputError` if it is not a number, not negative, with one of these units.
    """
    try:
        seconds = float(text[:-1]) * _UNITS_S[text[-1:]]
    except (ValueError, KeyError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InvalidInputError(
            f"{text!r} is not an age", hint=f"A number and a unit, one of {', '.join(_UNITS_S)}: 1s, 6h, 2d."
        )
    return seconds


def given_numbers(option: str, text: str) -> tuple[float, ...]:
    """Return the numbers of an option as `given_words`; `InvalidInputError` if one is not a number."""
    try:
        return tuple(float(part) for part in given_words(text))
    except ValueError as error:
        raise InvalidInputError(
            f"--{option} takes numbers separated by commas; got {text!r}", hint=f"--{option} 1,2.5"
        ) from error


def given_words(text: str) -> tuple[str, ...]:
    """Return the words of an option, separated by commas; an empty list is allowed."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def resolved(settings: RestoreSettings) -> tuple[RestoreSettings, tuple[str, ...]]:
    """Return settings with rank and ages filled in, and what there is to note about that.

    Raises `InvalidInputError` if there are no data for the network, there is no chip, the rank is less than 1, or ages
    are asked of cells that do not age.
    """
    if settings.network not in NETWORKS:
        raise InvalidInputError(
            f"no data to calibrate chips of network {settings.network!r}", hint=f"Choose {' or '.join(NETWORKS)}."
        )
    if settings.chips < 1:
        raise InvalidInputError(f"a condition needs a chip; got {settings.chips}")
    rank = settings.rank
    if rank is None:
        rank = max(layer.lora_rank for layer in load_network(settings.network).layers)
    if rank < 1:
        raise InvalidInputError(f"the rank of a LoRA is at least 1; got {rank}")
    if settings.preset.models.relaxation != "none":
        ages = DEFAULT_AGES if settings.ages is None else tuple(settings.ages)
        return replace(settings, rank=rank, ages=ages), ()
    why = f"preset {settings.preset.name} has no model of relaxation, so its cells do not age"
    advice = "Ages need a preset whose cells relax: --preset 130nm-neurram"
    if settings.ages:
        raise InvalidInputError(why, hint=f"{advice}.")
    return replace(settings, rank=rank, ages=()), (f"{why}. {advice}",)


def conditions(settings: RestoreSettings) -> tuple[Condition, ...]:
    """Return the conditions of resolved settings, sweep by sweep.

    Raises `InvalidInputError` if there are none, one is out of the range of its model, or a model does not cover the
    preset's cells.
    """
    try:
        models = DeviceModels.of(settings.preset)
        # The youngest age that the preset's cells are known at: programming error alone.
        young_s = models.relaxation.min_age_s
        noise, ages, stuck = [], [], []
        for sigma in settings.noise_us:
            noisy = replace(models, programming_error=ConstantProgrammingError(sigma))
            noise.append(Condition(Sweep.NOISE, f"{sigma:g} uS", sigma, noisy, young_s))
        for share in settings.stuck_shares:
            partly_stuck = replace(models, stuck_cells=StuckCells(share / 2, share / 2))
            stuck.append(Condition(Sweep.STUCK, f"{100 * share:g} %", share, partly_stuck, young_s))
        for text in settings.ages or ():
            age_s = age_seconds(text)
            models.relaxation.shift(torch.tensor([settings.preset.cell.conductance_min_us]).double(), age_s)
            ages.append(Condition(Sweep.AGE, text, age_s, models, age_s))
    except DeviceError as error:
        raise InvalidInputError(str(error)) from error
    if not (noise or ages or stuck):
        raise InvalidInputError("there is nothing to try", hint="Give --noise, --age or --stuck.")
    return (*noise, *ages, *stuck)
