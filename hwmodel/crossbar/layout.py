"""Layout of a layer, which all its chips share: targets, planes of cells and their place on tiles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hwmodel.crossbar.arrays import TileArrays
from hwmodel.crossbar.mapping import CellPlane, WeightMapping, mapping_of, weight_levels
from hwmodel.device.window import ConductanceWindow
from hwmodel.presets.preset import Preset


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """A layer of weights as targets on tiles; the same for all chips."""

    preset: Preset
    window: ConductanceWindow
    mapping: WeightMapping
    column_levels: Tensor  #: ideal signed level of every column, int32 ``[in, slices * out]``
    planes: tuple[CellPlane, ...]
    outputs: int
    weight_per_unit: float  #: what one unit of a column (a level, after slices are combined) stands for

    @classmethod
    def of(cls, weights: Tensor, preset: Preset, full_scale_weight: float | None) -> Layout:
        """Lay float weights ``[out, in]`` out; `MappingError` if they cannot be mapped."""
        window, mapping = ConductanceWindow.of(preset), mapping_of(preset)
        levels, weight_per_level = weight_levels(weights, mapping.full_scale(window), full_scale_weight)
        return cls(
            preset=preset,
            window=window,
            mapping=mapping,
            column_levels=mapping.column_levels(levels, window),
            planes=mapping.planes(levels, window, preset.tile.columns),
            outputs=levels.shape[1],
            weight_per_unit=weight_per_level / mapping.levels_per_unit(window),
        )

    @property
    def inputs(self) -> int:
        """Rows that hold weights."""
        return self.column_levels.shape[0]

    @property
    def columns(self) -> int:
        """Results per row tile: outputs times slices."""
        return self.column_levels.shape[1]

    @property
    def rows(self) -> int:
        """Rows of a tile that are driven: all, or those that a small layer has."""
        return min(self.preset.tile.rows, self.inputs)

    @property
    def row_tiles(self) -> int:
        """Tiles along the inputs."""
        return -(-self.inputs // self.rows)

    @property
    def cells(self) -> int:
        """Cells of one chip that are programmed, references included."""
        return sum(plane.targets.numel() for plane in self.planes)

    @property
    def cells_per_output(self) -> float:
        """Cells of one row that a conversion reads; a mean of k reference cells counts 1/k (its variance)."""
        return sum(1 / plane.averaged_columns for plane in self.planes)

    @property
    def targets(self) -> TileArrays:
        """Ideal columns on tiles: what a chip without any error holds, for all nodes."""
        return TileArrays(self.tiled(self.column_levels.to(torch.float32)).unsqueeze(0), self.inputs)

    def tiled(self, columns: Tensor) -> Tensor:
        """Return ``[..., in, columns]`` as ``[..., row_tiles, rows, columns]``, the last tile padded by 0."""
        padding = self.row_tiles * self.rows - self.inputs
        padded = functional.pad(columns, (0, 0, 0, padding)) if padding else columns
        return padded.view(*columns.shape[:-2], self.row_tiles, self.rows, columns.shape[-1])


def total_of_planes(layout: Layout, levels: list[Tensor]) -> Tensor:
    """Return the signed sum of the planes' levels as each column sees them, int32 ``[in, columns]``."""
    total = torch.zeros(layout.inputs, layout.columns, dtype=torch.int32)
    for plane, programmed in zip(layout.planes, levels, strict=True):
        total += plane.sign * plane.expanded(programmed, layout.columns)
    return total
