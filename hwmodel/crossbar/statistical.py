"""Chips by their statistics: expected cells for all nodes, and an error drawn per read.

The moments are those of the device models: a normal error and shift clipped to floor and ceiling, mixed with stuck
cells, seen through the IR drop of the expected column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from hwmodel.converter import Adc, Dac
from hwmodel.crossbar.arrays import TileArrays
from hwmodel.crossbar.chips import ChipKeys
from hwmodel.crossbar.layout import Layout, total_of_planes
from hwmodel.crossbar.mapping import combined_slices
from hwmodel.device.models import DeviceModels
from hwmodel.device.window import ConductanceWindow
from hwmodel.streams import normal_quantiles

#: Whole numbers up to here are exact in float64, in any order of summation.
_EXACT_FLOAT64 = 1 << 53

_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False, slots=True)
class StatisticalReadout:
    """`Fidelity.STATISTICAL`: ``y + N(0, sigma_eff |x|)``, keyed per node and read.

    The expected cells are converted tile by tile as on a chip. Then one error per output is added, normal with
    ``sigma^2 = sum over row tiles of |x_t|^2 v_t``, where v is the variance of a column's cells, averaged over the rows
    of a tile, plus that of the read noise of as many cells.
    """

    layout: Layout
    keys: ChipKeys
    arrays: TileArrays  #: expected cells, rounded to levels, one set
    adc: Adc
    variance: Tensor  #: v as whole numbers of `variance_unit`, float64 ``[row_tiles, out]``, slices combined
    variance_unit: float  #: squared partial-sum units

    @classmethod
    def of(cls, layout: Layout, keys: ChipKeys, adc: Adc, models: DeviceModels, age_s: float) -> StatisticalReadout:
        """Take the moments of the models over the targets of a layer.

        Raises `DeviceError` if a model does not cover the conductances, the age or the voltage drop.
        """
        table = _LevelMoments.of(layout.window, models, age_s)
        levels, variance = [], torch.zeros(layout.inputs, layout.columns, dtype=torch.float64)
        for plane in layout.planes:
            rows = layout.window.rows_of(plane.targets)
            expected = table.mean[rows].round_().to(torch.int32)
            seen = models.ir_drop.seen(expected, layout.window, layout.rows)
            dimmed = torch.where(expected == 0, 1.0, seen / expected.clamp(min=1))
            levels.append(seen)
            variance += plane.expanded_variance(table.variance[rows] * dimmed.square(), layout.columns)
        noise_levels = models.read_noise.sigma_us / layout.window.grid_us
        variance += noise_levels * noise_levels * layout.cells_per_output
        driven_rows = layout.tiled(torch.ones(layout.inputs, 1, dtype=torch.float64)).sum(dim=1)
        mean = layout.tiled(variance).sum(dim=1) / driven_rows
        squared = tuple(factor * factor for factor in layout.mapping.slice_factors)
        mean = combined_slices(mean, squared)
        # As whole numbers, so that their product with whole squares is the same in any batch.
        largest_square = layout.rows * layout.row_tiles * Dac(layout.preset.converter.dac_bits).max_code ** 2
        unit = float(mean.max()) * largest_square / (_EXACT_FLOAT64 // 2) or 1.0
        return cls(
            layout,
            keys,
            TileArrays(layout.tiled(total_of_planes(layout, levels).to(torch.float32)).unsqueeze(0), layout.inputs),
            adc,
            (mean / unit).round_(),
            unit,
        )

    def read(self, codes: Tensor, part: slice, reads: Tensor) -> Tensor:
        """Return output codes, int32."""
        driven = self.arrays.drive(codes)
        columns = self.adc.converted(self.arrays.partial_sums(driven, part))
        expected = combined_slices(columns, self.layout.mapping.slice_factors)
        squares = self.arrays.squares(driven).to(torch.float64)
        sigma = (squares @ self.variance).sqrt_().mul_(math.sqrt(self.variance_unit) / self.adc.step)
        draws = self.keys.read_draws("crossbar.statistical", part, reads, 0, self.layout.outputs)
        return expected + (normal_quantiles(draws) * sigma).round_().to(torch.int32)


@dataclass(frozen=True, eq=False, slots=True)
class _LevelMoments:
    """Mean and variance of where a cell is, in levels, float64, for every target level of the window."""

    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, window: ConductanceWindow, models: DeviceModels, age_s: float) -> _LevelMoments:
        targets_us = window.to_us(window.levels)
        shift = models.relaxation.shift(targets_us, age_s)
        sigma_us = models.programming_error.sigma_us(targets_us).square() + shift.sigma_us.square()
        centres = ((targets_us + shift.mean_us) / window.grid_us).tolist()
        sigmas = (sigma_us.sqrt() / window.grid_us).tolist()
        moments = [
            _clipped_moments(centre, sigma, window.floor_level, window.ceiling_level)
            for centre, sigma in zip(centres, sigmas, strict=True)
        ]
        mean, square = torch.tensor(moments, dtype=torch.float64).unbind(dim=1)
        stuck, (low, high) = models.stuck_cells, (window.min_level, window.max_level)
        alive = 1 - stuck.share
        mean = alive * mean + stuck.low_share * low + stuck.high_share * high
        square = alive * square + stuck.low_share * low * low + stuck.high_share * high * high
        return cls(mean, (square - mean * mean).clamp_(min=0))


def _clipped_moments(centre: float, sigma: float, low: int, high: int) -> tuple[float, float]:
    """Return mean and mean square of a normal number that is held between two ends."""
    if sigma == 0:
        held = min(max(centre, low), high)
        return held, held * held
    a, b = (low - centre) / sigma, (high - centre) / sigma
    below, above = _NORMAL.cdf(a), 1 - _NORMAL.cdf(b)
    inside = 1 - below - above
    density_a, density_b = _NORMAL.pdf(a), _NORMAL.pdf(b)
    mean = low * below + high * above + centre * inside + sigma * (density_a - density_b)
    square = (
        low * low * below
        + high * high * above
        + (centre * centre + sigma * sigma) * inside
        + sigma * (density_a * (centre + low) - density_b * (centre + high))
    )
    return mean, square
