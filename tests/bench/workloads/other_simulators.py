"""The baseline workload on other simulators: JAX's vmap, and Apple's pfl. Both are in the extra `bench` only."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from tests.bench.workloads.baseline_mlp import BATCH, LEARNING_RATE, PARTS, SAMPLES, SIZES, Net, X, Y

#: Nodes that JAX takes at a time: its best in `simulation.md`'s measurement.
_CHUNK = 50


def jax_rounds(nodes: int, rounds: int) -> tuple[list[float], list[np.ndarray]]:
    """Train by vmap over nodes and scan over chunks, all of it compiled; returns seconds of rounds, and the arrays."""
    import jax
    from jax import numpy as jnp

    def loss(weights: Any, x: Any, y: Any) -> Any:
        for layer, (w, b) in enumerate(weights):
            x = x @ w.T + b
            x = jax.nn.relu(x) if layer < len(weights) - 1 else x
        return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1).mean()

    def node(weights: Any, x: Any, y: Any) -> Any:
        for start in range(0, SAMPLES, BATCH):
            part = slice(start, start + BATCH)
            gradients = jax.grad(loss)(weights, x[part], y[part])
            weights = jax.tree.map(lambda w, g: w - LEARNING_RATE * g, weights, gradients)
        return weights

    chunk = min(_CHUNK, nodes)
    if nodes % chunk:
        raise ValueError(f"{nodes} nodes are not chunks of {chunk}")
    data, labels = jnp.asarray(X), jnp.asarray(Y)

    @jax.jit
    def one_round(weights: Any) -> Any:
        def add(total: Any, parts: Any) -> Any:
            trained = jax.vmap(node, (None, 0, 0))(weights, data[parts], labels[parts])
            return jax.tree.map(lambda t, w: t + w.sum(axis=0), total, trained), None

        parts = (jnp.arange(nodes) % PARTS).reshape(-1, chunk)
        total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, weights), parts)
        return jax.tree.map(lambda t: t / nodes, total)

    state = [value.numpy() for value in Net().state_dict().values()]
    weights = [(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(state[::2], state[1::2], strict=True)]
    seconds = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        weights = jax.block_until_ready(one_round(weights))
        seconds.append(time.perf_counter() - began_s)
    return seconds, [np.asarray(value) for pair in weights for value in pair]


def pfl_rounds(nodes: int, rounds: int) -> tuple[list[float], list[np.ndarray]]:
    """Train by pfl's federated averaging on its simulated backend; returns seconds of rounds, and the arrays."""
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.dataset import Dataset
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel

    class Model(Net):
        def loss(self, x: torch.Tensor, y: torch.Tensor, eval: bool = False) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(self(x), y)

        def metrics(self, x: torch.Tensor, y: torch.Tensor, eval: bool = True) -> dict[str, Any]:
            return {}

    class Seconds(TrainingProcessCallback):
        def __init__(self) -> None:
            self.taken: list[float] = []
            self._last_s = time.perf_counter()

        def after_central_iteration(self, *arguments: Any, **named: Any) -> tuple[bool, Any]:
            now_s = time.perf_counter()
            self.taken.append(now_s - self._last_s)
            self._last_s = now_s
            return False, Metrics()

    data = [Dataset((torch.from_numpy(x), torch.from_numpy(y))) for x, y in zip(X, Y, strict=True)]
    turn = iter(range(nodes * (rounds + 1)))
    users = FederatedDataset(lambda user: data[user % PARTS], lambda: next(turn) % nodes)
    net = Model()
    model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0))
    seconds = Seconds()
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=rounds + 1,
            train_cohort_size=nodes,
            val_cohort_size=None,
        ),
        SimulatedBackend(training_data=users, val_data=users),
        model,
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=LEARNING_RATE, local_batch_size=BATCH),
        NNEvalHyperParams(local_batch_size=SIZES[0]),
        callbacks=[seconds],
    )
    return seconds.taken, [value.numpy() for value in net.state_dict().values()]
