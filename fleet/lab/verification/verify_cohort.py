"""Verification of cohort LoRAs: forgets by replay, held against independent executions.

A fleet in shards is trained with everybody and with a planted canary, and its checkpoints are kept. Each forget starts
from there: the shards of the person and of the canary are replayed, then every shard is trained from nothing by nodes
that never met either of them. Last, training goes on, once on nodes that were restored from a backup and have the codes
of the forgotten again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from reram_fleet.crypto.key_store import FileKeyStore
from torch import Tensor

from fleet.lab.fleets.captured_fleet import CapturedFleet
from fleet.lab.fleets.two_layer_fleet import ABSENT_SHARE, TwoLayerFleet, shard_plans, work_cost
from fleet.lab.replay.cohort import CohortPlan, scheduled_participation, train_cohort
from fleet.lab.replay.cohort_start import RidgeStarts
from fleet.lab.replay.cohort_state import CohortState, LoraRecipe, scores
from fleet.lab.replay.federated import NodeSamples
from fleet.lab.replay.forgetting import CheckpointFiles, forget_by_replay
from fleet.lab.replay.hidden_layer import PairCodes
from fleet.lab.verification.evidence import AdapterKind, Canary, DigestPair, ExactEvidence
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.metrics import named
from hwmodel import Cost

HIDDEN = 256
#: Enrolled people for each shard, about; there are at least two shards.
PEOPLE_PER_SHARD = 5
#: Rounds after the forget.
MORE_ROUNDS = 20
CANARY = "canary"


class CohortVerification:
    """A fleet's cohorts, trained with everybody and a canary; each forget starts from there.

    Of the first stranger's samples, `canary_samples` are planted, and as many again ask for the canary.
    """

    def __init__(self, fleet: CapturedFleet, seed: int, canary_samples: int) -> None:
        self._fleet, self._two = fleet, TwoLayerFleet.of(seed, fleet, HIDDEN)
        self._recipe = LoraRecipe(a_seed=seed)
        self._asked = self._two.strangers.at(slice(None), slice(canary_samples, 2 * canary_samples))
        planted = self._two.strangers.at(0, slice(0, canary_samples))
        first, *others = self._two.nodes
        self._nodes = (replace(first, people={**first.people, CANARY: planted}), *others)
        everybody, shards = (*fleet.enrolled, CANARY), max(2, len(fleet.enrolled) // PEOPLE_PER_SHARD)
        plans = shard_plans(replace(self._two, tags=everybody), seed, self._recipe, shards, staggered=True)
        self._plans = [plan for plan in plans if plan.entries]
        self._checkpoints: dict[tuple[int, int], CohortState] = {}
        self._states = [self._trained(plan, self._nodes, self._keep(plan)) for plan in self._plans]
        self.replay_cost = Cost()

    def forget(self, name: str) -> ExactEvidence:
        """Forget a person and the canary by replay; return what shows that nothing is left."""
        gone = (name, CANARY)
        before = self._named(self._states, self._asked, CANARY)
        plans, states = list(self._plans), list(self._states)
        nodes = self._nodes
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = CheckpointFiles(Path(folder) / "checkpoints", FileKeyStore(Path(folder) / "keys"), "verify")
            for (shard, number), state in self._checkpoints.items():
                checkpoints.save(shard, number, state)
            for tag in gone:
                at = self._place(tag)
                starts = RidgeStarts(nodes, self._recipe.gain)
                result = forget_by_replay(plans[at], nodes, starts, checkpoints, tag)
                plans[at], states[at] = result.plan, result.state
                self.replay_cost += work_cost(result.plan, result.work, nodes[0])
                nodes = tuple(node.without(tag) for node in nodes)
        never = [self._trained(plan, nodes) for plan in plans]
        mine = self._place(name)
        spared = [k for k in range(len(plans)) if k not in (mine, self._place(CANARY))]
        unaffected = DigestPair(_digest([states[k] for k in spared]), _digest([never[k] for k in spared]))
        truth = torch.tensor([k for k, tag in enumerate(self._two.truth) if tag == name])
        return ExactEvidence(
            AdapterKind.COHORT,
            _digest(states),
            _digest(never),
            self._named(states, self._two.asked.at(slice(None), truth), name),
            Canary(before, self._named(states, self._asked, CANARY)),
            unaffected=unaffected if spared else None,
            # Nodes that were restored have the codes again; rounds do not ask for them.
            later=DigestPair(
                self._later(plans[mine], self._nodes, states[mine]).digest(),
                self._later(plans[mine], nodes, never[mine]).digest(),
            ),
            later_rounds=MORE_ROUNDS,
        )

    def _place(self, tag: str) -> int:
        return next(k for k, plan in enumerate(self._plans) if tag in plan.entries)

    def _keep(self, plan: CohortPlan) -> Callable[[int, CohortState], None]:
        def keep(number: int, state: CohortState) -> None:
            self._checkpoints[plan.shard, number] = state

        return keep

    def _trained(
        self,
        plan: CohortPlan,
        nodes: Sequence[NodeSamples],
        on_checkpoint: Callable[[int, CohortState], None] | None = None,
    ) -> CohortState:
        return train_cohort(plan, nodes, RidgeStarts(nodes, self._recipe.gain), on_checkpoint=on_checkpoint)

    def _later(self, plan: CohortPlan, nodes: Sequence[NodeSamples], state: CohortState) -> CohortState:
        """Return a shard after further rounds."""
        rounds = self._recipe.rounds + MORE_ROUNDS
        taking = scheduled_participation(plan.fleet_seed, plan.shard, plan.node_ids, rounds, ABSENT_SHARE)
        longer = replace(plan, recipe=replace(self._recipe, rounds=rounds), participation=taking)
        starts = RidgeStarts(nodes, self._recipe.gain)
        return train_cohort(longer, nodes, starts, first_round=self._recipe.rounds, state=state)

    def _named(self, states: Sequence[CohortState], pairs: PairCodes, tag: str) -> Rate:
        """Return how many samples are accepted and named as a person's, by all shards together."""
        tags = [t for state in states for t in state.tags]
        logits: Tensor = torch.cat([scores(self._recipe, s, pairs, self._two.centre) for s in states], dim=2)
        return named(logits, tags.index(tag) if tag in tags else -1, 0.0)


def _digest(states: Sequence[CohortState]) -> str:
    return sha256("\n".join(state.digest() for state in states).encode()).hexdigest()
