"""Mappings of signed weights to conductances, which cannot be negative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hwmodel.device.window import ConductanceWindow
from hwmodel.errors import MappingError
from hwmodel.presets.preset import Preset

#: A weight of more bits would be finer than the float32 that most weights come in.
_SLICED_BITS = 24


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
        return self._served(levels, outputs)

    def expanded_variance(self, variance: Tensor, outputs: int) -> Tensor:
        """Return the variance of `expanded` levels, given that of independent cells, ``[in, outputs]``.

        The rounding of a mean to its level, which adds up to 1/12, is left out.
        """
        if self.averaged_columns > 1:
            columns = variance.view(len(variance), -1, self.averaged_columns)
            variance = columns.sum(dim=2) / self.averaged_columns**2
        return self._served(variance, outputs)

    def _served(self, columns: Tensor, outputs: int) -> Tensor:
        if self.outputs_per_column == 1:
            return columns
        return columns.repeat_interleave(self.outputs_per_column, dim=1)[:, :outputs]


class WeightMapping(Protocol):
    """Lays weights, given as signed levels, onto columns of cells.

    A weight takes one column, or one per slice: the columns of slice 0 (the least significant) come first, then those
    of slice 1, and so on. A column's level is the signed sum of its planes.
    """

    @property
    def slice_factors(self) -> tuple[int, ...]:
        """Return what the result of each slice counts: ``(1,)`` where weights are not sliced."""

    def full_scale(self, window: ConductanceWindow) -> int:
        """Return the signed level that the largest weight is given."""

    def levels_per_unit(self, window: ConductanceWindow) -> int:
        """Return the column levels that one weight level is worth, before `slice_factors`."""

    def column_levels(self, levels: Tensor, window: ConductanceWindow) -> Tensor:
        """Return int32 column levels ``[in, slices * out]`` of weight levels ``[in, out]``."""

    def planes(self, levels: Tensor, window: ConductanceWindow, tile_columns: int) -> tuple[CellPlane, ...]:
        """Return the planes of int32 weight levels ``[in, out]`` with ``|level| <= full_scale``."""


def combined_slices(columns: Tensor, slice_factors: tuple[int, ...]) -> Tensor:
    """Shift and add: ``[..., slices * out]`` to ``[..., out]``, in the dtype of `columns`."""
    if len(slice_factors) == 1:
        return columns
    slices = columns.view(*columns.shape[:-1], len(slice_factors), -1)
    factors = torch.tensor(slice_factors, dtype=columns.dtype).unsqueeze(1)
    # A sum keeps int32 only when it is told to.
    return (slices * factors).sum(dim=-2, dtype=columns.dtype)


class _OneColumn:
    """Base of the mappings that give a weight one column."""

    __slots__ = ()

    @property
    def slice_factors(self) -> tuple[int, ...]:
        """Return ``(1,)``: weights are not sliced."""
        return (1,)

    def levels_per_unit(self, window: ConductanceWindow) -> int:
        """Return 1: a weight level is a grid step of the column."""
        return 1

    def column_levels(self, levels: Tensor, window: ConductanceWindow) -> Tensor:
        """Return the levels as they are."""
        return levels


@dataclass(frozen=True, slots=True)
class OffsetMapping(_OneColumn):
    """``w = (G - G_mid) / s``: one cell per weight, and per tile a reference at G_mid.

    The reference is made of cells too, so its error is common to all outputs of a tile: the mean of several columns
    keeps it small. Source of the mapping: arXiv 2601.10037, code (G_zero = 50 uS in a window of 20 to 80 uS; its
    reference has no error).
    """

    reference_columns: int  #: columns per tile whose mean is the reference

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
class DifferentialMapping(_OneColumn):
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


@dataclass(frozen=True, slots=True)
class SlicedMapping:
    """Weights as signed digits in base ``2^bits_per_slice``, each on a column of its own.

    The digits of a weight all have its sign; the largest one, ``2^bits - 1``, is given as much of the window as a whole
    number of levels per digit step allows. Every slice has its ADC conversions; their codes are shifted and added
    digitally (Shafiee et al., ISCA 2016: ISAAC has 2 bits per cell). The error of a cell enters its weight with the
    slice's factor, so slicing buys finer weights and not less noise. Raises `MappingError` if there are fewer than 2
    slices or 1 bit, or weights would have more than 24 bits.

    Attributes
    ----------
    base
        Mapping of each digit: offset or differential.
    slices
        Digits per weight, at least 2.
    bits_per_slice
        Bits of a digit, at least 1.
    """

    base: WeightMapping
    slices: int
    bits_per_slice: int

    def __post_init__(self) -> None:
        bits = self.slices * self.bits_per_slice
        if self.slices < 2 or self.bits_per_slice < 1 or bits > _SLICED_BITS:
            raise MappingError(
                f"weight slicing needs 2 slices or more of 1 bit or more, {_SLICED_BITS} bits in all; got "
                f"{self.slices} slices of {self.bits_per_slice} bits"
            )

    @property
    def slice_factors(self) -> tuple[int, ...]:
        """Return ``1, 2^bits, 2^(2 bits) ...``: the value of a step of each digit."""
        return tuple(1 << (self.bits_per_slice * s) for s in range(self.slices))

    def full_scale(self, window: ConductanceWindow) -> int:
        """Return the largest number that the digits can write: ``2^(slices * bits) - 1``."""
        return (1 << (self.slices * self.bits_per_slice)) - 1

    def levels_per_unit(self, window: ConductanceWindow) -> int:
        """Return the levels of one digit step.

        Raises `MappingError` if the window has fewer levels than a digit has steps.
        """
        digits, levels = (1 << self.bits_per_slice) - 1, self.base.full_scale(window)
        if levels < digits:
            raise MappingError(
                f"a digit of {self.bits_per_slice} bits has {digits} steps, the conductance window only "
                f"{levels} levels: use fewer bits per slice or a finer grid"
            )
        return levels // digits

    def column_levels(self, levels: Tensor, window: ConductanceWindow) -> Tensor:
        """Return the digits, least significant slice first, in column levels."""
        mask, magnitudes, signs = (1 << self.bits_per_slice) - 1, levels.abs(), levels.sign()
        digits = [
            ((magnitudes >> (self.bits_per_slice * s)) & mask) * signs * self.levels_per_unit(window)
            for s in range(self.slices)
        ]
        return torch.cat(digits, dim=1)

    def planes(self, levels: Tensor, window: ConductanceWindow, tile_columns: int) -> tuple[CellPlane, ...]:
        """Return the planes of the base mapping, as wide as all slices beside each other."""
        return self.base.planes(self.column_levels(levels, window), window, tile_columns)


def mapping_of(preset: Preset) -> WeightMapping:
    """Return the mapping that a preset's tile stands for.

    One cell per weight is offset, two are differential; more than one weight slice is bit slicing over it.
    """
    tile = preset.tile
    base: WeightMapping = OffsetMapping(tile.reference_columns) if tile.cells_per_weight == 1 else DifferentialMapping()
    return base if tile.weight_slices == 1 else SlicedMapping(base, tile.weight_slices, tile.bits_per_slice)


def weight_levels(weights: Tensor, full_scale_levels: int, full_scale_weight: float | None) -> tuple[Tensor, float]:
    """Scale weights to signed levels.

    Returns int32 ``[in, out]``, rounded half to even; and what one level stands for. Raises `MappingError` if the
    matrix is not two-dimensional, is empty, all zero or not finite, or the scale not positive.

    Parameters
    ----------
    weights
        Float ``[out, in]``.
    full_scale_levels
        Level of the largest weight.
    full_scale_weight
        Weight that gets `full_scale_levels`; larger ones saturate. The largest magnitude if None.
    """
    if weights.ndim != 2 or weights.numel() == 0:
        raise MappingError(f"weights must be a matrix [out, in] with elements; got shape {list(weights.shape)}")
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
