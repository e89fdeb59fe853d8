"""Faces behind a second, random layer on every chip: what the LoRA workloads start from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from reram_fleet.cohorts import shard_of
from torch import Tensor

from fleet.lab.fleets.face_fleet import PRESET, FaceFleet
from fleet.lab.replay.cohort import CohortPlan, scheduled_participation
from fleet.lab.replay.cohort_state import CohortState, LoraRecipe, scores
from fleet.lab.replay.federated import NodeSamples
from fleet.lab.replay.hidden_layer import HiddenLayer, PairCodes, public_centre
from fleet.lab.verification.attacks import auc
from hwmodel import DeviceModels, EnergyLedger, keyed_seed, load_preset

#: Chance that a node misses a round of a staggered plan.
ABSENT_SHARE = 0.1


@dataclass(frozen=True)
class Rates:
    """Over all nodes, shares of 1.

    Attributes
    ----------
    accuracy
        Test photos of enrolled people whose largest logit is of the right person.
    auroc
        Known people's largest logit against strangers'.
    """

    accuracy: float
    auroc: float


@dataclass(frozen=True, eq=False)
class TwoLayerFaces:
    """Captured pairs of everybody on every chip.

    Attributes
    ----------
    nodes
        What each node has of its people, and the public people.
    tags
        Enrolled people, sorted.
    asked, strangers
        Pairs ``[N, B, ...]`` of the enrolled people's test photos and of strangers.
    truth
        Tag of each asked sample.
    centre
        int32 ``[N, hidden]``.
    ledger
        Of the layer's programming and reads.
    """

    nodes: tuple[NodeSamples, ...]
    tags: tuple[str, ...]
    asked: PairCodes
    strangers: PairCodes
    truth: tuple[str, ...]
    centre: Tensor
    ledger: EnergyLedger

    @classmethod
    def of(cls, seed: int, faces: FaceFleet, hidden: int, models: DeviceModels | None = None) -> TwoLayerFaces:
        """Program a second layer onto the chips of a seed, and drive it with everybody's features."""
        public = torch.from_numpy(faces.public.codes)
        ids = [f"n{node}" for node in range(len(public))]
        ledger = EnergyLedger(len(ids))
        layer = HiddenLayer.program(public.shape[2], hidden, load_preset(PRESET), seed, ids, ledger, models)
        known = layer.capture(public, ledger)
        centre = public_centre(known.drives)
        taken: list[dict[str, PairCodes]] = [{} for _ in ids]
        for name in faces.enrolled:
            where, pairs = faces.places[name], layer.capture(faces.train[name], ledger)
            for turn, node in enumerate(where):
                taken[node][name] = pairs.at(node, slice(turn, None, len(where)))
        codes, truth = faces.asked
        return cls(
            tuple(NodeSamples(i, taken[n], known.at(n), centre[n]) for n, i in enumerate(ids)),
            faces.enrolled,
            layer.capture(codes, ledger),
            layer.capture(faces.strangers, ledger),
            truth,
            centre,
            ledger,
        )

    def rates(self, recipe: LoraRecipe, states: Sequence[CohortState], among: Collection[str] | None = None) -> Rates:
        """Return how well cohorts that know different people identify together.

        Parameters
        ----------
        recipe, states
            As they were trained.
        among
            People whose test photos are asked; everybody in the cohorts, if left out.
        """
        tags = [tag for state in states for tag in state.tags]
        column = {tag: k for k, tag in enumerate(tags) if among is None or tag in among}
        known, strange = (
            torch.cat([scores(recipe, state, pairs, self.centre) for state in states], dim=2)
            for pairs in (self.asked, self.strangers)
        )
        right = torch.tensor([column.get(tag, -1) for tag in self.truth])
        mine = known[:, right >= 0]
        hits = mine.argmax(dim=2) == right[right >= 0]
        return Rates(float(hits.double().mean()), auc(mine.amax(dim=2), strange.amax(dim=2)))


def shard_plans(
    fleet: TwoLayerFaces, seed: int, recipe: LoraRecipe, shards: int, *, staggered: bool = False
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
