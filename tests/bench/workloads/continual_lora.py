"""A LoRA trained federated while people arrive and leave: one shard, exact forgets by replay.

Nodes keep captured codes, sealed, and train on those of everybody who is there. `trajectory_without_codes` is the
ablation: each wave trains on its newcomers alone, as if codes were thrown away after use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

import numpy as np
from reram_fleet.crypto.key_store import FileKeyStore
from torch import Tensor

from fleet.lab.fleets.captured_fleet import CapturedFleet
from fleet.lab.fleets.two_layer_fleet import ABSENT_SHARE, TwoLayerFleet
from fleet.lab.replay.cohort import CohortPlan, StartRows, scheduled_participation, train_cohort
from fleet.lab.replay.cohort_start import RidgeStarts
from fleet.lab.replay.cohort_state import CohortState, LoraRecipe, scores
from fleet.lab.replay.federated import NodeSamples
from fleet.lab.replay.forgetting import CheckpointFiles, forget_by_replay
from tests.bench.workloads.arrivals import Arrivals, Trajectory
from tests.bench.workloads.resurfacing import Resurfacing, Seen

ROUNDS_PER_WAVE = 8


class LoraLife:
    """One fleet's LoRA, after everybody has arrived, some have left, and training went on for `more_rounds`."""

    def __init__(self, fleet: CapturedFleet, plan: Arrivals, seed: int, more_rounds: int, hidden: int) -> None:
        self._fleet, self._plan, self._seed = fleet, plan, seed
        self._two = TwoLayerFleet.of(seed, fleet, hidden)
        self._last = (len(plan.waves) - 1) * ROUNDS_PER_WAVE
        self._rounds = self._last + ROUNDS_PER_WAVE + more_rounds
        self._recipe = LoraRecipe(a_seed=seed, rounds=self._rounds)
        self._lines: list[tuple[float, ...]] = []
        with tempfile.TemporaryDirectory() as folder:
            self._knew, self._forgot, nodes = self._until_the_forgets(Path(folder))
        state, first = self._forgot, self._last
        for end in (first + ROUNDS_PER_WAVE, self._rounds):
            state = self._trained(self._staying, nodes, first, end, state)
            self._lines.append(self._accuracies(state, len(plan.waves)))
            first = end
        self._state = state

    def trajectory(self) -> Trajectory:
        """Return it, beside everybody in it from the first round on."""
        return Trajectory("federated LoRA", tuple(self._lines), self._joint)

    def trajectory_without_codes(self) -> Trajectory:
        """Return that of a fleet that trains each wave on its newcomers alone; who leaves was never in it."""
        state, first, lines = None, 0, []
        ends = [*range(ROUNDS_PER_WAVE, self._last + ROUNDS_PER_WAVE + 1, ROUNDS_PER_WAVE), self._rounds]
        for number, end in enumerate(ends):
            # The rounds after the last wave have the last newcomers.
            wave = min(number, len(self._plan.waves) - 1)
            fresh = self._plan.stay(wave)
            nodes = tuple(
                replace(node, people={tag: codes for tag, codes in node.people.items() if tag in fresh})
                for node in self._two.nodes
            )
            entries = dict.fromkeys(fresh, wave * ROUNDS_PER_WAVE)
            state = self._trained(entries, nodes, first, end, state, newcomers_only=True)
            lines.append(self._accuracies(state, wave + 1))
            first = end
        return Trajectory("LoRA, codes not kept", tuple(lines), self._joint)

    def resurfacing(self) -> Resurfacing:
        """Return what the forgotten people meet after all further rounds."""
        never = self._trained(self._staying, self._two.nodes, 0, self._rounds)
        # Nodes that were restored from a backup have the people's codes again; no round asks for them.
        restored = self._trained(self._staying, self._two.nodes, self._last, self._rounds, self._forgot)
        rows = dict(zip(self._knew.tags, self._knew.head, strict=True))
        back = self._state.entered({tag: rows[tag] for tag in self._plan.leaving})
        strangers = scores(self._recipe, self._state, self._two.strangers, self._two.centre).amax(dim=2)
        now = self._seen(self._state)
        return Resurfacing(
            kind="cohort LoRA",
            named=now.named,
            accepted=now.accepted,
            never_enrolled=self._seen(never).accepted,
            strangers=float((strangers >= 0).double().mean()),
            as_if_never_enrolled=self._state.digest() == never.digest() == restored.digest(),
            named_if_let_back=self._seen(back).named,
        )

    def _until_the_forgets(self, folder: Path) -> tuple[CohortState, CohortState, tuple[NodeSamples, ...]]:
        """Train all waves but the last, then forget; return the states before and after, and the nodes."""
        checkpoints = CheckpointFiles(folder / "checkpoints", FileKeyStore(folder / "keys"), "fleet")
        nodes = self._two.nodes
        entries = self._entries([name for wave in self._plan.waves[:-1] for name in wave])
        state: CohortState | None = None
        for first in range(0, self._last, ROUNDS_PER_WAVE):
            here = {tag: entry for tag, entry in entries.items() if entry <= first}
            state = self._trained(here, nodes, first, first + ROUNDS_PER_WAVE, state, checkpoints)
            self._lines.append(self._accuracies(state, first // ROUNDS_PER_WAVE + 1))
        assert state is not None
        # Replay ends where training has got to.
        cohort, after = self._cohort_plan(entries, self._last), state
        for tag in self._plan.leaving:
            result = forget_by_replay(cohort, nodes, RidgeStarts(nodes, cohort.recipe.gain), checkpoints, tag)
            cohort, after = result.plan, result.state
            nodes = tuple(node.without(tag) for node in nodes)
        return state, after, nodes

    def _entries(self, names: Sequence[str]) -> dict[str, int]:
        waves = enumerate(self._plan.waves)
        return {tag: wave * ROUNDS_PER_WAVE for wave, people in waves for tag in people if tag in names}

    @cached_property
    def _staying(self) -> Mapping[str, int]:
        return self._entries(self._plan.staying)

    @cached_property
    def _joint(self) -> float:
        """Mean accuracy over waves, had everybody who stays been there from the first round on."""
        state = self._trained(dict.fromkeys(self._plan.staying, 0), self._two.nodes, 0, self._rounds)
        return fmean(self._accuracies(state, len(self._plan.waves)))

    def _cohort_plan(self, entries: Mapping[str, int], rounds: int) -> CohortPlan:
        ids = tuple(node.node_id for node in self._two.nodes)
        taking = scheduled_participation(self._seed, 0, ids, rounds, ABSENT_SHARE)
        return CohortPlan(self._seed, 0, replace(self._recipe, rounds=rounds), ids, taking, entries)

    def _trained(
        self,
        entries: Mapping[str, int],
        nodes: Sequence[NodeSamples],
        first: int,
        end: int,
        state: CohortState | None = None,
        checkpoints: CheckpointFiles | None = None,
        *,
        newcomers_only: bool = False,
    ) -> CohortState:
        """Train from a round to another; `newcomers_only` solves start rows for those who enter alone."""
        ridge = RidgeStarts(nodes, self._recipe.gain)
        starts: StartRows = (lambda known, new: ridge(new, new)) if newcomers_only else ridge

        def keep(number: int, before: CohortState) -> None:
            if checkpoints is not None:
                checkpoints.save(0, number, before)

        plan = self._cohort_plan(entries, self._rounds)
        return train_cohort(plan, nodes, starts, first_round=first, end_round=end, state=state, on_checkpoint=keep)

    def _logits(self, state: CohortState) -> Tensor:
        return scores(self._recipe, state, self._two.asked, self._two.centre)

    def _accuracies(self, state: CohortState, waves: int) -> tuple[float, ...]:
        best = self._logits(state).argmax(dim=2).tolist()
        return self._plan.accuracies(self._fleet, [[state.tags[k] for k in row] for row in best], waves)

    def _seen(self, state: CohortState) -> Seen:
        truth = np.array(self._two.truth)
        theirs = np.isin(truth, self._plan.leaving)
        best = self._logits(state)[:, theirs].max(dim=2)
        named = [[state.tags[k] for k in row] for row in best.indices.tolist()]
        return Seen.of(named, best.values >= 0, truth[theirs].tolist())
