"""Training of B by per-class binary logistic loss, on a batch of nodes.

``logit = base + u B'`` where `base` is the closed form, ``gain (cosine - threshold)``: logit 0 is the
threshold of acceptance, with or without the LoRA. So the loss pushes a person's own samples above the very
line that decides, and everybody else's below; B = 0 is the closed form itself.

All of it is exact (`edge_node.recognition.training.exact`): the same integers for a node alone and in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edge_node.recognition.training import exact
from edge_node.recognition.training.exact import ERROR_BITS, PROJECTED_BITS, STATE_BITS, WEIGHT_BITS, on_grid

#: Logits per unit of cosine.
GAIN = 10.0
#: Weight of a person's own samples in their row's loss; the rest is everybody else's. Own samples accepted and
#: strangers accepted, means over every sixth of the 84 leave-outs: closed form .871, .047; LoRA with share .5
#: and decay .02: .975, .272; .1 and .1: .927, .068; .05 and .05: .917, .054. The last was taken; over all
#: 84 it has .916, .040 (closed form .854, .029), after forget and repair .912, .023 (closed form .855, .023).
OWN_SHARE = 0.05
STEPS = 40
LEARNING_RATE = 0.02
#: Pull of trained rows towards B = 0: the closed form is right unless the samples insist.
DECAY = 0.05
#: Fraction bits of the closed form's logits, and of gradients: a forgotten sample's may reach several units.
BASE_BITS, GRADIENT_BITS = 12, 18
#: Where B saturates in products: below it a code is exact in float32, in which B travels.
LARGEST_B = 2.0**8
#: The loss, which is only reported, is taken of logits up to this, and rounded to so many fraction bits.
_LARGEST_LOGIT, _LOSS_BITS = 2.0**10, 12


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Samples of N nodes, padded to the same number; padding and unused pairs have weight 0.

    `RoundError` if a value is not on its grid, or so large that a sum might not be exact.

    Attributes
    ----------
    projected
        u, [N, S, rank], at `PROJECTED_BITS`; all attributes are float64 on the grid of so many fraction bits.
    base
        Logits of the closed form, [N, S, K], at `BASE_BITS`; a sample is left out of its own person's mean.
    target
        1 where sample and row are of the same person, [N, S, K].
    weight
        [N, S, K], at `WEIGHT_BITS`: for each row that the node trains, `OWN_SHARE` on its samples, the rest on others.
    """

    projected: Tensor
    base: Tensor
    target: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        check_projected(self.projected, self.base)
        exact.check_grid(target=(self.target, 0), weight=(self.weight, WEIGHT_BITS))
        # A row's weights come to 1, so its errors to 1 and a rounding of each, however many samples there are.
        rounding = exact.largest((self.weight > 0).sum(dim=1)) * 2.0 ** -(ERROR_BITS + 1)
        error = exact.largest(self.weight.sum(dim=1)) + rounding
        loss = exact.largest(self.weight.sum(dim=(1, 2))) * 2 * _LARGEST_LOGIT
        exact.check_sums(
            gradients=(error * exact.largest(self.projected), ERROR_BITS + PROJECTED_BITS),
            losses=(loss, _LOSS_BITS + WEIGHT_BITS),
        )

    def loss(self, b: Tensor) -> Tensor:
        """Return the mean weighted loss of each node, float64 [N]."""
        x = on_grid(logits(b, self.projected, self.base), _LOSS_BITS, _LARGEST_LOGIT)
        losses = on_grid(exact.softplus(x) - self.target * x, _LOSS_BITS)
        total = self.weight.sum(dim=(1, 2)).clamp(min=2.0**-WEIGHT_BITS)
        return (losses * self.weight).sum(dim=(1, 2)) / total

    def gradient(self, b: Tensor) -> Tensor:
        """Return the gradient of the weighted loss, float64 [N, K, rank], each row by its own weights."""
        error = exact.sigmoid(logits(b, self.projected, self.base)) - self.target
        return on_grid(on_grid(self.weight * error, ERROR_BITS).mT @ self.projected, GRADIENT_BITS)


def check_projected(projected: Tensor, base: Tensor) -> None:
    """Refuse u and base whose logits might not be exact; `RoundError` if a value is not on its grid, or too large."""
    exact.check_grid(projected=(projected, PROJECTED_BITS), base=(base, BASE_BITS))
    furthest = exact.largest(base) + exact.largest(projected.abs().sum(dim=-1)) * LARGEST_B
    exact.check_sums(logits=(furthest, PROJECTED_BITS + STATE_BITS))


def logits(b: Tensor, projected: Tensor, base: Tensor) -> Tensor:
    """Return ``base + u B'``, float64 [..., S, K]."""
    return base + projected @ on_grid(b, STATE_BITS, LARGEST_B).mT


def train(b: Tensor, samples: LabelledSamples, trained: Tensor) -> Tensor:
    """Train B, float64 [N, K, rank], full batch; rows not `trained`, bool [N, K], stay as they are.

    The same integers for a node alone and in any batch, however long its padding.
    """
    now, mask = on_grid(b, STATE_BITS), trained[:, :, None]
    adam = exact.Adam(now, LEARNING_RATE, STEPS, falling=True, gradient_bits=GRADIENT_BITS)
    for _ in range(STEPS):
        # The pull is rounded before it is added: an addition of what is not exact could be fused, or not.
        gradient = samples.gradient(now) + on_grid(DECAY * now, GRADIENT_BITS)
        now = torch.where(mask, adam.update(now, gradient), now)
    return torch.where(mask, now, b)
