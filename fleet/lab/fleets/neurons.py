"""Recognition on a small chip that has no LoRA: by what its neurons answer, or by what drives them, without any A x."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from reram_fleet.code_ranges import LoraStage
from torch import Tensor

from edge_node.recognition.engine import Engine
from edge_node.recognition.lora.stage import DRIVE_BITS, LAWS, Stage
from edge_node.recognition.score_calibration import ScoreCalibration


@dataclass(frozen=True, eq=False)
class NeuronAnswers:
    """Answers of N chips to B samples, by their neurons alone.

    Attributes
    ----------
    best
        Who fits best: a place among the people, int64 ``[N, B]``.
    score
        Their score, float64 ``[N, B]``.
    accepted
        Whether it reaches the chip's threshold, which public people fixed, bool ``[N, B]``.
    """

    best: Tensor
    score: Tensor
    accepted: Tensor


def drives(stage: LoraStage, codes: Tensor) -> Tensor:
    """Return what drove the neurons in each segment, at `DRIVE_BITS`, int64 ``[S, segments neurons]``.

    Codes are int32 ``[S, F]``.
    """
    return _codes(_drives(stage, codes))


def answers(stage: LoraStage, codes: Tensor) -> Tensor:
    """Return what the neurons answer to that; arguments and result as of `drives`."""
    return _codes(LAWS[stage.law](_drives(stage, codes).clone())[0])


def ask_neurons(
    engine: Engine, part: Callable[[Tensor], Tensor], taught: Mapping[str, Tensor], codes: Tensor
) -> NeuronAnswers:
    """Ask every chip of an engine with a part of the codes alone, by the closed form of the engine.

    Parameters
    ----------
    part
        `drives` or `answers` of a stage, from codes ``[S, F]``.
    taught
        What people were learnt from, by name: codes, int32 ``[samples, F]``; the order is that of the answers.
    codes
        What is asked, int32 ``[N, B, F]``.
    """
    sums = torch.stack([part(theirs).sum(dim=0) for theirs in taught.values()])
    counts = torch.tensor([len(theirs) for theirs in taught.values()])
    found = []
    for node in range(len(engine.node_ids)):
        public, person = engine.public_codes(node)
        fitted = ScoreCalibration.fit(part(public)[None], person)
        chip, centre = fitted.whitening.chip(0), fitted.centre[0].long()
        means = chip.of(sums - counts[:, None] * centre)
        score, best = chip.cosine(chip.of(part(codes[node]) - centre), means).max(dim=1)
        found.append((best, score, score >= fitted.accept_threshold[0]))
    return NeuronAnswers(*(torch.stack(parts) for parts in zip(*found, strict=True)))


def _drives(stage: LoraStage, codes: Tensor) -> Tensor:
    return Stage(stage.rank, stage.neurons, stage.segments, stage.law).samples(codes).drives


def _codes(values: Tensor) -> Tensor:
    return (values.flatten(1).double() * 2.0**DRIVE_BITS).round().long()
