"""Backbones of N chips: samples to integer feature codes.

Nothing personal is in one: weights are fixed filters, random signs, or trained on public data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hwmodel import EnergyLedger, Phase


class Backbone(Protocol):
    """Frozen network on the crossbars of N nodes."""

    @property
    def features(self) -> int:
        """Feature codes per sample."""

    @property
    def cell_writes(self) -> Tensor:
        """Pulses that programming gave to the cells of each node, int64 [N]."""

    def capture(self, samples: Sequence[np.ndarray], ledger: EnergyLedger, phase: Phase) -> Tensor:
        """Run samples through every chip; return int32 [N, len(samples), features], not centred.

        Codes are bitwise the same for any batch and order. `SampleError` if a sample has the wrong shape, type or
        length, or a value that is not finite.

        Parameters
        ----------
        samples
            float32, two-dimensional, of shapes that the task takes; every node gets all of them.
        ledger, phase
            Where the analogue and digital work is charged.
        """


def rounded_mean(total: Tensor, count: Tensor | int) -> Tensor:
    """Return ``floor(total / count + 1/2)``, exactly: an integer mean, half-way cases up."""
    return torch.div(2 * total + count, 2 * count, rounding_mode="floor")
