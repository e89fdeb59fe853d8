"""Cohort: a fixed shard of people whose LoRA is trained together, in a way that can be repeated to the bit.

Everything that decides a round is an input that is logged: who enters when, who takes part, and streams that are keyed
by (shard, round, node). So whoever is removed shifts nobody else's draws, and training without a person is what replay
computes. Which shard a person is in depends on their tag alone, never on who else is enrolled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from edge_node.errors import RoundError
from edge_node.recognition.lora.frozen_base import FrozenBase
from fleet.lab.lora.adapter import LoraAdapter, LoraKind, LoraSpec, cohort_name
from fleet.lab.replay.cohort_state import LAYER, SCALING, CohortState, LoraRecipe, as_values
from fleet.lab.replay.federated import NodeSamples, TrainingBatch, averaged_state, train_round
from hwmodel import keyed_uint16

#: Start rows, int32 [hidden] by tag, of people who enter, given everybody who is in the cohort from now on.
StartRows = Callable[[tuple[str, ...], tuple[str, ...]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class CohortPlan:
    """Plan of one shard's training: all that decides it, apart from captured codes."""

    #: Key of its streams.
    fleet_seed: int
    shard: int
    #: How each round is computed.
    recipe: LoraRecipe
    #: The nodes, in the order of their messages.
    node_ids: tuple[str, ...]
    #: Of each round, the nodes that took part: logged, never decided again. Nodes are asked by schedule and answer also
    #: when they hold nothing of the shard: who answers says nothing about who is enrolled.
    participation: tuple[tuple[str, ...], ...]
    #: Round before which each person entered, by tag.
    entries: Mapping[str, int]

    def __post_init__(self) -> None:
        rounds = self.recipe.rounds
        if len(self.participation) != rounds or any(
            not taking or not set(taking) <= set(self.node_ids) for taking in self.participation
        ):
            raise RoundError(
                f"a plan of {rounds} rounds names at least one of the nodes {list(self.node_ids)} each; got "
                f"{[list(taking) for taking in self.participation]}"
            )
        late = {tag: entry for tag, entry in self.entries.items() if not 0 <= entry < rounds}
        if late:
            raise RoundError(f"people enter before one of the rounds 0 to {rounds - 1}; got {late}")

    def without(self, tag: str) -> CohortPlan:
        """Return the plan as if a person had never entered; `RoundError` if they are not in it."""
        if tag not in self.entries:
            raise RoundError(f"nobody with the tag {tag!r} is in shard {self.shard}")
        return replace(self, entries={kept: entry for kept, entry in self.entries.items() if kept != tag})

    def entering(self, round_number: int) -> tuple[str, ...]:
        """Return who enters before a round, sorted."""
        return tuple(sorted(tag for tag, entry in self.entries.items() if entry == round_number))

    def negatives(self, round_number: int, node_id: str, samples: int) -> Tensor:
        """Return which public samples a node trains with in a round, int64, sorted: its own keyed stream."""
        draws = keyed_uint16(self.fleet_seed, "cohort.negatives", self.shard, round_number, node_id, count=samples)
        order = np.argsort(draws.numpy(), kind="stable")[: self.recipe.negatives]
        return torch.from_numpy(np.sort(order))

    def node_steps(self, first_round: int = 0) -> int:
        """Return the training steps of all nodes from a round on."""
        return sum(len(taking) for taking in self.participation[first_round:]) * self.recipe.steps


@dataclass
class WorkDone:
    """Counts of what was computed: training steps and samples times steps over all nodes; samples by (round, node)."""

    node_steps: int = 0
    sample_steps: int = 0
    samples: dict[tuple[int, str], int] = field(default_factory=dict)


def train_cohort(
    plan: CohortPlan,
    nodes: Sequence[NodeSamples],
    starts: StartRows,
    *,
    first_round: int = 0,
    end_round: int | None = None,
    state: CohortState | None = None,
    on_checkpoint: Callable[[int, CohortState], None] | None = None,
    work: WorkDone | None = None,
) -> CohortState:
    """Train a shard from a round on; the same input gives the same integers anywhere.

    `RoundError` if the nodes are not those of the plan, or somebody in the plan has no samples anywhere.

    Parameters
    ----------
    nodes
        Captured codes of every node of the plan, in its order. Samples of people who are not in the plan, or not yet,
        are not looked at.
    first_round, end_round, state
        Where to begin, with the state before that round, and the round that is not trained any more; all rounds, from
        nothing, if left out.
    on_checkpoint
        Called with (round, state before it) whenever somebody enters: what a replay can start from.
    work
        Is added to.
    """
    if tuple(node.node_id for node in nodes) != plan.node_ids:
        raise RoundError(f"the plan has nodes {list(plan.node_ids)}; got {[node.node_id for node in nodes]}")
    unseen = sorted(tag for tag in plan.entries if not any(tag in node.people for node in nodes))
    if unseen:
        raise RoundError(f"no node has captured codes of {', '.join(unseen)}, who are in the plan")
    recipe, by_id = plan.recipe, {node.node_id: node for node in nodes}
    if state is None:
        state = CohortState.empty(len(nodes[0].centre), recipe.rank)
    for round_number in range(first_round, recipe.rounds if end_round is None else end_round):
        if new := plan.entering(round_number):
            if on_checkpoint is not None:
                on_checkpoint(round_number, state)
            state = state.entered(starts(tuple(sorted({*state.tags, *new})), new))
        taking = [by_id[node_id] for node_id in plan.participation[round_number]]
        chosen = [plan.negatives(round_number, node.node_id, node.public.samples) for node in taking]
        batch = TrainingBatch.of(recipe, taking, state.tags, chosen)
        messages = [(sent.arrays(), sent.num_examples) for sent in train_round(recipe, state, batch)]
        state = averaged_state(state, messages)
        if work is not None:
            work.node_steps += len(taking) * recipe.steps
            work.sample_steps += int(batch.samples.sum()) * recipe.steps
            counts = zip(taking, batch.samples.tolist(), strict=True)
            work.samples |= {(round_number, node.node_id): count for node, count in counts}
    return state


def scheduled_participation(
    fleet_seed: int, shard: int, node_ids: Sequence[str], rounds: int, absent_share: float = 0.0
) -> tuple[tuple[str, ...], ...]:
    """Return a participation log in which each node misses a round with a chance, by its own keyed stream.

    For simulations; in a fleet the log is what happened. A round that everybody would miss has everybody.
    """
    log = []
    for round_number in range(rounds):
        here = tuple(
            node
            for node in node_ids
            if int(keyed_uint16(fleet_seed, "cohort.absent", shard, round_number, node, count=1))
            >= absent_share * 65536
        )
        log.append(here or tuple(node_ids))
    return tuple(log)


def cohort_adapter(
    state: CohortState, base: FrozenBase, recipe: LoraRecipe, shard: int, generation: int = 0
) -> LoraAdapter:
    """Return the hidden layer's part of a cohort as a LoRA: A by seed, B as trained.

    The rows of people are not in it: they belong to the output layer, which has one only for who is enrolled.
    """
    spec = LoraSpec(
        name=cohort_name(shard),
        kind=LoraKind.COHORT,
        task=base.task,
        base_digest=base.digest,
        layers=(LAYER,),
        rank=recipe.rank,
        alpha=SCALING * recipe.rank,
        a_seed=recipe.a_seed,
        built_at_generation=generation,
    )
    return LoraAdapter.build(spec, base, b={LAYER: as_values(state.hidden)})
