"""How signed weights become conductances, which cannot be negative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hwmodel.device import ConductanceWindow
from hwmodel.errors import MappingError
from hwmodel.preset import Preset


@dataclass(frozen=True, eq=False, slots=True)
class CellPlane:
    """Cells that are programmed together; a weight is the signed sum of its planes.

    Attributes
    ----------
    name
        Part of the key of the plane's programming error.
    targets
        Wanted conductance levels, int32 ``[in, columns]``.
    sign
        +1 or -1: how the plane's current enters the sum, before the ADC.
    outputs_per_column
        Weight columns that one column of this plane serves (a reference serves its tile).
    averaged_columns
        Adjacent columns of `targets` whose mean current makes one column.
    """

    name: str
    targets: Tensor
    sign: int
    outputs_per_column: int = 1
    averaged_columns: int = 1

    def expanded(self, levels: Tensor, outputs: int) -> Tensor:
        """Return programmed levels ``[in, columns]`` as seen by each output, ``[in, outputs]``."""
        if self.averaged_columns > 1:
            # To the nearest level: a finer one would leave no room below 2^24.
            sums = levels.view(len(levels), -1, self.averaged_columns).sum(dim=2)
            levels = (sums + self.averaged_columns // 2) // self.averaged_columns
        if self.outputs_per_column == 1:
            return levels
        return levels.repeat_interleave(self.outputs_per_column, dim=1)[:, :outputs]


class WeightMapping(Protocol):
    """Lays weights, given as signed levels, onto planes of cells."""

    def full_scale(self, window: ConductanceWindow) -> int:
        """Return the signed level that the largest weight is given."""
        ...

    def planes(self, levels: Tensor, window: ConductanceWindow, tile_columns: int) -> tuple[CellPlane, ...]:
        """Return the planes of int32 levels ``[in, out]`` with ``|level| <= full_scale``."""
        ...


@dataclass(frozen=True, slots=True)
class OffsetMapping:
    """``w = (G - G_mid) / s``: one cell per weight, and per tile a reference at G_mid.

    The reference is made of cells too, so its error is common to all outputs of a tile: the mean of several
    columns keeps it small. Source of the mapping: arXiv 2601.10037, code (G_zero = 50 uS in a window of
    20 to 80 uS; its reference has no error).

    Attributes
    ----------
    reference_columns
        Columns per tile whose mean is the reference.
    """

    reference_columns: int

    def full_scale(self, window: ConductanceWindow) -> int:
        """Return the levels from the middle of the window to its end."""
        return window.half_span

    def planes(self, levels: Tensor, window: ConductanceWindow, tile_columns: int) -> tuple[CellPlane, ...]:
        """Return the weights around the middle, and the reference columns that are taken from them."""
        inputs, outputs = levels.shape
        columns = -(-outputs // tile_columns) * self.reference_columns
        reference = torch.full((inputs, columns), window.mid_level, dtype=torch.int32)
        return (
            CellPlane("weight", levels + window.mid_level, +1),
            CellPlane("reference", reference, -1, tile_columns, self.reference_columns),
        )


@dataclass(frozen=True, slots=True)
class DifferentialMapping:
    """``w = (G+ - G-) / s``: two cells per weight, of which one rests at the low end of the window."""

    def full_scale(self, window: ConductanceWindow) -> int:
        """Return the levels of the whole window."""
        return window.max_level - window.min_level

    def planes(self, levels: Tensor, window: ConductanceWindow, tile_columns: int) -> tuple[CellPlane, ...]:
        """Return the positive and the negative cells."""
        return (
            CellPlane("positive", levels.clamp(min=0) + window.min_level, +1),
            CellPlane("negative", (-levels).clamp(min=0) + window.min_level, -1),
        )


def mapping_of(preset: Preset) -> WeightMapping:
    """Return the mapping that the preset's cells per weight stand for: 1 offset, 2 differential."""
    tile = preset.tile
    return OffsetMapping(tile.reference_columns) if tile.cells_per_weight == 1 else DifferentialMapping()


def weight_levels(
    weights: Tensor, full_scale_levels: int, full_scale_weight: float | None
) -> tuple[Tensor, float]:
    """Scale weights to signed levels.

    Parameters
    ----------
    weights
        Float ``[out, in]``.
    full_scale_levels
        Level of the largest weight.
    full_scale_weight
        Weight that gets `full_scale_levels`; larger ones saturate. The largest magnitude if None.

    Returns
    -------
    levels, weight_per_level
        int32 ``[in, out]``, rounded half to even; and what one level stands for.

    Raises
    ------
    MappingError
        If the matrix is not two-dimensional, is empty, all zero or not finite, or the scale not positive.
    """
    if weights.ndim != 2 or weights.numel() == 0:
        raise MappingError(
            f"weights must be a matrix [out, in] with elements; got shape {list(weights.shape)}"
        )
    exact = weights.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(exact).all()):
        raise MappingError("weights hold NaN or infinity: nothing can be programmed")
    scale = float(exact.abs().max()) if full_scale_weight is None else float(full_scale_weight)
    if not scale > 0:
        hint = "all weights are zero" if full_scale_weight is None else f"full_scale_weight is {scale}"
        raise MappingError(f"cannot scale weights to the conductance window: {hint}")
    weight_per_level = scale / full_scale_levels
    levels = (exact / weight_per_level).round_().clamp_(-full_scale_levels, full_scale_levels)
    return levels.to(torch.int32).t().contiguous(), weight_per_level
