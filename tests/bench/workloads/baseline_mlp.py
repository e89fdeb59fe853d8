"""Workload by which simulators are compared: a small classifier, one epoch of SGD on every node, plain averaging.

A network 32-96-64-10 with ReLU (10,026 parameters), 64 samples per node in batches of 32, learning rate .1. There are
data of 200 nodes, which larger fleets have in turn, so that data are no part of a simulator's memory. It is here three
times: as the loss of one node (`Net`), as a `ClientApp`, and as a `BatchedApp` with its gradients written out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from fleet.sim.grid import BatchCall, BatchedApp, BatchReply

SIZES = (32, 96, 64, 10)
SAMPLES, BATCH, LEARNING_RATE = 64, 32, 0.1
#: Nodes that have data of their own.
PARTS = 200

_RNG = np.random.default_rng(3)
X = _RNG.standard_normal((PARTS, SAMPLES, SIZES[0]), dtype=np.float32)
Y = _RNG.integers(0, SIZES[-1], (PARTS, SAMPLES))


class Net(nn.Sequential):
    """The network of one node, with the same weights each time."""

    def __init__(self) -> None:
        torch.manual_seed(5)
        first, second, third = (nn.Linear(i, o) for i, o in pairwise(SIZES))
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), third)


def initial() -> ArrayRecord:
    """Return the weights that a simulation starts from."""
    return ArrayRecord({name: Array(value.numpy()) for name, value in Net().state_dict().items()})


def train_one(net: nn.Module, part: int) -> float:
    """Train one node for an epoch, as a loop over nodes does; returns its last loss."""
    x, y = torch.from_numpy(X[part]), torch.from_numpy(Y[part])
    optimizer, loss_of = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE), nn.CrossEntropyLoss()
    for start in range(0, SAMPLES, BATCH):
        optimizer.zero_grad()
        loss = loss_of(net(x[start : start + BATCH]), y[start : start + BATCH])
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def client_app() -> ClientApp:
    """Return the app of one node, in the shape of Flower's quickstart."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        net = Net()
        net.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        loss = train_one(net, int(context.node_config["partition-id"]) % PARTS)
        metrics = MetricRecord({"num-examples": SAMPLES, "loss": loss})
        return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)

    return app


@dataclass
class Nodes:
    """Weights of N nodes as [N, out, in] and biases as [N, 1, out], and the loss of the last step."""

    weights: list[Tensor]
    biases: list[Tensor]
    loss: Tensor


@dataclass
class BatchedMlp(BatchedApp[Nodes, tuple[Tensor, Tensor]]):
    """One epoch of SGD on N nodes: each product is one call, and each step is written into the weights.

    What is in between stays in buffers that chunks share.
    """

    _x: Tensor = field(default_factory=lambda: torch.from_numpy(X))
    _target: Tensor = field(default_factory=lambda: nn.functional.one_hot(torch.from_numpy(Y)).float())
    _buffers: dict[int, list[Tensor]] = field(default_factory=dict)

    def init(self, call: BatchCall) -> Nodes:
        """Give every node the weights that were sent."""
        sent = call.content.array_records["arrays"]
        return self.start({name: torch.from_numpy(array.numpy()) for name, array in sent.items()}, len(call))

    def start(self, sent: Mapping[str, Tensor], nodes: int) -> Nodes:
        """Give N nodes the same weights."""
        weights = [value.expand(nodes, -1, -1).clone() for value in sent.values() if value.ndim == 2]
        biases = [value.expand(nodes, 1, -1).clone() for value in sent.values() if value.ndim == 1]
        return Nodes(weights, biases, torch.zeros(nodes))

    def batches(self, call: BatchCall) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield samples [N, BATCH, 32] and what they should be, [N, BATCH, 10]."""
        return self.data(torch.from_numpy(call.partitions))

    def data(self, parts: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of some parts of the data."""
        x, target = self._x[parts % PARTS], self._target[parts % PARTS]
        for start in range(0, SAMPLES, BATCH):
            yield x[:, start : start + BATCH], target[:, start : start + BATCH]

    def step(self, state: Nodes, batch: tuple[Tensor, Tensor]) -> Nodes:
        """Take one step on every node."""
        x, target = batch
        (w1, w2, w3), (b1, b2, b3) = state.weights, state.biases
        h1, h2, logits, g1, g2 = self._buffer(len(x))
        torch.baddbmm(b1, x, w1.mT, out=h1).relu_()
        torch.baddbmm(b2, h1, w2.mT, out=h2).relu_()
        torch.baddbmm(b3, h2, w3.mT, out=logits)
        logs = torch.log_softmax(logits, dim=2)
        state.loss = -(logs * target).sum(dim=(1, 2)) / BATCH
        g3 = logs.exp_().sub_(target)
        torch.bmm(g3, w3, out=g2)
        torch.ops.aten.threshold_backward.grad_input(g2, h2, 0, grad_input=g2)
        torch.bmm(g2, w2, out=g1)
        torch.ops.aten.threshold_backward.grad_input(g1, h1, 0, grad_input=g1)
        rate = LEARNING_RATE / BATCH
        for weight, bias, gradient, seen in ((w3, b3, g3, h2), (w2, b2, g2, h1), (w1, b1, g1, x)):
            weight.baddbmm_(gradient.mT, seen, alpha=-rate)
            bias.sub_(gradient.sum(dim=1, keepdim=True), alpha=rate)
        return state

    def final(self, state: Nodes) -> BatchReply:
        """Send everything back, by the names of `Net`."""
        arrays = {}
        for layer, (weight, bias) in enumerate(zip(state.weights, state.biases, strict=True)):
            arrays[f"{2 * layer}.weight"] = weight.numpy()
            arrays[f"{2 * layer}.bias"] = bias[:, 0].numpy()
        return BatchReply(arrays, {"num-examples": np.full(len(state.loss), SAMPLES), "loss": state.loss.numpy()})

    def _buffer(self, nodes: int) -> list[Tensor]:
        if nodes not in self._buffers:
            widths = (*SIZES[1:], SIZES[1], SIZES[2])
            self._buffers[nodes] = [torch.empty(nodes, BATCH, width) for width in widths]
        return self._buffers[nodes]


def bare_batch(app: BatchedMlp, sent: Mapping[str, Tensor], nodes: int, chunk: int) -> dict[str, Tensor]:
    """Run one round by nothing but arithmetic: train chunk after chunk, and average."""
    total: list[Tensor] = []
    for start in range(0, nodes, chunk):
        parts = torch.arange(start, min(start + chunk, nodes))
        state = app.start(sent, len(parts))
        for batch in app.data(parts):
            state = app.step(state, batch)
        layers = zip(state.weights, state.biases, strict=True)
        sums = [value.sum(dim=0) for weight, bias in layers for value in (weight, bias[:, 0])]
        total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
    return {name: value / nodes for name, value in zip(sent, total, strict=True)}
