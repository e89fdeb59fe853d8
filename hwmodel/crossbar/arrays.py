"""Tiles of cells multiplying codes: integers in float32, exact in any order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
        """Return integer codes ``[n, B, in]`` as float32; those that are one tensor expanded over nodes stay one."""
        if codes.stride(0) == 0:
            return codes[:1].to(torch.float32).expand(codes.shape)
        return codes.to(torch.float32)

    def partial_sums(self, driven: Tensor, part: slice) -> Tensor:
        """Return what the columns sum up to, float32 integers ``[n, row_tiles, B, columns]``.

        `driven` is out of `drive`, of the nodes in `part`.
        """
        nodes, batch, _ = driven.shape
        _, row_tiles, _, columns = self.cells.shape
        if self.shared or driven.stride(0) == 0:
            # Either one set of cells for the codes of all nodes, or the columns of all nodes beside each other.
            cells = self.cells if self.shared else self.cells[part]
            vectors = driven[0] if not self.shared else driven.reshape(nodes * batch, -1)
            sums = torch.empty(row_tiles, len(vectors), len(cells) * columns)
            for tile, rows in enumerate(self._rows()):
                beside = cells[:, tile, : rows.stop - rows.start].transpose(0, 1).flatten(1)
                torch.mm(vectors[:, rows], beside, out=sums[tile])
            if self.shared:
                return sums.view(row_tiles, nodes, batch, columns).transpose(0, 1)
            return sums.view(row_tiles, batch, nodes, columns).permute(2, 0, 1, 3)
        sums = torch.empty(row_tiles, nodes, batch, columns)
        for tile, rows in enumerate(self._rows()):
            torch.bmm(driven[:, :, rows], self.cells[part, tile, : rows.stop - rows.start], out=sums[tile])
        return sums.transpose(0, 1)

    def squares(self, driven: Tensor) -> Tensor:
        """Return the sum of squared codes on the rows of each tile, int64 ``[n, B, row_tiles]``: exact."""
        return torch.stack([driven[:, :, rows].square().sum(dim=2) for rows in self._rows()], dim=2).to(torch.int64)

    def _rows(self) -> list[slice]:
        """Return the inputs that drive each tile."""
        rows = self.cells.shape[2]
        return [slice(top, min(top + rows, self.inputs)) for top in range(0, self.inputs, rows)]


def check_float32_products(layer: str) -> None:
    """Raise `CrossbarError` while torch may compute float32 products with less than float32 precision."""
    # Not torch.get_float32_matmul_precision: it raises once anyone has used the newer switches.
    precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    if precision not in _EXACT_PRECISIONS:
        raise CrossbarError(
            f"layer {layer!r}: torch computes float32 products in {precision}, so partial sums would not be "
            'exact: call torch.set_float32_matmul_precision("highest")'
        )
