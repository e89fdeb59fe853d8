"""A round of exact training of a stage beside the same round in float32."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from reram_fleet.code_ranges import FACES_64
from torch import Tensor

from edge_node.recognition.lora.output_layer import nobody
from edge_node.recognition.lora.stage import Stage
from edge_node.recognition.training import exact, logistic
from edge_node.recognition.training.factors import Factors
from edge_node.recognition.training.logistic import BASE_BITS, AskedSamples, LabelledSamples, Recipe, chunks
from fleet.lab.paper.methods import Adam
from hwmodel import keyed_normal
from tests.bench.side_by_side import Pair

PEOPLE, SAMPLES = 20, 100
assert FACES_64.stage is not None
STAGE = Stage(FACES_64.stage.rank, FACES_64.stage.neurons)
RECIPE = Recipe.of(STAGE)


def training_pairs() -> Iterator[Pair]:
    """Yield a round on one node, on eight, and on two hundred."""
    eight = _samples()
    for count in (1, 8, 200):
        samples = eight[torch.arange(count) % 8]
        start = Factors(
            torch.zeros(count, STAGE.neurons, STAGE.rank, dtype=torch.float64),
            torch.zeros(count, PEOPLE, STAGE.width, dtype=torch.float64),
        )
        known = samples.target.any(dim=1)
        yield Pair(
            f"exact round of training, {count} nodes",
            partial(logistic.train, RECIPE, start, samples, known),
            "in float32",
            partial(_float_round, samples),
        )


def _samples() -> LabelledSamples:
    """Return samples of eight nodes, on each of which every second person has five and public people the rest."""
    shape = 8, SAMPLES
    drawn = keyed_normal(1, "bench.training", count=8 * SAMPLES * STAGE.features).reshape(*shape, STAGE.features)
    reads = STAGE.samples((128 * drawn).round().int())
    place = torch.arange(SAMPLES) // 5
    target = (2 * place[:, None] == torch.arange(PEOPLE)).double().expand(8, -1, -1)
    weight = exact.class_weights(target, torch.ones(8, SAMPLES, 1), RECIPE.own_share) * target.any(dim=1, keepdim=True)
    base = exact.on_grid(keyed_normal(1, "bench.base", count=8 * SAMPLES * PEOPLE).reshape(*shape, PEOPLE), BASE_BITS)
    asked = AskedSamples(reads, nobody(reads), base.float())
    return LabelledSamples(asked, target.float(), weight.float())


def _float_round(samples: LabelledSamples) -> list[tuple[Tensor, Tensor]]:
    """Train as `logistic.train` does, with nothing rounded: float32, a library's sigmoid and root."""
    return [_float_chunk(samples[nodes]) for nodes in chunks(len(samples.target))]


def _float_chunk(samples: LabelledSamples) -> tuple[Tensor, Tensor]:
    asked, nodes = samples.asked, len(samples.target)
    a, y = asked.reads.projected[:, :, 0], asked.reads.drives[:, :, 0]
    b, rows = torch.zeros(nodes, STAGE.neurons, STAGE.rank), torch.zeros(nodes, PEOPLE, STAGE.width)
    adam_b, adam_rows = Adam(b), Adam(rows)
    for _ in range(RECIPE.steps):
        pre = y + a @ b.mT
        u = torch.cat([pre.clamp(min=0) - asked.nobody, a], dim=2)
        error = samples.weight * (torch.sigmoid(asked.base + u @ rows.mT) - samples.target)
        for_b = ((error @ rows[:, :, : STAGE.neurons]) * (pre > 0)).mT @ a
        b = adam_b.update(b, for_b, RECIPE.learning_rate)
        rows = adam_rows.update(rows, error.mT @ u, RECIPE.learning_rate)
    return b, rows
