"""Training of B by per-class binary logistic loss, on a batch of nodes.

``logit = base + u B'`` where `base` is the closed form, ``gain (cosine - threshold)``: logit 0 is the
threshold of acceptance, with or without the LoRA. So the loss pushes a person's own clips above the very
line that decides, and everybody else's below; B = 0 is the closed form itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

#: Logits per unit of cosine.
GAIN = 10.0
#: Weight of a person's own clips in their row's loss; the rest is everybody else's. Own clips accepted and
#: strangers accepted, means over every sixth of the 84 leave-outs: closed form .871, .047; LoRA with share .5
#: and decay .02: .975, .272; .1 and .1: .927, .068; .05 and .05: .917, .054. The last was taken; over all
#: 84 it has .916, .040 (closed form .854, .029), after forget and repair .912, .023 (closed form .855, .023).
OWN_SHARE = 0.05
STEPS = 40
LEARNING_RATE = 0.02
#: Pull of trained rows towards B = 0: the closed form is right unless the clips insist.
DECAY = 0.05


@dataclass(frozen=True, eq=False)
class LabelledClips:
    """Clips of N nodes, padded to the same number; padding and unused pairs have weight 0.

    Attributes
    ----------
    projected
        u, float32 [N, S, rank].
    base
        Logits of the closed form, float32 [N, S, K]; a clip is left out of its own person's mean.
    target
        1 where clip and row are of the same person, float32 [N, S, K].
    weight
        float32 [N, S, K]: for each row that the node trains, `OWN_SHARE` on its clips, the rest on others.
    """

    projected: Tensor
    base: Tensor
    target: Tensor
    weight: Tensor

    def loss(self, b: Tensor) -> Tensor:
        """Return the mean weighted loss of each node, float32 [N]."""
        logits = self.base + self.projected @ b.mT
        losses = functional.binary_cross_entropy_with_logits(logits, self.target, reduction="none")
        total = self.weight.sum(dim=(1, 2)).clamp(min=1e-12)
        return (losses * self.weight).sum(dim=(1, 2)) / total

    def gradient(self, b: Tensor) -> Tensor:
        """Return the gradient of the weighted loss, float32 [N, K, rank], each row by its own weights."""
        logits = self.base + self.projected @ b.mT
        return (self.weight * (torch.sigmoid(logits) - self.target)).mT @ self.projected

    def two_rows(self) -> LabelledClips:
        """Return clips of a single row with a second one that nothing trains."""
        return LabelledClips(
            self.projected, _two_rows(self.base, 2), _two_rows(self.target, 2), _two_rows(self.weight, 2)
        )


def _two_rows(tensor: Tensor, dim: int) -> Tensor:
    return torch.cat([tensor, torch.zeros_like(tensor)], dim=dim)


class Adam:
    """Adam for the length of one round: its state lives and dies inside the keyed unit of work."""

    def __init__(self, b: Tensor) -> None:
        self._first = torch.zeros_like(b)
        self._second = torch.zeros_like(b)
        self._step = 0

    def update(self, b: Tensor, gradient: Tensor, learning_rate: float) -> Tensor:
        """Return B after one step."""
        self._step += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.99 * self._second + 0.01 * gradient.square()
        first = self._first / (1 - 0.9**self._step)
        second = self._second / (1 - 0.99**self._step)
        return b - learning_rate * first / (second.sqrt() + 1e-8)


def train(b: Tensor, clips: LabelledClips, trained: Tensor) -> Tensor:
    """Train B, float32 [N, K, rank], full batch; rows not `trained`, bool [N, K], stay as they are.

    The same bits for a node alone and in a batch, in one environment, if its clips are padded alike.
    """
    if b.shape[1] == 1:
        # One row alone is a matrix-vector product, which sums in another order for one node than for many.
        return train(_two_rows(b, 1), clips.two_rows(), _two_rows(trained, 1))[:, :1]
    adam, mask = Adam(b), trained[:, :, None]
    for step in range(STEPS):
        gradient = clips.gradient(b) + DECAY * b
        b = torch.where(mask, adam.update(b, gradient, LEARNING_RATE * (1 - step / STEPS)), b)
    return b
