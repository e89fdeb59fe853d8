"""Metrics of forgetting, judged: how often each is right about models of which the truth is known.

Faces on small chips, whose LoRA has a part that everybody shares (`faces-64`), and one person forgotten of each model:

===============  =========  ===================================================================================
never knew       forgotten  trained without the person, but that one node missed the first round
well repaired    forgotten  all but a twentieth of the way from *row destroyed* to the reference
untouched        known      as trained with the person
masked           known      the same, but that its answers never name the person
row destroyed    known      the person's adapter and row are gone; what everybody shares is as it was
hardly repaired  known      the same after one more round without the person
over-repaired    known      the person is pushed down so far that no stranger is rejected as firmly
===============  =========  ===================================================================================

The reference is trained without the person by the same recipe, and each metric says *forgotten* or *known* as its line
in a report does (`fleet.lab.verification.judging`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import LEARNING_KIND_UNLEARN_LORA
from torch import Tensor

from edge_node.recognition.training import neggrad
from edge_node.tasks.faces import SmallFacesTask
from fleet.lab.fleets.captured_fleet import chosen
from fleet.lab.verification.evidence import AdapterKind, ApproximateEvidence, ModelScores, RepairPair
from fleet.lab.verification.judging import judge_approximate
from fleet.lab.verification.metrics import (
    ForgetSamples,
    ModelOutputs,
    js_divergence,
    model_scores,
    relearn_steps,
)
from tests.bench.workloads.lora_lives import Life, LoraLives

#: Nothing was chosen on them.
SEEDS = (400, 401, 402, 403, 404)
NODES, FORGOTTEN, ROUNDS = 4, 5, 8
#: Rounds of a repair, and the hinge (logit) of one that goes too far.
REPAIR_ROUNDS, FAR_HINGE = 2, -6.0
#: Share of the way to the reference of what is well repaired.
WELL = 0.95
#: Relearning ends when the person is known as well as at first, less so many logits; or after so many rounds.
RELEARN_TOLERANCE, RELEARN_CAP = 0.5, 8

#: Truths, by kind of model: whether the person is forgotten.
TRUTHS: Mapping[str, bool] = {
    "never knew": True,
    "well repaired": True,
    "untouched": False,
    "masked": False,
    "row destroyed": False,
    "hardly repaired": False,
    "over-repaired": False,
}


@dataclass(frozen=True)
class Said:
    """What one metric says of one model: True if forgotten."""

    metric: str
    kind: str
    forgotten: bool


def run(seed: int, *, nodes: int = NODES, forgotten: int = FORGOTTEN, rounds: int = ROUNDS) -> Iterator[Said]:
    """Yield what each metric says of each model of one seed."""
    task = SmallFacesTask.of(seed)
    gone = chosen(seed, sorted(task.split.enrolled), forgotten)
    lives = LoraLives(task, seed, gone, nodes)
    first = [lives.untrained(name) for name in ("", *gone)]
    late = [replace(life, absent=(k % nodes,)) for k, life in enumerate(first[1:])]
    original, *references = lives.rounds(first, rounds)
    never = lives.rounds([replace(life, absent=()) for life in lives.rounds(late, 1)], rounds - 1)
    destroyed = [lives.forgotten(original, name) for name in gone]
    with patch.object(neggrad, "HINGE", FAR_HINGE):
        over = lives.rounds(destroyed, REPAIR_ROUNDS, LEARNING_KIND_UNLEARN_LORA)
    models = {
        "never knew": never,
        "well repaired": [_between(a, b) for a, b in zip(destroyed, references, strict=True)],
        "untouched": [original] * len(gone),
        "masked": [original] * len(gone),
        "row destroyed": destroyed,
        "hardly repaired": lives.rounds(destroyed, 1),
        "over-repaired": over,
    }
    relearnt = _relearnt(lives, original, gone, [references, *models.values()])
    for k, name in enumerate(gone):
        measured = _Person(lives, name)
        reference = measured.of(references[k], relearnt[0][k])
        original_scores = measured.of(original, 1)[1]
        for (kind, found), steps in zip(models.items(), relearnt[1:], strict=True):
            outputs, scores = measured.of(found[k], steps[k], masked=kind == "masked")
            pair = RepairPair(
                name,
                seed,
                original_scores,
                scores,
                reference[1],
                js_divergence(outputs.forget_train, reference[0].forget_train),
                js_divergence(outputs.retain_test, reference[0].retain_test),
            )
            judgement = judge_approximate(ApproximateEvidence(AdapterKind.SHARED, kind, (pair,), 0))
            for line in judgement.lines:
                if line.passed is not None:
                    yield Said(line.name, kind, line.passed)
            yield Said("all lines together", kind, judgement.verdict.holds)


def _between(destroyed: Life, reference: Life) -> Life:
    """Return what an ideal repair comes to that stops short of the reference."""
    a, b = destroyed.state, reference.state

    def mixed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.rint((1 - WELL) * one + WELL * other).astype(np.int16)

    return replace(reference, state=replace(b, rows=mixed(a.rows, b.rows), branches=mixed(a.branches, b.branches)))


class _Person:
    """One person's samples, shown to models."""

    def __init__(self, lives: LoraLives, name: str) -> None:
        self._lives, self._person = lives, lives.names.index(name)
        codes = [[each[other] for other in lives.names] for each in (lives.train, lives.test)]
        self._samples = ForgetSamples.of(*codes, self._person)

    def of(self, life: Life, relearn_rounds: int, *, masked: bool = False) -> tuple[ModelOutputs, ModelScores]:
        """Ask a model."""
        outputs = ModelOutputs.of(lambda codes: self._lives.answers(life, codes), self._samples)
        stripped = outputs.forget_train.named(self._person)
        outputs = outputs.masked() if masked else outputs
        return outputs, model_scores(
            outputs,
            lambda codes: self._lives.features(life, codes),
            self._samples,
            stripped=stripped,
            relearn_rounds=relearn_rounds,
        )


def _relearnt(
    lives: LoraLives, original: Life, gone: Sequence[str], models: Sequence[Sequence[Life]]
) -> list[list[int]]:
    """Return after how many rounds with everybody each model knows its person as well as the original."""
    goal = {name: lives.margin(original, name) for name in gone}
    now = [replace(life, gone="") for found in models for life in found]
    names = [name for found in models for name in gone[: len(found)]]
    steps = [0] * len(now)
    for number in range(1, RELEARN_CAP + 1):
        now = lives.rounds(now, 1)
        for k, (life, name) in enumerate(zip(now, names, strict=True)):
            if not steps[k] and lives.margin(life, name) >= goal[name] - RELEARN_TOLERANCE / 10:
                steps[k] = number
    steps = [found or RELEARN_CAP for found in steps]
    return [steps[k : k + len(gone)] for k in range(0, len(steps), len(gone))]
