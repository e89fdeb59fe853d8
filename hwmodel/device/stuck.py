"""Cells that no pulse moves any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hwmodel.device.keys import CellKey
from hwmodel.device.window import ConductanceWindow
from hwmodel.errors import DeviceError


@dataclass(frozen=True, slots=True)
class StuckCells:
    """A share of the cells rests at the low end of the window (SA0), another at the high end (SA1).

    Which cells, is a property of the chip: drawn without the epoch, so a broken cell stays broken however often the
    chip is programmed. Published shares run from 0.01 % to the 11 % of Li et al., Nat. Commun. 9, 2385 (2018); cells
    that are stuck in between are counted to the nearer end. Raises `DeviceError` if a share is negative or they make
    more than all cells.
    """

    source: ClassVar[str] = "Li et al., Nat. Commun. 9, 2385 (2018): 11 % of a 128x64 array"

    low_share: float
    high_share: float

    def __post_init__(self) -> None:
        if not (self.low_share >= 0 and self.high_share >= 0 and self.low_share + self.high_share <= 1):
            raise DeviceError(
                f"shares of stuck cells lie between 0 and 1 together; got {self.low_share} low and "
                f"{self.high_share} high"
            )

    @property
    def share(self) -> float:
        """Share of cells that are stuck at either end."""
        return self.low_share + self.high_share

    def where(self, key: CellKey, count: int) -> tuple[Tensor, Tensor]:
        """Return which of `count` cells are stuck low and which high, two bool ``[count]``, never both."""
        if self.share == 0:
            nowhere = torch.zeros(count, dtype=torch.bool)
            return nowhere, nowhere
        # 16 bits would tell shares apart only in steps of 0.0015 %, a sixth of the smallest published one.
        halves = key.stuck_draws(2 * count).view(count, 2).to(torch.int64)
        draws = halves[:, 0] * 65536 + halves[:, 1]
        low, either = (round(share * 2**32) for share in (self.low_share, self.share))
        return draws < low, (draws >= low) & (draws < either)

    def hold(self, levels: Tensor, key: CellKey, window: ConductanceWindow) -> Tensor:
        """Return `levels` (any shape) with stuck cells at their ends; the same tensor if there are none."""
        if self.share == 0:
            return levels
        low, high = (mask.view(levels.shape) for mask in self.where(key, levels.numel()))
        return levels.masked_fill(low, window.min_level).masked_fill_(high, window.max_level)
