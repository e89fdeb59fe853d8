"""Made-up samples of stages, and what is learnt from them; as a program it prints digests of that."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Sequence

import torch
from reram_fleet.v1.types_pb2 import NEURON_LAW_TANH
from torch import Tensor
from torch.nn.functional import pad

from edge_node.recognition.lora.output_layer import nobody
from edge_node.recognition.lora.stage import Stage, StageSamples
from edge_node.recognition.training import exact, logistic, neggrad
from edge_node.recognition.training.factors import Factors
from edge_node.recognition.training.logistic import AskedSamples, LabelledSamples, Recipe
from hwmodel import keyed_uint16

#: Of three nodes.
SAMPLES = (60, 190, 101)
PEOPLE = 5
STAGES = {
    "output layer": Stage(16),
    "rectifier": Stage(rank=32, neurons=64),
    "tanh in segments": Stage(rank=8, neurons=12, segments=4, law=NEURON_LAW_TANH),
    "tanh of a wide A x": Stage(rank=32, neurons=8, segments=4, law=NEURON_LAW_TANH),
}


def made_up(stage: Stage) -> tuple[Factors, LabelledSamples]:
    """Return factors that are not zero, so that every sample weighs in, and samples of three nodes."""
    longest, nodes = max(SAMPLES), len(SAMPLES)

    def drawn(name: str, *shape: int, scale: float, bits: int) -> Tensor:
        codes = keyed_uint16(3, f"exact.{name}", count=math.prod(shape)).reshape(shape)
        return exact.on_grid((codes.double() / 2**15 - 1) * scale, bits)

    real = (torch.arange(longest) < torch.tensor(SAMPLES)[:, None])[:, :, None]
    person = torch.arange(longest) % (2 * PEOPLE)
    target = (person[:, None] == torch.arange(PEOPLE)).double().expand(nodes, -1, -1) * real
    shape = nodes, longest, stage.segments
    reads = StageSamples.of(
        stage,
        drawn("u", *shape, stage.rank, scale=1.5, bits=5) * real[..., None],
        drawn("y", *shape, stage.neurons, scale=2.0, bits=7) * real[..., None],
    )
    samples = LabelledSamples(
        AskedSamples(reads, nobody(reads), (drawn("base", nodes, longest, PEOPLE, scale=6.0, bits=12) * real).float()),
        target.float(),
        (exact.class_weights(target, real, 0.05) * real).float(),
    )
    start = Factors(
        drawn("b", stage.neurons, stage.rank, scale=0.5, bits=14).expand(nodes, -1, -1).clone(),
        drawn("rows", PEOPLE, stage.width, scale=0.4, bits=14).expand(nodes, -1, -1).clone(),
    )
    return start, samples


def at(samples: LabelledSamples, nodes: Sequence[int], order: Tensor | None = None, longer: int = 0) -> LabelledSamples:
    """Return some nodes' samples, some of them, in an order, with more padding."""

    def taken(values: Tensor) -> Tensor:
        some = values[torch.tensor(nodes)]
        some = some if order is None else some[:, order]
        return pad(some, (0, 0) * (some.ndim - 2) + (0, longer))

    asked = samples.asked
    reads = StageSamples(asked.reads.stage, taken(asked.reads.projected), taken(asked.reads.drives))
    return LabelledSamples(
        AskedSamples(reads, asked.nobody[torch.tensor(nodes)], taken(asked.base)),
        taken(samples.target),
        taken(samples.weight),
    )


def every(samples: LabelledSamples) -> Tensor:
    """Return all rows of all nodes, bool [N, K]."""
    return torch.ones(len(samples.target), samples.target.shape[2], dtype=torch.bool)


def learn(stage: Stage, start: Factors, samples: LabelledSamples) -> Tensor:
    """Train and then repair, and return all that comes out, float64 [N, numbers]."""
    trained = logistic.train(Recipe.of(stage), start, samples, every(samples))
    repaired = neggrad.unlearn(trained, samples, samples.asked, samples.weight.any(dim=2), every(samples))
    loss = samples.loss(samples.asked.logits(trained))
    parts = (trained.b, trained.rows, repaired.b, repaired.rows, loss[:, None])
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def digests() -> list[str]:
    """Return a digest of what is learnt, by stage."""
    found = (learn(stage, *made_up(stage)) for stage in STAGES.values())
    return [hashlib.sha256((values * 2.0**40).numpy().astype("<f8").tobytes()).hexdigest() for values in found]


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    sys.stdout.write(" ".join(digests()))
