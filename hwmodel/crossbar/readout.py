"""Read-out of a layer at the fidelity levels that have cells per node: input codes to output codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwmodel.converter import Adc, Dac
from hwmodel.crossbar.arrays import TileArrays
from hwmodel.crossbar.chips import ChipKeys
from hwmodel.crossbar.layout import Layout
from hwmodel.crossbar.mapping import combined_slices
from hwmodel.device.read_noise import ReadNoise


@dataclass(frozen=True, eq=False, slots=True)
class TileReadout:
    """Every column of every row tile is converted, with noise, then row tiles and slices are added digitally."""

    layout: Layout
    keys: ChipKeys
    arrays: TileArrays
    adc: Adc
    read_noise: ReadNoise

    def read(self, codes: Tensor, part: slice, reads: Tensor, phase: int = 0) -> Tensor:
        """Return output codes of whole input codes, or of one input phase: `Fidelity.TILE_ACCURATE`."""
        driven = self.arrays.drive(codes)
        sums = self.arrays.partial_sums(driven, part)
        if self.read_noise.present:
            sums += self._noise(driven, part, reads, phase)
        return combined_slices(self.adc.converted(sums), self.layout.mapping.slice_factors)

    def read_bits(self, codes: Tensor, part: slice, reads: Tensor) -> Tensor:
        """Convert every plane of input bits for itself, then shift and add: `Fidelity.BIT_SERIAL`.

        The codes are finer than those of `read` by the ratio of the ADC steps.
        """
        total = torch.zeros(*codes.shape[:2], self.layout.outputs, dtype=torch.int32)
        for phase, plane in enumerate(Dac(self.layout.preset.converter.dac_bits).bit_planes(codes)):
            total += self.read(plane, part, reads, phase) << phase
        return total

    def _noise(self, driven: Tensor, part: slice, reads: Tensor, phase: int) -> Tensor:
        tiles, columns = self.layout.row_tiles, self.layout.columns
        draws = self.keys.read_draws("crossbar.read", part, reads, phase, tiles * columns)
        noise = self.read_noise.noise(
            draws.view(*draws.shape[:2], tiles, columns),
            self.arrays.squares(driven).unsqueeze(3),
            self.layout.cells_per_output,
            self.layout.window,
        )
        return noise.transpose(1, 2)
