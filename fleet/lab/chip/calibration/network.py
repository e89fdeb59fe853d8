"""The paper's small networks, trained on public data for the experiments with calibrated chips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleet.lab.chip.calibration.data import PublicData
from fleet.lab.paper.networks import FaceMixer, SpikingLsm
from hwmodel import keyed_generator, keyed_seed

_BATCH = 64

#: Either has ``features(inputs)`` and ``readout``.
Network = FaceMixer | SpikingLsm


@dataclass(frozen=True, slots=True)
class _Recipe:
    """Recipe of a network and its training by AdamW with a cosine schedule: seconds on one core."""

    make: Callable[[int], Network]
    steps: int
    learning_rate: float
    weight_decay: float


_RECIPES = {
    "face-mixer": _Recipe(FaceMixer, steps=300, learning_rate=1e-2, weight_decay=0.1),
    "speaker-lsm": _Recipe(SpikingLsm, steps=100, learning_rate=5e-4, weight_decay=0.1),
}


def train_network(name: str, data: PublicData, *, seed: int) -> Network:
    """Return a trained network, frozen and in evaluation mode; the same for the same seed and torch build."""
    recipe = _RECIPES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(seed, "restore.weights", name))
        network = recipe.make(data.classes)
    order = keyed_generator(seed, "restore.batches", name)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    for _ in range(recipe.steps):
        batch = torch.randint(0, len(data.training), (_BATCH,), generator=order)
        optimiser.zero_grad()
        functional.cross_entropy(network(data.training[batch]), data.training_labels[batch]).backward()  # type: ignore[no-untyped-call]  # torch
        optimiser.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the share of inputs whose own class scores highest, ``[...]``, of ``[..., B, classes]``."""
    return (scores.argmax(dim=-1) == labels).to(torch.float64).mean(dim=-1)


def features_and_scores(module: nn.Module, inputs: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Return features ``[N, B, F]`` and scores ``[N, B, classes]`` of a network, or of its copy on chips.

    The module is a `Network`, or ``ProgrammedModel.module`` of one on N nodes; each node gets the inputs ``[B, ...]``.
    """
    folded = inputs.repeat(nodes, *(1 for _ in inputs.shape[1:]))
    with torch.no_grad():
        features = module.features(folded)  # type: ignore[operator]
        scores = module.readout(features)  # type: ignore[operator]
    return features.unflatten(0, (nodes, -1)), scores.unflatten(0, (nodes, -1))
