"""Unlearning by hinged NegGrad+: the forgotten people's samples are pushed down, but not below a hinge.

NegGrad+ ascends the loss on the forget set while it descends on the retained one (Kurmanji et al., SCRUB,
NeurIPS 2023). Without a bound the ascent ends in damage and in a person who is conspicuous by being rejected
too well (Streisand); here it stops at the hinge, where an ordinary stranger scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edge_node.recognition.training.exact import on_grid
from edge_node.recognition.training.factors import Factors
from edge_node.recognition.training.logistic import (
    ERROR_BITS,
    GRADIENT_BITS,
    AskedSamples,
    LabelledSamples,
    Mover,
    chunks,
    led_back,
)

STEPS, LEARNING_RATE = 30, 0.02
#: Logit that a forgotten sample may reach on a remaining row: a twentieth of a cosine below the threshold.
HINGE = -0.5
#: Weight of the forgotten samples against the retained ones.
FORGET_WEIGHT = 2
#: Pull of what is repaired towards what came in: a row without retained samples here must not drift.
ANCHOR = 0.02


def unlearn(
    start: Factors, retained: LabelledSamples, hidden: AskedSamples, present: Tensor, repaired: Tensor
) -> Factors:
    """Repair the factors of each node.

    Parameters
    ----------
    retained
        Kept people's samples with public negatives: their loss stays in force.
    hidden
        Forgotten samples.
    present
        bool [N, S]: which of these are real, not padding.
    repaired
        bool [N, K]: remaining rows that this node can score; the others stay as they are.
    """
    return Factors.joined(
        [
            _repaired(start[some], retained[some], hidden[some], present[some], repaired[some])
            for some in chunks(len(present))
        ]
    )


def _repaired(
    start: Factors, retained: LabelledSamples, hidden: AskedSamples, present: Tensor, repaired: Tensor
) -> Factors:
    mover = Mover(start, LEARNING_RATE, STEPS)
    came = Factors(mover.now.b.clone(), mover.now.rows.clone())
    share = on_grid(FORGET_WEIGHT * present.double() / present.sum(dim=1, keepdim=True).clamp(min=1), ERROR_BITS)
    moved, anybody = torch.zeros_like(repaired), torch.zeros(len(present), dtype=torch.bool)
    for _ in range(STEPS):
        logits, u, rows, slope = hidden.read(mover.now)
        above = (logits > HINGE) & present[:, :, None]
        # A row on which nothing forgotten stands out needs no repair: training it on would only move it.
        mask = repaired & above.any(dim=1)
        moved, anybody = moved | mask, anybody | mask.any(dim=1)
        down, keep = (
            led_back(hidden.reads, (above * share[:, :, None]).float(), u, rows, slope),
            retained.gradient(mover.now),
        )
        anchor = [
            on_grid(ANCHOR * (now - then), GRADIENT_BITS)
            for now, then in ((mover.now.b, came.b), (mover.now.rows, came.rows))
        ]
        gradient = Factors(
            anchor[0].add_(keep.b).add_(down.b),
            anchor[1].add_(keep.rows).add_(down.rows),
        )
        mover.step(gradient, mask.any(dim=1), mask)
    return Factors(
        torch.where(anybody[:, None, None], mover.now.b, start.b),
        torch.where(moved[:, :, None], mover.now.rows, start.rows),
    )
