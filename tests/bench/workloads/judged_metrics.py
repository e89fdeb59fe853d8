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

The reference is trained without the person by the same recipe. Each metric says *forgotten* or *known*, as its line in
a report does (`fleet.lab.verification.judging`). Metrics that decide nothing in a report, or are not in it any more,
are here too (`decides` is false): these figures are why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np
import torch
from reram_fleet.v1.types_pb2 import LEARNING_KIND_UNLEARN_LORA
from torch import Tensor

from edge_node.recognition.training import neggrad
from edge_node.tasks.faces import SmallFacesTask
from fleet.lab.verification.evidence import AdapterKind, ApproximateEvidence, ModelScores, RepairPair
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.judging import LIMITS, average_gap, judge_approximate
from fleet.lab.verification.metrics import ForgetSamples, ModelOutputs, js_divergence, model_scores
from fleet.lab.verification.verify import chosen
from tests.bench.workloads.lora_lives import Life, LoraLives

#: Nothing was chosen on them.
SEEDS = (400, 401, 402, 403, 404)
NODES, FORGOTTEN, ROUNDS = 4, 5, 8
#: Rounds of a repair, and the hinge (logit) of one that goes too far.
REPAIR_ROUNDS, FAR_HINGE = 2, -6.0
#: Share of the way to the reference of what is well repaired.
WELL = 0.95
#: Relearning ends when the person's samples score as at first, less this; or after so many rounds.
RELEARN_TOLERANCE, RELEARN_CAP = 0.05, 8
#: Limits of what decides nothing: of the confidence attack's share below the reference, of the one-photo probe above
#: it, of the AUC below it, of the divergence from it on others, and of the rounds to relearn over its own.
NON_MEMBER, PROBE, STREISAND, JS_RETAINED, RELEARN = 0.05, 0.10, 0.10, 0.01, 0.8
#: Ridge of the probe, in mean squared lengths of a feature vector.
PROBE_RIDGE = 0.03
#: Kind of model of which the truth is not known: what the rounds of a repair job make of *row destroyed*.
REPAIRED = "repaired by the fleet"
#: Name of the verdict of a whole report.
VERDICT = "verdict of all lines"

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
    """Answer of one metric about one model: whether the person is forgotten."""

    metric: str
    kind: str
    forgotten: bool
    decides: bool = True


@dataclass(frozen=True, eq=False)
class Measured:
    """One model: its answers and scores, and what no report has any more."""

    outputs: ModelOutputs
    scores: ModelScores
    probe: float
    relearn_rounds: int


def run(seed: int, *, nodes: int = NODES, forgotten: int = FORGOTTEN, rounds: int = ROUNDS) -> Iterator[Said]:
    """Yield what each metric says of each model of one seed."""
    task = SmallFacesTask.of(seed)
    names = sorted(task.split.enrolled)
    gone = [names[k] for k in chosen(seed, range(len(names)), forgotten)]
    lives = LoraLives(task, seed, gone, nodes)
    original, references, models = _models(lives, gone, rounds)
    relearnt = _relearnt(lives, original, gone, [references, *models.values()])
    for k, name in enumerate(gone):
        person = _Person(lives, name)
        known, reference = person.of(original, 1), person.of(references[k], relearnt[0][k])
        for (kind, found), steps in zip(models.items(), relearnt[1:], strict=True):
            model = person.of(found[k], steps[k], masked=kind == "masked")
            yield from _said(
                kind,
                model,
                reference,
                RepairPair(
                    name,
                    seed,
                    known.scores,
                    model.scores,
                    reference.scores,
                    js_divergence(model.outputs.forget_train, reference.outputs.forget_train),
                ),
            )


def _models(lives: LoraLives, gone: Sequence[str], rounds: int) -> tuple[Life, list[Life], dict[str, Sequence[Life]]]:
    """Return the model that knows everybody, the references, and the models of each kind."""
    first = [lives.untrained(name) for name in ("", *gone)]
    late = [replace(life, absent=(k % lives.nodes,)) for k, life in enumerate(first[1:])]
    original, *references = lives.rounds(first, rounds)
    destroyed = [lives.forgotten(original, name) for name in gone]
    with patch.object(neggrad, "HINGE", FAR_HINGE):
        over = lives.rounds(destroyed, REPAIR_ROUNDS, LEARNING_KIND_UNLEARN_LORA)
    return (
        original,
        references,
        {
            "never knew": lives.rounds([replace(life, absent=()) for life in lives.rounds(late, 1)], rounds - 1),
            "well repaired": [_between(a, b) for a, b in zip(destroyed, references, strict=True)],
            "untouched": [original] * len(gone),
            "masked": [original] * len(gone),
            "row destroyed": destroyed,
            "hardly repaired": lives.rounds(destroyed, 1),
            "over-repaired": over,
            REPAIRED: lives.rounds(destroyed, REPAIR_ROUNDS, LEARNING_KIND_UNLEARN_LORA),
        },
    )


def _said(kind: str, model: Measured, reference: Measured, pair: RepairPair) -> Iterator[Said]:
    judgement = judge_approximate(ApproximateEvidence(AdapterKind.SHARED, kind, (pair,), 0))
    for line in judgement.lines:
        if line.passed is not None:
            yield Said(line.name, kind, line.passed)
    yield Said(VERDICT, kind, judgement.verdict.holds)
    auc, auc_r = model.scores.attack_auc, reference.scores.attack_auc
    called, called_r = model.scores.called_non_member, reference.scores.called_non_member
    distance = js_divergence(model.outputs.retain_test, reference.outputs.retain_test)
    others_said = {
        "confidence attack, called non-member": called >= called_r - NON_MEMBER,
        "average gap as published (SalUn)": average_gap(model.scores, reference.scores) <= LIMITS.gap,
        "one-photo probe": model.probe <= reference.probe + PROBE,
        "over-forgetting (Streisand): AUC": auc >= auc_r - STREISAND,
        "JS divergence on others": distance <= JS_RETAINED,
        "relearn index": model.relearn_rounds >= RELEARN * reference.relearn_rounds,
    }
    for metric, forgotten in others_said.items():
        yield Said(metric, kind, forgotten, decides=False)


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

    def of(self, life: Life, relearn_rounds: int, *, masked: bool = False) -> Measured:
        """Ask a model."""
        lives, samples = self._lives, self._samples
        outputs = ModelOutputs.of(lambda codes: lives.answers(life, codes), samples)
        outputs = outputs.masked() if masked else outputs
        held = Rate(0 if life.gone else lives.nodes, lives.nodes)
        probe = one_photo_probe(
            lives.features(life, samples.forget_train[:, :1]),
            lives.features(life, samples.retain_train),
            samples.retain_train_labels,
            lives.features(life, samples.forget_test),
        )
        return Measured(outputs, model_scores(outputs, held), probe.value, relearn_rounds)


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
            if not steps[k] and lives.margin(life, name) >= goal[name] - RELEARN_TOLERANCE:
                steps[k] = number
    steps = [found or RELEARN_CAP for found in steps]
    return [steps[k : k + len(gone)] for k in range(0, len(steps), len(gone))]


def one_photo_probe(one: Tensor, kept: Tensor, kept_labels: Tensor, held_out: Tensor) -> Rate:
    """Return how many held-out samples of a person features give away once *one* sample of them is known.

    A linear probe (ridge) on the features, with one sample of the person among everybody else's. Features that were
    never taught the person give them away too if they are good, so only the difference to the reference counts.
    Features are float: of the one sample [N, 1, H], of retained people's [N, B, H], whose they are int64 [B], and of
    the person's other samples [N, C, H].
    """
    people, columns = torch.unique(kept_labels, return_inverse=True)
    x = torch.cat([kept, one], dim=1).double()
    y = torch.zeros(x.shape[1], len(people) + 1, dtype=torch.float64)
    y[torch.arange(len(columns)), columns] = 1.0
    y[-1, -1] = 1.0
    gram = x @ x.mT
    ridge = PROBE_RIDGE * gram.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
    dual = torch.linalg.solve(gram + ridge * torch.eye(x.shape[1], dtype=torch.float64), y.expand(len(x), -1, -1))
    best = (held_out.double() @ x.mT @ dual).argmax(dim=2)
    return Rate.of(best == len(people))
