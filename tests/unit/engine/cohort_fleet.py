"""A small fleet on made-up people for the tests of cohorts: real chips, integer codes, skewed labels."""

from __future__ import annotations

from pathlib import Path

import torch
from reram_fleet.crypto.key_store import FileKeyStore

from fleet.lab.replay.cohort import CohortPlan, scheduled_participation
from fleet.lab.replay.cohort_start import RidgeStarts
from fleet.lab.replay.cohort_state import LoraRecipe
from fleet.lab.replay.federated import NodeSamples
from fleet.lab.replay.forgetting import CheckpointFiles
from fleet.lab.replay.hidden_layer import HiddenLayer, PairCodes, public_centre
from hwmodel import keyed_normal, load_preset

SEED = 17
NODES = ("east", "north", "west")
INPUTS, HIDDEN, PUBLIC = 48, 16, 24
#: Who is known where: each node has other people, each person is on one or two nodes.
PLACES = {
    "anna": ("east",),
    "bela": ("east", "north"),
    "cleo": ("north",),
    "dora": ("north", "west"),
    "emil": ("west",),
}
ENTRIES = {"anna": 0, "bela": 2, "cleo": 0, "dora": 1, "emil": 2}
RECIPE = LoraRecipe(a_seed=5, rank=4, rounds=4, steps=3, negatives=10)


def features(who: str, samples: int, spread: float = 22.0) -> torch.Tensor:
    """Feature codes of a made-up person, int32 [samples, INPUTS]: a prototype and noise."""
    prototype = 40 * keyed_normal(SEED, "test.prototype", who, count=INPUTS)
    noise = spread * keyed_normal(SEED, "test.noise", who, count=samples * INPUTS).reshape(samples, INPUTS)
    return (prototype + noise).round().to(torch.int32)


def strangers() -> torch.Tensor:
    """Public people's features, two samples each."""
    return torch.cat([features(f"public-{k}", 2) for k in range(PUBLIC // 2)])


def samples_of(hidden: int = HIDDEN, samples: int = 3) -> tuple[NodeSamples, ...]:
    """What each node has captured: three samples of each of its people, and the public ones."""
    layer = HiddenLayer.program(INPUTS, hidden, load_preset("180nm-1t1r"), SEED, NODES)

    def captured(codes: torch.Tensor) -> PairCodes:
        return layer.capture(codes.expand(len(NODES), -1, -1))

    public = captured(strangers())
    centre = public_centre(public.drives)
    people = {who: captured(features(who, samples)) for who in PLACES}
    return tuple(
        NodeSamples(
            node_id,
            {who: people[who].at(n) for who, places in PLACES.items() if node_id in places},
            public.at(n),
            centre[n],
        )
        for n, node_id in enumerate(NODES)
    )


def plan_of(entries: dict[str, int] = ENTRIES, recipe: LoraRecipe = RECIPE, absent_share: float = 0.2) -> CohortPlan:
    taking = scheduled_participation(SEED, 0, NODES, recipe.rounds, absent_share)
    return CohortPlan(SEED, 0, recipe, NODES, taking, entries)


def starts_of(nodes: tuple[NodeSamples, ...], recipe: LoraRecipe = RECIPE) -> RidgeStarts:
    return RidgeStarts(nodes, recipe.gain)


def checkpoints_in(folder: Path) -> CheckpointFiles:
    return CheckpointFiles(folder / "checkpoints", FileKeyStore(folder / "keys"), "test")
