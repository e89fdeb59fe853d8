"""A round of exact training beside the same round in float32."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from fleet.lab.paper.methods import Adam
from fleet.lab.replay.cohort_state import CohortState, LoraRecipe, as_values
from fleet.lab.replay.federated import NodeSamples, TrainingBatch, train_round
from fleet.lab.replay.hidden_layer import PairCodes
from hwmodel import keyed_normal
from tests.bench.side_by_side import Pair

INPUTS, HIDDEN, PEOPLE, SAMPLES = 1000, 64, 20, 10
RECIPE = LoraRecipe(a_seed=1, rank=32)


def training_pairs() -> Iterator[Pair]:
    """Yield a round on one node, on eight, and on two hundred."""
    tags = tuple(f"p{k:02}" for k in range(PEOPLE))
    rows = {tag: _codes("row", tag, 1, HIDDEN, 2.0**14)[0] for tag in tags}
    start = CohortState.empty(HIDDEN, RECIPE.rank).entered(rows)
    chosen = torch.arange(RECIPE.negatives)
    eight = [_node(n, tags) for n in range(8)]
    for count in (1, 8, 200):
        batch = TrainingBatch.of(RECIPE, (eight * 25)[:count], tags, [chosen] * count)
        yield Pair(
            f"exact round of training, {count} nodes",
            partial(train_round, RECIPE, start, batch),
            "in float32",
            partial(_float_round, start, batch),
        )


def _node(n: int, tags: tuple[str, ...]) -> NodeSamples:
    """Return a node that knows every second person."""
    public = _pairs(n, "public", RECIPE.negatives)
    centre = public.drives.clamp(min=0).double().mean(dim=0).round().to(torch.int32)
    return NodeSamples(f"n{n}", {tag: _pairs(n, tag, SAMPLES) for tag in tags[n % 2 :: 2]}, public, centre)


def _pairs(n: int, who: str, samples: int) -> PairCodes:
    return PairCodes(*(_codes(n, who, samples, width, 128.0) for width in (INPUTS, HIDDEN)))


def _codes(n: object, who: str, samples: int, width: int, scale: float) -> Tensor:
    drawn = keyed_normal(1, "bench.training", str(n), who, width, count=samples * width)
    return (scale * drawn).round().to(torch.int32).reshape(samples, width)


def _float_round(state: CohortState, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """Train as `train_round` does, with nothing rounded: float32, a library's sigmoid and root."""
    u, y, centre, target, weight = (
        getattr(batch, name).float() for name in ("projected", "drives", "centre", "target", "weight")
    )
    b = start_b = as_values(state.hidden).float().expand(len(u), -1, -1)
    head = start_head = as_values(state.head).float().expand(len(u), -1, -1)
    adam_b, adam_head = Adam(b), Adam(head)
    rows, shared = batch.known[:, :, None], batch.known.any(dim=1)[:, None, None]
    for _ in range(RECIPE.steps):
        pre = y + u @ b.mT
        h = pre.clamp(min=0) - centre
        error = weight * (torch.sigmoid(h @ head.mT - RECIPE.gain / 2) - target)
        for_b, for_head = ((error @ head) * (pre > 0)).mT @ u, error.mT @ h
        b = torch.where(shared, adam_b.update(b, for_b, RECIPE.learning_rate), start_b)
        head = torch.where(rows, adam_head.update(head, for_head, RECIPE.learning_rate), start_head)
    return b, head
