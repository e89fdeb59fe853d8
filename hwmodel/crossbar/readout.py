"""How input codes become output codes on the tiles of a layer, at the levels that have cells per node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hwmodel.converter import Adc, Dac
from hwmodel.crossbar.arrays import TileArrays, squared_codes
from hwmodel.crossbar.chips import ChipKeys
from hwmodel.crossbar.layout import Layout
from hwmodel.crossbar.mapping import combined_slices
from hwmodel.device import ReadNoise


class Readout(Protocol):
    """One fidelity level of one layer."""

    @property
    def scale(self) -> float:
        """Return what one output code stands for, in weights times input codes."""
        ...

    @property
    def result_dtype(self) -> torch.dtype:
        """Return the dtype of the results."""
        ...

    def read(self, codes: Tensor, part: slice, reads: Tensor) -> Tensor:
        """Multiply codes ``[n, B, in]`` by the chips of the nodes in `part`: ``[n, B, out]``.

        `reads` numbers the reads, int64 ``[n, B]``; only what draws noise looks at it.
        """
        ...


@dataclass(frozen=True, eq=False, slots=True)
class IdealReadout:
    """`Fidelity.IDEAL`: the weights as given.

    Attributes
    ----------
    weights
        float64 ``[out, in]``.
    """

    weights: Tensor

    @property
    def scale(self) -> float:
        """Return 1: results are not codes."""
        return 1.0

    @property
    def result_dtype(self) -> torch.dtype:
        """Return float64."""
        return torch.float64

    def read(self, codes: Tensor, part: slice, reads: Tensor) -> Tensor:
        """Return ``codes @ weights.T``."""
        return codes.to(torch.float64) @ self.weights.t()


@dataclass(frozen=True, eq=False, slots=True)
class TileReadout:
    """`Fidelity.TILE_ACCURATE`: every column of every row tile is converted, then added digitally.

    Attributes
    ----------
    layout
        What all chips share.
    keys
        What names the chips and their reads.
    arrays
        Cells of every node.
    adc
        Converter of the partial sums.
    read_noise
        What every conversion adds to its partial sum.
    """

    layout: Layout
    keys: ChipKeys
    arrays: TileArrays
    adc: Adc
    read_noise: ReadNoise

    @property
    def scale(self) -> float:
        """Return an ADC step in weights times codes."""
        return self.adc.step * self.layout.weight_per_unit

    @property
    def result_dtype(self) -> torch.dtype:
        """Return int32."""
        return torch.int32

    def read(self, codes: Tensor, part: slice, reads: Tensor) -> Tensor:
        """Return output codes, int32."""
        return self.converted(codes, part, reads, phase=0)

    def converted(self, codes: Tensor, part: slice, reads: Tensor, phase: int) -> Tensor:
        """Return the output codes of one input phase: conversions, row tiles and slices added up, int32."""
        driven = self.arrays.drive(codes)
        sums = self.arrays.partial_sums(driven, part)
        if self.read_noise.present:
            sums += self._noise(driven, part, reads, phase)
        columns = self.adc.quantise_(sums).sum(dim=1).to(torch.int32)
        return combined_slices(columns, self.layout.mapping.slice_factors)

    def _noise(self, driven: Tensor, part: slice, reads: Tensor, phase: int) -> Tensor:
        tiles, columns = self.layout.row_tiles, self.layout.columns
        draws = self.keys.read_draws("crossbar.read", part, reads, phase, tiles * columns)
        noise = self.read_noise.noise(
            draws.view(*draws.shape[:2], tiles, columns),
            squared_codes(driven).transpose(1, 2).unsqueeze(3),
            self.layout.cells_per_output,
            self.layout.window,
        )
        return noise.transpose(1, 2)


@dataclass(frozen=True, eq=False, slots=True)
class BitSerialReadout:
    """`Fidelity.BIT_SERIAL`: every plane of input bits is converted for itself, then shifted and added.

    Attributes
    ----------
    tiles
        The same tiles with the ADC step of a plane.
    dac
        Input codes.
    """

    tiles: TileReadout
    dac: Dac

    @property
    def scale(self) -> float:
        """Return an ADC step of a plane in weights times codes."""
        return self.tiles.scale

    @property
    def result_dtype(self) -> torch.dtype:
        """Return int32."""
        return torch.int32

    def read(self, codes: Tensor, part: slice, reads: Tensor) -> Tensor:
        """Return output codes, int32, finer than those of `TileReadout` by the ratio of the scales."""
        total = torch.zeros(*codes.shape[:2], self.tiles.layout.outputs, dtype=torch.int32)
        for phase, plane in enumerate(self.dac.bit_planes(codes)):
            total += self.tiles.converted(plane, part, reads, phase) << phase
        return total
