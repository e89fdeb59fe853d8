"""Training of a LoRA by per-class binary logistic loss, on a batch of nodes.

``logit = base + row . u`` where `base` is the closed form, ``gain (cosine - threshold)``: logit 0 is the threshold of
acceptance, with or without the LoRA. So the loss pushes a person's own samples above the very line that decides, and
everybody else's below; a LoRA of zeros is the closed form itself.

All of it is exact (`edge_node.recognition.training.exact`): the same integers for a node alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.recognition.lora.stage import (
    LARGEST_READ,
    LARGEST_ROW,
    READ_BITS,
    ROW_BITS,
    StageSamples,
)
from edge_node.recognition.training import exact
from edge_node.recognition.training.exact import STATE_BITS, WEIGHT_BITS, on_grid

#: Logits per unit of cosine.
GAIN = 10.0
#: Fraction bits of the closed form's logits, of errors of logits, and of gradients.
BASE_BITS, ERROR_BITS, GRADIENT_BITS = 12, 14, 22
#: Nodes that are computed at once: what they need then stays near the processor.
_CHUNK = 8
#: The loss, which is only reported, is taken of logits up to this, and rounded to so many fraction bits.
_LARGEST_LOGIT, _LOSS_BITS = 2.0**10, 12


@dataclass(frozen=True)
class Recipe:
    """Recipe of a round of training on one node; its settings decide what a replay must repeat.

    Attributes
    ----------
    own_share
        Weight of a person's own samples in their row's loss; the rest is everybody else's.
    decay
        Pull of trained rows towards 0: the closed form is right unless the samples insist.
    """

    steps: int = 40
    learning_rate: float = 0.02
    own_share: float = 0.05
    decay: float = 0.05


@dataclass(frozen=True, eq=False)
class Factors:
    """What is learnt, of N nodes: float64 on the grid of `STATE_BITS`.

    Attributes
    ----------
    b
        ``[N, neurons, rank]``.
    rows
        ``[N, K, width]``.
    """

    b: Tensor
    rows: Tensor

    def __getitem__(self, nodes: slice | Tensor) -> Factors:
        """Return those of some nodes."""
        return Factors(self.b[nodes], self.rows[nodes])


@dataclass(frozen=True, eq=False)
class AskedSamples:
    """Samples of N nodes, padded to the same number, and what the closed form says of them.

    Attributes
    ----------
    reads
        The samples.
    nobody
        What neurons answer to public people on average without B, float32 ``[N, 1, neurons]``.
    base
        Logits of the closed form, float32 ``[N, S, K]``, at `BASE_BITS`.
    """

    reads: StageSamples
    nobody: Tensor
    base: Tensor

    def __post_init__(self) -> None:
        exact.check_grid(base=(self.base.double(), BASE_BITS))

    def __getitem__(self, nodes: slice | Tensor) -> AskedSamples:
        """Return the samples of some nodes."""
        return AskedSamples(self.reads[nodes], self.nobody[nodes], self.base[nodes])

    def read(self, factors: Factors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits, ``[N, S, K]``; u, rows as they are multiplied, and slopes, which lead back to the factors."""
        u, slope = self.reads.read(factors.b)
        neurons = self.nobody.shape[2]
        u[:, :, :neurons] -= self.nobody
        u.clamp_(-LARGEST_READ, LARGEST_READ)
        rows = on_grid(factors.rows, ROW_BITS, LARGEST_ROW)
        steps = u.shape[2] * LARGEST_READ * LARGEST_ROW * 2.0 ** (READ_BITS + ROW_BITS)
        return self.base + exact.matmul(u, rows.mT, steps), u, rows, slope

    def logits(self, factors: Factors) -> Tensor:
        """Return logits, ``[N, S, K]``."""
        return self.read(factors)[0]


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Samples to train on; padding and unused pairs have weight 0.

    Attributes
    ----------
    asked
        With a sample left out of its own person's mean.
    target
        1 where sample and row are of the same person, float64 ``[N, S, K]``.
    weight
        float64 ``[N, S, K]``, at `WEIGHT_BITS`: for each row that the node trains, a share on the person's samples,
        the rest on others.
    """

    asked: AskedSamples
    target: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        exact.check_grid(target=(self.target, 0), weight=(self.weight, WEIGHT_BITS))
        loss = exact.largest(self.weight.sum(dim=(1, 2))) * 2 * _LARGEST_LOGIT
        exact.check_sums(losses=(loss, _LOSS_BITS + WEIGHT_BITS))

    def __getitem__(self, nodes: slice | Tensor) -> LabelledSamples:
        """Return the samples of some nodes."""
        return LabelledSamples(self.asked[nodes], self.target[nodes], self.weight[nodes])

    def loss(self, factors: Factors) -> Tensor:
        """Return the mean weighted loss of each node, float64 [N]."""
        x = on_grid(self.asked.logits(factors), _LOSS_BITS, _LARGEST_LOGIT)
        losses = on_grid(exact.softplus(x) - self.target * x, _LOSS_BITS)
        total = self.weight.sum(dim=(1, 2)).clamp(min=2.0**-WEIGHT_BITS)
        return (losses * self.weight).sum(dim=(1, 2)) / total

    def gradient(self, factors: Factors) -> Factors:
        """Return the gradient of the weighted loss, each row by its own weights."""
        logits, u, rows, slope = self.asked.read(factors)
        error = on_grid(self.weight * (exact.sigmoid(logits) - self.target), ERROR_BITS)
        return led_back(self.asked.reads, error, u, rows, slope)


def led_back(reads: StageSamples, error: Tensor, u: Tensor, rows: Tensor, slope: Tensor) -> Factors:
    """Return the gradient of the factors from that of logits, ``[N, S, K]`` at `ERROR_BITS`; the rest as of `read`."""
    of_row = exact.largest(error.abs().sum(dim=1)) * LARGEST_READ * 2.0 ** (ERROR_BITS + READ_BITS)
    of_sample = exact.largest(error.abs().sum(dim=2)) * LARGEST_ROW * 2.0 ** (ERROR_BITS + ROW_BITS)
    for_rows = exact.matmul(error.mT, u, of_row).double()
    behind = exact.matmul(error, rows[:, :, : slope.shape[3]], of_sample)
    return Factors(reads.back(behind, slope), for_rows)


def train(recipe: Recipe, start: Factors, samples: LabelledSamples, trained: Tensor) -> Factors:
    """Train on each node, full batch; rows not `trained`, bool [N, K], stay as they are, and B where none is.

    The same integers for a node alone and in any batch, however long its padding.
    """
    parts = [
        _trained(recipe, start[nodes], samples[nodes], trained[nodes]) for nodes in chunks(len(trained))
    ]
    return Factors(torch.cat([part.b for part in parts]), torch.cat([part.rows for part in parts]))


def _trained(recipe: Recipe, start: Factors, samples: LabelledSamples, trained: Tensor) -> Factors:
    mover = Mover(start, recipe.learning_rate, recipe.steps)
    anybody = trained.any(dim=1)
    for _ in range(recipe.steps):
        found = samples.gradient(mover.now)
        # The pull is rounded before it is added: an addition of what is not exact could be fused, or not.
        pull = on_grid(recipe.decay * mover.now.rows, GRADIENT_BITS)
        mover.step(Factors(found.b, found.rows + pull), anybody, trained)
    return mover.now


class Mover:
    """Adam on the factors of some nodes, which moves only some of their rows."""

    def __init__(self, start: Factors, learning_rate: float, steps: int) -> None:
        self.now = Factors(on_grid(start.b, STATE_BITS), on_grid(start.rows, STATE_BITS))
        self._adams = tuple(
            exact.Adam(values, learning_rate, steps, falling=True, gradient_bits=GRADIENT_BITS)
            for values in (self.now.b, self.now.rows)
        )

    def step(self, gradient: Factors, nodes: Tensor, rows: Tensor) -> None:
        """Move B of some nodes, bool [N], and some rows, bool [N, K]."""
        for_b, for_rows = self._adams
        b, moved = for_b.update(self.now.b, gradient.b), for_rows.update(self.now.rows, gradient.rows)
        self.now = Factors(
            torch.where(nodes[:, None, None], b, self.now.b), torch.where(rows[:, :, None], moved, self.now.rows)
        )


def chunks(nodes: int) -> Iterator[slice]:
    """Yield nodes that are computed together."""
    return (slice(first, first + _CHUNK) for first in range(0, nodes, _CHUNK))
