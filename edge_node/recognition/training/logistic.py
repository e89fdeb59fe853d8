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
from reram_fleet.wire.shared_lora import MAX_CODE, SCALE_BITS
from torch import Tensor

from edge_node.errors import RoundError
from edge_node.recognition.lora.stage import LARGEST_READ, LARGEST_ROW, READ_BITS, ROW_BITS, Stage, StageSamples
from edge_node.recognition.training import exact
from edge_node.recognition.training.exact import WEIGHT_BITS, on_grid, to_grid_
from edge_node.recognition.training.factors import Factors

#: Logits per unit of cosine.
GAIN = 10.0
#: Fraction bits of the closed form's logits, of errors of logits, and of gradients.
BASE_BITS, ERROR_BITS, GRADIENT_BITS = 12, 14, 22
#: Largest logit of the closed form: a cosine is within +-1, and so is a threshold.
LARGEST_BASE = 2.0 * GAIN
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
    accepting
        Share of what a LoRA adds to the best person's logit that decides, with the closed form, whether they are
        accepted. A person's own samples weigh far more in training than they are among those that come, so a LoRA
        is right in whom it names, and too sure of it (docs/adr/0028).
    """

    steps: int
    learning_rate: float
    own_share: float
    decay: float
    accepting: float

    @classmethod
    def of(cls, stage: Stage) -> Recipe:
        """Return the recipe of a stage."""
        if not stage.neurons:
            return _OUTPUT_ONLY
        return _STAGED if stage.segments == 1 else _IN_SEGMENTS


#: Of small chips, chosen on faces of 64 columns, and on voices (docs/adr/0028); of the output layer alone
#: (docs/adr/0013).
_STAGED = Recipe(steps=10, learning_rate=0.003, own_share=0.2, decay=0.0, accepting=0.25)
_IN_SEGMENTS = Recipe(steps=10, learning_rate=0.04, own_share=0.2, decay=0.0, accepting=0.25)
_OUTPUT_ONLY = Recipe(steps=40, learning_rate=0.02, own_share=0.05, decay=0.05, accepting=1.0)


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
        if exact.largest(self.base) > LARGEST_BASE:
            raise RoundError(
                f"a logit of the closed form is {exact.largest(self.base)}: expected {LARGEST_BASE} at most"
            )

    def __getitem__(self, nodes: slice | Tensor) -> AskedSamples:
        """Return the samples of some nodes."""
        return AskedSamples(self.reads[nodes], self.nobody[nodes], self.base[nodes])

    def of_rows(self, rows: Tensor) -> AskedSamples:
        """Return them for some rows of each node, int64 ``[N, R]``."""
        return AskedSamples(self.reads, self.nobody, gathered(self.base, rows))

    def read(self, factors: Factors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits, ``[N, S, K]``; u, rows as they are multiplied, and slopes, which lead back to the factors."""
        u, slope = centred_reads(self.reads, self.nobody, factors.b)
        rows = to_grid_(factors.rows.to(torch.float32, copy=True), ROW_BITS, LARGEST_ROW)
        steps = (u.shape[2] * LARGEST_READ * LARGEST_ROW + LARGEST_BASE) * 2.0 ** (READ_BITS + ROW_BITS)
        return exact.matmul(u, rows.mT, steps).add_(self.base), u, rows, slope

    def logits(self, factors: Factors) -> Tensor:
        """Return logits, ``[N, S, K]``."""
        return self.read(factors)[0]


def learnt_logits(reads: StageSamples, nobody: Tensor, factors: Factors) -> Tensor:
    """Return what a LoRA adds to the logits of the closed form, ``[N, S, K]``; arguments as of `AskedSamples`."""
    base = torch.zeros(*reads.drives.shape[:2], factors.rows.shape[1])
    return AskedSamples(reads, nobody, base).logits(factors)


def centred_reads(reads: StageSamples, nobody: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return u, ``[N, S, width]``, less what neurons answer to `nobody`, as `AskedSamples` has it; and slopes."""
    u, slope = reads.read(b)
    # What rows read of A x is within the limits already.
    u[:, :, : nobody.shape[2]].sub_(nobody).clamp_(-LARGEST_READ, LARGEST_READ)
    return u, slope


def gathered(values: Tensor, rows: Tensor) -> Tensor:
    """Return ``[N, S, K]`` at some rows of each node, int64 ``[N, R]``."""
    return values.gather(2, rows[:, None].expand(-1, values.shape[1], -1))


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Samples to train on; padding and unused pairs have weight 0.

    Attributes
    ----------
    asked
        With a sample left out of its own person's mean.
    target
        1 where sample and row are of the same person, float32 ``[N, S, K]``.
    weight
        float32 ``[N, S, K]``, at `WEIGHT_BITS`: for each row that the node trains, a share on the person's samples,
        the rest on others.
    """

    asked: AskedSamples
    target: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        exact.check_grid(target=(self.target.double(), 0), weight=(self.weight.double(), WEIGHT_BITS))
        loss = exact.largest(self.weight.double().sum(dim=(1, 2))) * 2 * _LARGEST_LOGIT
        exact.check_sums(losses=(loss, _LOSS_BITS + WEIGHT_BITS))

    def __getitem__(self, nodes: slice | Tensor) -> LabelledSamples:
        """Return the samples of some nodes."""
        return LabelledSamples(self.asked[nodes], self.target[nodes], self.weight[nodes])

    def of_rows(self, rows: Tensor) -> LabelledSamples:
        """Return the samples with some rows of each node, int64 ``[N, R]``."""
        return LabelledSamples(self.asked.of_rows(rows), gathered(self.target, rows), gathered(self.weight, rows))

    def loss(self, logits: Tensor) -> Tensor:
        """Return the mean weighted loss of each node, float64 [N]."""
        x, weight = on_grid(logits, _LOSS_BITS, _LARGEST_LOGIT), self.weight.double()
        losses = on_grid(exact.softplus(x) - self.target * x, _LOSS_BITS)
        total = weight.sum(dim=(1, 2)).clamp(min=2.0**-WEIGHT_BITS)
        return (losses * weight).sum(dim=(1, 2)) / total

    def gradient(self, factors: Factors) -> Factors:
        """Return the gradient of the weighted loss, each row by its own weights."""
        logits, u, rows, slope = self.asked.read(factors)
        error = to_grid_(exact.sigmoid(logits).sub_(self.target).mul_(self.weight), ERROR_BITS)
        return led_back(self.asked.reads, error, u, rows, slope)


def led_back(reads: StageSamples, error: Tensor, u: Tensor, rows: Tensor, slope: Tensor) -> Factors:
    """Return the gradient of the factors from that of logits, ``[N, S, K]`` at `ERROR_BITS`; the rest as of `read`.

    Factors are in the carrier that held the sums: add to them in float64.
    """
    of_row = exact.largest_sum(error, dim=1) * LARGEST_READ * 2.0 ** (ERROR_BITS + READ_BITS)
    for_rows = exact.matmul(error.mT, u, of_row)
    if not slope.shape[3]:
        return Factors(torch.zeros(len(rows), 0, reads.stage.rank), for_rows)
    of_sample = exact.largest_sum(error, dim=2) * LARGEST_ROW * 2.0 ** (ERROR_BITS + ROW_BITS)
    behind = exact.matmul(error, rows[:, :, : slope.shape[3]], of_sample)
    return Factors(reads.back(behind, slope), for_rows)


def train(recipe: Recipe, start: Factors, samples: LabelledSamples, trained: Tensor) -> Factors:
    """Train on each node, full batch; rows not `trained`, bool [N, K], stay as they are, and B where none is.

    The same integers for a node alone and in any batch, however long its padding. Weights of rows that are not trained
    are 0.
    """
    return Factors.joined(
        [_trained(recipe, start[nodes], samples[nodes], trained[nodes]) for nodes in chunks(len(trained))]
    )


def _trained(recipe: Recipe, start: Factors, samples: LabelledSamples, trained: Tensor) -> Factors:
    mover = Mover(start, recipe.learning_rate, recipe.steps)
    pulled = trained[:, :, None] * recipe.decay
    # Where every weight is 0 nothing has a gradient, and stays as it is.
    for _ in range(recipe.steps):
        found = samples.gradient(mover.now)
        if recipe.decay:
            # The pull is rounded before it is added: an addition of what is not exact could be fused, or not.
            found = Factors(found.b, on_grid(pulled * mover.now.rows, GRADIENT_BITS).add_(found.rows))
        mover.step(found)
    return mover.now


class Mover:
    """Adam on the factors of some nodes, side by side in one tensor."""

    def __init__(self, start: Factors, learning_rate: float, steps: int) -> None:
        self._values = on_grid(_flat(start.b, start.rows), SCALE_BITS)
        self._gradient = torch.empty_like(self._values)
        self.now, self._slots = (
            Factors(part[:, : start.b[0].numel()].view_as(start.b), part[:, start.b[0].numel() :].view_as(start.rows))
            for part in (self._values, self._gradient)
        )
        self._adam = exact.Adam(
            self._values,
            learning_rate,
            steps,
            gradient_bits=GRADIENT_BITS,
            state_bits=SCALE_BITS,
            largest=MAX_CODE * 2.0**-SCALE_BITS,
        )

    def step(self, gradient: Factors, nodes: Tensor | None = None, rows: Tensor | None = None) -> None:
        """Move B, and rows: of some nodes, bool [N], and some rows, bool [N, K], if they are given."""
        self._slots.b.copy_(gradient.b)
        self._slots.rows.copy_(gradient.rows)
        moving = None
        if nodes is not None and rows is not None:
            moving = _flat(nodes[:, None, None].expand_as(gradient.b), rows[:, :, None].expand_as(gradient.rows))
        self._adam.update_(self._values, self._gradient, moving)


def _flat(b: Tensor, rows: Tensor) -> Tensor:
    return torch.cat([b.flatten(1), rows.flatten(1)], dim=1)


def chunks(nodes: int) -> Iterator[slice]:
    """Yield nodes that are computed together."""
    return (slice(first, first + _CHUNK) for first in range(0, nodes, _CHUNK))
