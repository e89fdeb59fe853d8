"""Tiles of cells multiplying codes: integers in float32, exact in any order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hwmodel.errors import CrossbarError

#: Settings of torch's float32 products that are float32; the others round the factors first.
_EXACT_PRECISIONS = ("none", "ieee")


@dataclass(frozen=True, eq=False, slots=True)
class TileArrays:
    """The effective cells of a layer on many chips, or one set that all chips share."""

    cells: Tensor  #: float32 with integer values ``[N or 1, row_tiles, rows, columns]``
    inputs: int  #: rows that hold weights; the last tile is filled up by 0

    @property
    def shared(self) -> bool:
        """Whether one set serves any number of nodes (of one node, both are the same)."""
        return self.cells.shape[0] == 1

    def drive(self, codes: Tensor) -> Tensor:
        """Return integer codes ``[n, B, in]`` as float32 on the rows, ``[n, row_tiles, B, rows]``.

        Codes that are one tensor expanded over the nodes are driven once, and expanded again.
        """
        nodes, batch, inputs = codes.shape
        if nodes > 1 and codes.stride(0) == 0:
            return self.drive(codes[:1]).expand(nodes, -1, -1, -1)
        _, row_tiles, rows, _ = self.cells.shape
        driven = functional.pad(codes.to(torch.float32), (0, row_tiles * rows - inputs))
        return driven.view(nodes, batch, row_tiles, rows).transpose(1, 2)

    def partial_sums(self, driven: Tensor, part: slice) -> Tensor:
        """Return what the columns sum up to, float32 integers ``[n, row_tiles, B, columns]``.

        `driven` is out of `drive`, of the nodes in `part`.
        """
        nodes, row_tiles, batch, rows = driven.shape
        columns = self.cells.shape[3]
        if self.shared:
            stacked = driven.transpose(0, 1).reshape(row_tiles, nodes * batch, rows)
            return torch.bmm(stacked, self.cells[0]).view(row_tiles, nodes, batch, columns).transpose(0, 1)
        if nodes == 1 or driven.stride(0) == 0:
            return self._alike(driven[0], part)
        arrays = nodes * row_tiles
        cells = self.cells[part].reshape(arrays, rows, columns)
        return torch.bmm(driven.reshape(arrays, batch, rows), cells).view(nodes, row_tiles, batch, columns)

    def _alike(self, driven: Tensor, part: slice) -> Tensor:
        """Multiply the same codes, ``[row_tiles, B, rows]``, by the columns of all nodes as if they were one chip's."""
        cells = self.cells[part]
        nodes, row_tiles, rows, columns = cells.shape
        sums = torch.empty(row_tiles, driven.shape[1], nodes * columns)
        for tile in range(row_tiles):
            filled = min(rows, self.inputs - tile * rows)
            side_by_side = cells[:, tile, :filled].transpose(0, 1).reshape(filled, nodes * columns)
            torch.mm(driven[tile, :, :filled], side_by_side, out=sums[tile])
        return sums.view(row_tiles, -1, nodes, columns).permute(2, 0, 1, 3)


def squared_codes(driven: Tensor) -> Tensor:
    """Return the sum of squared codes on the rows of each tile, int64 ``[n, row_tiles, B]``: exact."""
    return driven.square().sum(dim=3).to(torch.int64)


def check_float32_products(layer: str) -> None:
    """Raise `CrossbarError` while torch may compute float32 products with less than float32 precision."""
    # Not torch.get_float32_matmul_precision: it raises once anyone has used the newer switches.
    precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    if precision not in _EXACT_PRECISIONS:
        raise CrossbarError(
            f"layer {layer!r}: torch computes float32 products in {precision}, so partial sums would not be "
            'exact: call torch.set_float32_matmul_precision("highest")'
        )
