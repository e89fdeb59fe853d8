"""Unlearning by hinged NegGrad+: the forgotten people's samples are pushed down, but not below a hinge.

NegGrad+ ascends the loss on the forget set while it descends on the retained one (Kurmanji et al., SCRUB,
NeurIPS 2023). Without a bound the ascent ends in damage and in a person who is conspicuous by being rejected
too well (Streisand); here it stops at the hinge, where an ordinary stranger scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edge_node.recognition.training import exact
from edge_node.recognition.training.exact import PROJECTED_BITS, STATE_BITS, WEIGHT_BITS, on_grid
from edge_node.recognition.training.logistic import (
    GRADIENT_BITS,
    LEARNING_RATE,
    LabelledSamples,
    check_projected,
    logits,
)

STEPS = 30
#: Logit that a forgotten sample may reach on a remaining row: a twentieth of a cosine below the threshold.
HINGE = -0.5
#: Weight of the forgotten samples against the retained ones.
FORGET_WEIGHT = 2.0
#: Pull of repaired rows towards what came in: a row without retained samples here must not drift.
ANCHOR = 0.02


def unlearn(
    b: Tensor, retained: LabelledSamples, projected: Tensor, base: Tensor, present: Tensor, repaired: Tensor
) -> Tensor:
    """Repair B, float64 [N, K, rank].

    `RoundError` if forgotten samples are not on their grids, or so large that a sum might not be exact.

    Parameters
    ----------
    retained
        Kept people's samples with public negatives: their loss stays in force.
    projected, base
        Forgotten samples: u, [N, S, rank], and closed-form logits, [N, S, K], on the grids of `LabelledSamples`.
    present
        bool [N, S]: real samples, not padding.
    repaired
        bool [N, K]: remaining rows that this node can score; the others stay as they are.
    """
    check_projected(projected, base)
    shares = 1 + exact.largest(present.sum(dim=1)) * 2.0**-WEIGHT_BITS
    exact.check_sums(ascent=(shares * exact.largest(projected), WEIGHT_BITS + PROJECTED_BITS))
    now = start = on_grid(b, STATE_BITS)
    adam = exact.Adam(now, LEARNING_RATE, STEPS, falling=True, gradient_bits=GRADIENT_BITS)
    share = on_grid(present.double() / present.sum(dim=1, keepdim=True).clamp(min=1), WEIGHT_BITS)
    moved = torch.zeros_like(repaired)
    for _ in range(STEPS):
        above = (logits(now, projected, base) > HINGE) & present[:, :, None]
        # A row on which nothing forgotten stands out needs no repair: training it on would only move it.
        mask = repaired & above.any(dim=1)
        moved |= mask
        ascent = (above * share[:, :, None]).mT @ projected
        gradient = retained.gradient(now) + on_grid(ANCHOR * (now - start), GRADIENT_BITS)
        gradient = gradient + on_grid(FORGET_WEIGHT * ascent, GRADIENT_BITS)
        now = torch.where(mask[:, :, None], adam.update(now, gradient), now)
    return torch.where(moved[:, :, None], now, b)
