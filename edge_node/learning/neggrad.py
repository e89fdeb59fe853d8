"""Unlearning by hinged NegGrad+: the forgotten people's clips are pushed down, but not below a hinge.

NegGrad+ ascends the loss on the forget set while it descends on the retained one (Kurmanji et al., SCRUB,
NeurIPS 2023). Without a bound the ascent ends in damage and in a person who is conspicuous by being rejected
too well (Streisand); here it stops at the hinge, where an ordinary stranger scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edge_node.learning.logistic import LEARNING_RATE, Adam, LabelledClips

STEPS = 30
#: Logit that a forgotten clip may reach on a remaining row: a twentieth of a cosine below the threshold.
HINGE = -0.5
#: Weight of the forgotten clips against the retained ones.
FORGET_WEIGHT = 2.0
#: Pull of repaired rows towards what came in: a row without retained clips here must not drift.
ANCHOR = 0.02


def excess(b: Tensor, projected: Tensor, base: Tensor) -> Tensor:
    """Return by how much forgotten clips score above the hinge, float32 [N, S, K]; at most 0 is forgotten."""
    return base + projected @ b.mT - HINGE


def unlearn(
    b: Tensor, retained: LabelledClips, projected: Tensor, base: Tensor, present: Tensor, repaired: Tensor
) -> Tensor:
    """Repair B.

    Parameters
    ----------
    b
        float32 [N, K, rank].
    retained
        Kept people's clips with public negatives: their loss stays in force.
    projected, base
        Forgotten clips: u, float32 [N, S, rank], and closed-form logits, float32 [N, S, K].
    present
        bool [N, S]: real clips, not padding.
    repaired
        bool [N, K]: remaining rows that this node can score; the others stay as they are.

    Returns
    -------
    Tensor
        float32 [N, K, rank].
    """
    start, adam = b, Adam(b)
    share = present / present.sum(dim=1, keepdim=True).clamp(min=1)
    for step in range(STEPS):
        above = (excess(b, projected, base) > 0) & present[:, :, None]
        # A row on which nothing forgotten stands out needs no repair: training it on would only move it.
        mask = (repaired & above.any(dim=1))[:, :, None]
        gradient = retained.gradient(b) + ANCHOR * (b - start)
        gradient = gradient + FORGET_WEIGHT * ((above * share[:, :, None]).to(b.dtype).mT @ projected)
        b = torch.where(mask, adam.update(b, gradient, LEARNING_RATE * (1 - step / STEPS)), b)
    return b
