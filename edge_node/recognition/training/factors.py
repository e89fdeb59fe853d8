"""Factors of a LoRA: B of a stage, and rows of people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Factors:
    """Factors of a LoRA, of N nodes: float64 on the grid of a state.

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

    @classmethod
    def joined(cls, parts: Sequence[Factors]) -> Factors:
        """Return those of all nodes of some parts."""
        return cls(torch.cat([part.b for part in parts]), torch.cat([part.rows for part in parts]))

    def of_rows(self, rows: Tensor) -> Factors:
        """Return them with some rows of each node, int64 ``[N, R]``."""
        return Factors(self.b, self.rows.gather(1, rows[:, :, None].expand(-1, -1, self.rows.shape[2])))
