"""Verification of forgetting on a fleet in memory, end to end: every kind of adapter, one report.

The fleet is the product: nodes with chips, a coordinator, rounds by Flower's strategy, receipts. Some people are
forgotten, one at a time, each from the full fleet. What its nodes hold and answer then is held against a fleet that
never enrolled them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import EdgeNodeError
from edge_node.tasks import GenerationTask, RecognitionTask, load_task
from fleet.errors import InvalidInputError
from fleet.lab.verification.evidence import (
    AdapterKind,
    ApproximateEvidence,
    Canary,
    DigestPair,
    ExactEvidence,
    ModelScores,
    RepairPair,
)
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.metrics import (
    Answers,
    ForgetSamples,
    ModelOutputs,
    equal_error_rate,
    js_divergence,
    model_scores,
)
from fleet.lab.verification.report import VerificationReport
from fleet.lab.verification.verified_fleet import VerifiedFleet
from fleet.lab.verification.verify_images import verify_images
from hwmodel import Phase, keyed_uint16

#: Rounds of each training, and further ones after a forget.
ROUNDS, MORE_ROUNDS = 3, 10
#: Enrolled people for each cohort shard, about; there are at least two shards.
PEOPLE_PER_SHARD = 5
#: How the fleet repairs a shared LoRA.
METHOD = "hinged NegGrad+"

Progress = Callable[[str], None]


def verify_task(
    name: str, *, seed: int = 1, people: int = 3, progress: Progress = lambda text: None
) -> VerificationReport:
    """Forget people of a task's fleet and report what became of them in every kind of adapter.

    `InvalidInputError` if there is no such task, its data are not here, or too many people are to be forgotten.

    Parameters
    ----------
    name
        Of any task that is installed.
    seed
        Of chips, of who is forgotten, and of the split, where the task draws one.
    people
        How many are forgotten, each from the full fleet; of a task that generates, one class is.
    progress
        Called with what is being done.
    """
    try:
        task = load_task(name, seed)
        if isinstance(task, GenerationTask):
            with TemporaryDirectory() as folder:
                return verify_images(task, seed, Path(folder), progress=progress)
        enrolled, strangers = len(task.split.enrolled), len(task.split.strangers)
        if not enrolled or not strangers:
            raise InvalidInputError(
                f"the split of task {task.name} has {enrolled} enrolled people and {strangers} strangers: it takes both"
            )
        if not 1 <= people < enrolled:
            raise InvalidInputError(
                f"{people} people cannot be forgotten: {enrolled} are enrolled, and one must be left",
                hint=f"--people takes 1 to {enrolled - 1}",
            )
        with TemporaryDirectory() as folder:
            return Verification(task, seed, Path(folder), progress).report(chosen(seed, range(enrolled), people))
    except EdgeNodeError as error:
        raise InvalidInputError(str(error)) from error


def chosen(seed: int, people: Sequence[int], count: int) -> list[int]:
    """Return the people whom a seed forgets."""
    draws = keyed_uint16(seed, "repair.forgotten", count=len(people)).numpy()
    return [people[k] for k in np.argsort(draws, kind="stable")[:count]]


@dataclass
class Spent:
    """Joules by phase, and pulses, of forgets."""

    energy_j: dict[Phase, float] = field(default_factory=lambda: dict.fromkeys(Phase, 0.0))
    cell_writes: int = 0

    def forget(self, fleet: VerifiedFleet, *numbers: int) -> None:
        """Have people forgotten, and count what that takes."""
        meter, writes = fleet.meter(), int(fleet.engine.cell_writes.sum())
        fleet.forget(*numbers)
        for phase, spent in meter().items():
            self.energy_j[phase] += spent.energy_j
        self.cell_writes += int(fleet.engine.cell_writes.sum()) - writes


class Verification:
    """Forgets of one task's fleet, and of fleets that never knew the people.

    Attributes
    ----------
    people
        Numbers of the enrolled people.
    canary
        Number of a stranger who is enrolled, too, and forgotten along with each person.
    spent
        By forgets so far.
    """

    def __init__(self, task: RecognitionTask, seed: int, folder: Path, progress: Progress) -> None:
        self._task, self._seed, self._folder, self._progress = task, seed, folder, progress
        self.people = range(len(task.split.enrolled))
        self.canary = len(self.people)
        self._shards = max(2, len(self.people) // PEOPLE_PER_SHARD)
        self.spent = Spent()

    def report(self, numbers: Sequence[int]) -> VerificationReport:
        """Forget each of these people."""
        exact, error_rates = self._exact_kinds(numbers)
        pairs = self._shared_lora(numbers)
        return VerificationReport(
            task=self._task.name,
            exact=tuple(_together(found) for found in zip(*exact, strict=True)),
            approximate=(ApproximateEvidence(AdapterKind.SHARED, METHOD, tuple(pairs), MORE_ROUNDS),),
            scores={"equal error rate of the people who are left": fmean(error_rates)} if error_rates else {},
            energy_j={phase.value: joules for phase, joules in self.spent.energy_j.items()},
            cell_writes=self.spent.cell_writes,
        )

    # Exact kinds

    def _exact_kinds(self, numbers: Sequence[int]) -> tuple[list[tuple[ExactEvidence, ...]], list[float]]:
        everybody = (*self.people, self.canary)
        self._progress("Enrolling everybody, training cohorts")
        fleet = self.with_cohorts(everybody)
        codes = {number: fleet.capture(number) for number in everybody}
        found, error_rates = [], []
        for number in numbers:
            self._progress(f"Exact kinds, person {number}")
            forgetting = fleet.copy()
            never = self.with_cohorts([k for k in everybody if k not in (number, self.canary)])
            found.append(self.forget_exactly(forgetting, never, number, codes))
            kept = [k for k in self.people if k != number]
            if len(kept) > 1:
                answers = forgetting.answers(torch.cat([codes[k][1] for k in kept], dim=1), kept)
                error_rates.append(_error_rate(answers, [codes[k][1].shape[1] for k in kept]))
            forgetting.close()
            never.close()
        fleet.close()
        return found, error_rates

    def with_cohorts(self, people: Sequence[int]) -> VerifiedFleet:
        """Return a fleet that has learnt its cohorts: half of the people enter later."""
        fleet = VerifiedFleet(self._task, self._seed, self._folder, head=True)
        middle = len(self.people) // 2
        for some in ([k for k in people if k < middle], [k for k in people if k >= middle]):
            fleet.enrol(some)
            fleet.learn(ROUNDS, self._shards)
        return fleet

    def forget_exactly(
        self, fleet: VerifiedFleet, never: VerifiedFleet, number: int, codes: dict[int, tuple[Tensor, Tensor]]
    ) -> tuple[ExactEvidence, ...]:
        """Forget a person and the canary; return what shows that nothing is left, by kind."""
        asked, canary = codes[number][1], codes[self.canary][1]
        before, restore = fleet.named(canary, self.canary), fleet.backup()
        mine = {fleet.shard_of(k) for k in (number, self.canary)}
        self.spent.forget(fleet, number, self.canary)
        recognised, after = fleet.named(asked, number), fleet.named(canary, self.canary)
        spared = [shard for shard in range(self._shards) if shard not in mine]
        unaffected = DigestPair(_digest(fleet.shard_digests(spared)), _digest(never.shard_digests(spared)))
        pairs = {
            AdapterKind.SUBJECT: (fleet.subject_digests(), never.subject_digests()),
            AdapterKind.HEAD: (fleet.head_digests(), never.head_digests()),
            AdapterKind.COHORT: (fleet.lora_digests(), never.lora_digests()),
        }
        # One node is put back to when it knew them; training goes on without.
        restore()
        for each in (fleet, never):
            each.learn(MORE_ROUNDS, self._shards)
        later = DigestPair(_digest(fleet.lora_digests()), _digest(never.lora_digests()))
        return tuple(
            ExactEvidence(
                kind,
                _digest(found),
                _digest(expected),
                recognised[kind],
                Canary(before[kind], after[kind]),
                unaffected=unaffected if spared and kind is AdapterKind.COHORT else None,
                later=later if kind is AdapterKind.COHORT else None,
                later_rounds=MORE_ROUNDS if kind is AdapterKind.COHORT else 0,
            )
            for kind, (found, expected) in pairs.items()
        )

    # Shared LoRA

    def _shared_lora(self, numbers: Sequence[int]) -> list[RepairPair]:
        self._progress("Training a shared LoRA")
        fleet, pairs = self._with_lora(self.people), []
        codes = [fleet.capture(number) for number in self.people]
        for number in numbers:
            self._progress(f"Shared LoRA, person {number}")
            samples = ForgetSamples.of([train for train, _ in codes], [test for _, test in codes], number)
            repaired, retrained = fleet.copy(), self._with_lora([k for k in self.people if k != number])
            _, original = self._scores(repaired, samples)
            self.spent.forget(repaired, number)
            answers, scores = self._scores(repaired, samples, more=True)
            reference, expected = self._scores(retrained, samples, more=True)
            pairs.append(
                RepairPair(
                    f"person {number}",
                    self._seed,
                    original,
                    scores,
                    expected,
                    js_divergence(answers.forget_train, reference.forget_train),
                )
            )
            repaired.close()
            retrained.close()
        fleet.close()
        return pairs

    def _with_lora(self, people: Sequence[int]) -> VerifiedFleet:
        fleet = VerifiedFleet(self._task, self._seed, self._folder, head=False)
        fleet.enrol(people)
        fleet.learn(ROUNDS)
        return fleet

    def _scores(
        self, fleet: VerifiedFleet, samples: ForgetSamples, *, more: bool = False
    ) -> tuple[ModelOutputs, ModelScores]:
        """Measure a fleet, and what `more` rounds make of it."""
        outputs = ModelOutputs.of(lambda codes: fleet.answers(codes, self.people), samples)
        held, resurfaced = fleet.held(samples.person), None
        if more:
            fleet.learn(MORE_ROUNDS)
            resurfaced = fleet.answers(samples.forget_train, self.people).named(samples.person)
        return outputs, model_scores(outputs, held, resurfaced)


def _error_rate(answers: Answers, samples: Sequence[int]) -> float:
    """Return the EER of K people, each with so many samples, each claiming to be each of them."""
    scores = answers.margins.numpy()
    truth = np.repeat(np.arange(scores.shape[2]), samples)
    genuine = np.broadcast_to(np.arange(scores.shape[2]) == truth[:, None], scores.shape)
    return equal_error_rate(scores[genuine], scores[~genuine])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _together(found: Sequence[ExactEvidence]) -> ExactEvidence:
    """Return one record of several forgets: digests of all digests, so that a single difference shows."""
    canaries = [evidence.canary for evidence in found if evidence.canary]
    return ExactEvidence(
        found[0].kind,
        _digest([evidence.digest for evidence in found]),
        _digest([evidence.never_enrolled for evidence in found]),
        Rate.sum(evidence.recognised for evidence in found),
        Canary(Rate.sum(c.named_before for c in canaries), Rate.sum(c.named_after for c in canaries)),
        unaffected=_paired([evidence.unaffected for evidence in found]),
        later=_paired([evidence.later for evidence in found]),
        later_rounds=found[0].later_rounds,
    )


def _paired(found: Sequence[DigestPair | None]) -> DigestPair | None:
    pairs = [pair for pair in found if pair is not None]
    if not pairs:
        return None
    return DigestPair(_digest([pair.found for pair in pairs]), _digest([pair.expected for pair in pairs]))
