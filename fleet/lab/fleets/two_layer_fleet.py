"""Two-layer fleet: a second, random layer behind the backbone of every chip, which LoRA workloads start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from reram_fleet.cohorts import shard_of
from torch import Tensor

from fleet.lab.fleets.captured_fleet import PRESET, CapturedFleet
from fleet.lab.replay.cohort import CohortPlan, WorkDone, scheduled_participation
from fleet.lab.replay.cohort_state import LoraRecipe
from fleet.lab.replay.federated import NodeSamples, training_cost
from fleet.lab.replay.hidden_layer import HiddenLayer, PairCodes, public_centre
from hwmodel import Cost, DeviceModels, EnergyLedger, keyed_seed, load_preset

#: Chance that a node misses a round of a staggered plan.
ABSENT_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class TwoLayerFleet:
    """Captured pairs of everybody on every chip."""

    #: What each node has of its people, and the public people.
    nodes: tuple[NodeSamples, ...]
    #: Enrolled people, sorted.
    tags: tuple[str, ...]
    #: Pairs ``[N, B, ...]`` of the enrolled people's test samples and of strangers.
    asked: PairCodes
    strangers: PairCodes
    #: Tag of each asked sample.
    truth: tuple[str, ...]
    #: int32 ``[N, hidden]``.
    centre: Tensor
    #: Of the layer's programming and reads.
    ledger: EnergyLedger

    @classmethod
    def of(cls, seed: int, fleet: CapturedFleet, hidden: int, models: DeviceModels | None = None) -> TwoLayerFleet:
        """Program a second layer onto the chips of a seed, and drive it with everybody's features."""
        public = torch.from_numpy(fleet.public.codes)
        ids = [f"n{node}" for node in range(len(public))]
        ledger = EnergyLedger(len(ids))
        layer = HiddenLayer.program(public.shape[2], hidden, load_preset(PRESET), seed, ids, ledger, models)
        known = layer.capture(public, ledger)
        centre = public_centre(known.drives)
        taken: list[dict[str, PairCodes]] = [{} for _ in ids]
        for name in fleet.enrolled:
            where, pairs = fleet.places[name], layer.capture(fleet.train[name], ledger)
            for turn, node in enumerate(where):
                taken[node][name] = pairs.at(node, slice(turn, None, len(where)))
        codes, truth = fleet.asked
        return cls(
            tuple(NodeSamples(i, taken[n], known.at(n), centre[n]) for n, i in enumerate(ids)),
            fleet.enrolled,
            layer.capture(codes, ledger),
            layer.capture(fleet.strangers, ledger),
            truth,
            centre,
            ledger,
        )


def shard_plans(
    fleet: TwoLayerFleet, seed: int, recipe: LoraRecipe, shards: int, *, staggered: bool = False
) -> list[CohortPlan]:
    """Return the plans of shards; staggered, people enter over the rounds and nodes miss some."""
    ids = tuple(node.node_id for node in fleet.nodes)
    entries = {tag: keyed_seed(seed, "cohort.entry", tag) % recipe.rounds if staggered else 0 for tag in fleet.tags}
    absent = ABSENT_SHARE if staggered else 0.0
    return [
        CohortPlan(
            seed,
            shard,
            recipe,
            ids,
            scheduled_participation(seed, shard, ids, recipe.rounds, absent),
            {tag: entry for tag, entry in entries.items() if shard_of(tag, seed, shards) == shard},
        )
        for shard in range(shards)
    ]


def work_cost(plan: CohortPlan, work: WorkDone, node: NodeSamples) -> Cost:
    """Return what the rounds that were computed took of the nodes' digital units, all of them as wide as this one."""
    inputs, hidden, preset = node.public.inputs.shape[-1], len(node.centre), load_preset(PRESET)
    parts = [
        training_cost(
            preset, plan.recipe, inputs, hidden, sum(entry <= number for entry in plan.entries.values()), samples
        )
        for (number, _), samples in work.samples.items()
    ]
    return sum(parts, start=Cost())
