"""A cohort LoRA while people arrive and leave: the product's fleet in memory, its jobs, and exact forgets by replay.

Chips are small, where a LoRA is worth having. A node that still knew the forgotten people comes back from a backup.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from edge_node.tasks import RecognitionTask
from fleet.lab.verification.verified_fleet import NODES, VerifiedFleet
from hwmodel import Phase
from tests.bench.workloads.arrivals import Arrivals, Trajectory
from tests.bench.workloads.resurfacing import Resurfacing, Seen

ROUNDS_PER_WAVE, SHARDS = 8, 1
LEARNER = "cohort LoRA on small chips"


class LoraLife:
    """One task's people on one fleet, through all waves, forgets and `more_rounds`."""

    def __init__(self, task: RecognitionTask, seed: int, more_rounds: int, folder: Path) -> None:
        self._task, self._seed, self._folder, self._more = task, seed, folder, more_rounds
        self._names = sorted(task.split.enrolled)
        self._plan = Arrivals.of(self._names, seed)
        self._lines: list[tuple[float, ...]] = []
        self._fleet = self._new()
        for number in range(len(self._plan.waves) - 1):
            self._arrive(self._fleet, self._plan.waves[number], number)
        self._knew, restore = self._fleet.copy(), self._fleet.backup()
        self._fleet.forget(*map(self._names.index, self._plan.leaving))
        restore()
        self._finish(self._fleet, lines=True)

    def trajectory(self) -> Trajectory:
        """Return it, beside everybody in it from the first round on."""
        joint, waves = self._new(), len(self._plan.waves)
        self._enrol(joint, self._plan.staying)
        joint.learn(waves * ROUNDS_PER_WAVE + self._more, SHARDS)
        at_once = fmean(self._accuracies(joint, waves))
        joint.close()
        return Trajectory(LEARNER, tuple(self._lines), at_once)

    def resurfacing(self) -> Resurfacing:
        """Return what the forgotten people meet after all further rounds."""
        never = self._new()
        for number in range(len(self._plan.waves) - 1):
            self._arrive(never, self._plan.stay(number))
        self._finish(never)
        equal = [(f.lora_digests(), f.shard_digests(range(SHARDS))) for f in (self._fleet, never)]
        now, reference = self._seen(self._fleet), self._seen(never)
        strange = range(len(self._names), len(self._names) + len(self._task.split.strangers))
        shown = torch.cat([part for number in strange for part in self._fleet.capture(number)], dim=1)
        strangers = self._fleet.engine.identify(shown, Phase.VERIFY).accepted
        self._let_back()
        back = self._seen(self._fleet)
        for each in (never, self._knew, self._fleet):
            each.close()
        return Resurfacing(
            kind=LEARNER,
            named=now.named,
            accepted=now.accepted,
            never_enrolled=reference.accepted,
            strangers=float(strangers.double().mean()),
            as_if_never_enrolled=equal[0] == equal[1],
            named_if_let_back=back.named,
        )

    def _new(self) -> VerifiedFleet:
        return VerifiedFleet(self._task, self._seed, self._folder, head=False)

    def _enrol(self, fleet: VerifiedFleet, names: Sequence[str]) -> None:
        fleet.enrol([self._names.index(name) for name in names])

    def _arrive(self, fleet: VerifiedFleet, names: Sequence[str], wave: int | None = None) -> None:
        """Let a wave arrive and learn; its number asks for a line of accuracies."""
        self._enrol(fleet, names)
        fleet.learn(ROUNDS_PER_WAVE, SHARDS)
        if wave is not None:
            self._lines.append(self._accuracies(fleet, wave + 1))

    def _finish(self, fleet: VerifiedFleet, *, lines: bool = False) -> None:
        """Let the last wave arrive, and training go on."""
        last = len(self._plan.waves) - 1
        self._arrive(fleet, self._plan.waves[last], last if lines else None)
        fleet.learn(self._more, SHARDS)
        if lines:
            self._lines.append(self._accuracies(fleet, last + 1))

    def _let_back(self) -> None:
        """Install what nodes knew before the forgets, as no node would."""
        theirs = {self._knew.people[self._names.index(name)].tag for name in self._plan.leaving}
        for node in range(NODES):
            for adapter in self._knew.engine.active_subjects(node):
                if adapter.subject_tag in theirs:
                    self._fleet.engine.set_subject(node, adapter)
            self._fleet.engine.set_lora(node, self._knew.engine.active_lora(node))

    def _named(self, fleet: VerifiedFleet, names: Sequence[str]) -> tuple[list[list[str]], Tensor, list[str]]:
        """Show people's held-out samples to all nodes: names of best matches, what is accepted, and whose they are."""
        codes = {name: fleet.capture(self._names.index(name))[1] for name in names}
        found = fleet.engine.identify(torch.cat(list(codes.values()), dim=1), Phase.VERIFY)
        owner = {person.tag: self._names[number] for number, person in fleet.people.items()}
        truth = [name for name, samples in codes.items() for _ in range(samples.shape[1])]
        # Canaries have no name. Every fleet draws others: answers may differ where all else is equal to the bit.
        return [[owner.get(tag, "") for tag in row] for row in found.best_tag], found.accepted, truth

    def _accuracies(self, fleet: VerifiedFleet, waves: int) -> tuple[float, ...]:
        best, _, truth = self._named(fleet, self._names)
        return self._plan.accuracies(truth, best, waves)

    def _seen(self, fleet: VerifiedFleet) -> Seen:
        return Seen.of(*self._named(fleet, self._plan.leaving))
