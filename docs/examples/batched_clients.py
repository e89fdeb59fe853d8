"""Federated training of a plain PyTorch model on a thousand nodes, as one batch per chunk.

`python docs/examples/batched_clients.py` trains a classifier with Flower's own FedAvg, on made-up data of which each
node has two of ten classes. The model and its loss are written for one node; `torch.func.vmap` gives them a node axis.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from fleet.sim.grid import BatchCall, BatchedApp, BatchedApps, BatchReply, VectorGrid

FEATURES, CLASSES, SAMPLES, BATCH = 32, 10, 64, 32

Weights = dict[str, Tensor]


def model() -> nn.Module:
    """Return the network of one node."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def samples_of(node: int, count: int, classes: list[int]) -> tuple[Tensor, Tensor]:
    """Return what a node has seen of some classes: float32 [count, FEATURES], and int64 [count]."""
    means = np.random.default_rng(0).normal(size=(CLASSES, FEATURES))
    rng = np.random.default_rng([1, node])
    labels = rng.choice(classes, count)
    seen = means[labels] + rng.normal(size=(count, FEATURES))
    return torch.from_numpy(seen.astype(np.float32)), torch.from_numpy(labels)


@dataclass
class Training:
    """State of N nodes: weights, loss and learning rate."""

    weights: Weights
    loss: Tensor
    learning_rate: float


class Classifier(BatchedApp[Training, tuple[Tensor, Tensor]]):
    """One epoch of SGD on every node."""

    def __init__(self) -> None:
        self._network = model()
        self._gradients = vmap(grad_and_value(self._loss))

    def _loss(self, weights: Weights, samples: Tensor, labels: Tensor) -> Tensor:
        logits = functional_call(self._network, weights, samples)
        return nn.functional.cross_entropy(logits, labels)

    def init(self, call: BatchCall) -> Training:
        """Give every node the weights that were sent."""
        sent = call.content.array_records["arrays"].to_torch_state_dict()
        weights = {name: value.expand(len(call), *value.shape) for name, value in sent.items()}
        rate = call.content.config_records["config"]["lr"]
        return Training(weights, torch.zeros(len(call)), float(rate))  # type: ignore[arg-type]

    def batches(self, call: BatchCall) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield [N, BATCH, FEATURES] and [N, BATCH]."""
        data = [samples_of(node, SAMPLES, [node % CLASSES, (node + 1) % CLASSES]) for node in call.partitions.tolist()]
        samples, labels = (torch.stack(parts) for parts in zip(*data, strict=True))
        for start in range(0, SAMPLES, BATCH):
            yield samples[:, start : start + BATCH], labels[:, start : start + BATCH]

    def step(self, state: Training, batch: tuple[Tensor, Tensor]) -> Training:
        """Take one step on every node."""
        gradients, state.loss = self._gradients(state.weights, *batch)
        state.weights = {name: value - state.learning_rate * gradients[name] for name, value in state.weights.items()}
        return state

    def final(self, state: Training) -> BatchReply:
        """Send everything back."""
        weights = {name: value.numpy() for name, value in state.weights.items()}
        return BatchReply(weights, {"num-examples": np.full(len(state.loss), SAMPLES), "loss": state.loss.numpy()})


def accuracy(arrays: ArrayRecord) -> float:
    """Return how often these weights are right about people whom no node has seen."""
    samples, labels = samples_of(-1 % 2**32, 2000, list(range(CLASSES)))
    with torch.no_grad():
        logits = functional_call(model(), dict(arrays.to_torch_state_dict()), samples)
    return float((logits.argmax(dim=1) == labels).float().mean())


def main(nodes: int = 1000, rounds: int = 5) -> float:
    """Train, and return the accuracy."""
    with VectorGrid(BatchedApps(Classifier()), nodes, chunk=100) as grid:
        result = FedAvg(fraction_evaluate=0.0).start(
            grid, ArrayRecord(model().state_dict()), num_rounds=rounds, train_config=ConfigRecord({"lr": 0.5})
        )
    return accuracy(result.arrays)


if __name__ == "__main__":
    sys.stdout.write(f"accuracy {main(*map(int, sys.argv[1:])):.3f}\n")
