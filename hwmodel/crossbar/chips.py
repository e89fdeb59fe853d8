"""Programming a layer into the cells of every node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hwmodel.crossbar.layout import Layout, total_of_planes
from hwmodel.device.cells import cell_levels
from hwmodel.device.keys import CellKey
from hwmodel.device.models import DeviceModels
from hwmodel.device.write_verify import (
    SimulatedWriteVerify,
    WriteVerifyResult,
    expected_write_verify,
    simulate_write_verify,
)
from hwmodel.errors import CrossbarError
from hwmodel.streams import keyed_uint16_rows

#: Model of programming: the published error at once, or every pulse and verify read.
WriteVerifyMode = Literal["closed-form", "pulse-by-pulse"]


@dataclass(frozen=True, slots=True)
class ChipKeys:
    """Names of the chips of a layer; every draw is keyed by it."""

    fleet_seed: int
    nodes: tuple[str, ...]
    layer: str
    epoch: int

    def plane(self, node: str, plane: str) -> CellKey:
        """Return the key of the cells of one plane on one chip."""
        return CellKey(self.fleet_seed, node, self.layer, self.epoch, plane)

    def read_draws(self, purpose: str, part: slice, reads: Tensor, phase: int, count: int) -> Tensor:
        """Return the draws of single reads, int32 ``[n, B, count]``: a function of node, read number and input phase.

        `reads` has the numbers, int64 ``[n, B]``; whoever else is read does not matter.
        """
        draws = [
            keyed_uint16_rows(self.fleet_seed, purpose, node, self.layer, self.epoch, phase, rows=numbers, count=count)
            for node, numbers in zip(self.nodes[part], reads.tolist(), strict=True)
        ]
        return torch.stack(draws)


def programmed_chips(
    layout: Layout, keys: ChipKeys, models: DeviceModels, age_s: float, write_verify: WriteVerifyMode
) -> tuple[Tensor, tuple[WriteVerifyResult, ...]]:
    """Program a layer on every node, one after the other, so that scratch memory is that of one chip.

    Returns effective levels as the ADCs see them (signed sum of planes, IR drop included), float32 with integer values
    ``[N, row_tiles, rows, columns]``, and what programming each node took. Raises `DeviceError` if a model does not
    cover the conductances, the age or the voltage drop.
    """
    cells = torch.empty(len(keys.nodes), layout.row_tiles, layout.rows, layout.columns)
    results = []
    for index, node in enumerate(keys.nodes):
        levels = []
        total = WriteVerifyResult(0, 0, 0.0, 0.0, 0.0, 0.0)
        for plane in layout.planes:
            key = keys.plane(node, plane.name)
            verified: SimulatedWriteVerify | None = None
            if write_verify == "pulse-by-pulse":
                verified = simulate_write_verify(plane.targets, layout.preset, key=key, models=models)
                total += verified.result
            programmed = cell_levels(
                plane.targets, key=key, models=models, window=layout.window, age_s=age_s, verified=verified
            )
            levels.append(models.ir_drop.seen(programmed, layout.window, layout.rows))
        cells[index] = layout.tiled(total_of_planes(layout, levels))
        results.append(total)
    if write_verify == "closed-form":
        return cells, expected_programming(layout, models, len(keys.nodes))
    return cells, tuple(results)


def expected_programming(layout: Layout, models: DeviceModels, nodes: int) -> tuple[WriteVerifyResult, ...]:
    """Return what write-verify of all cells takes on each node in closed form: the same for all."""
    return (expected_write_verify(layout.preset, layout.cells, stuck_cells=models.stuck_cells),) * nodes


def checked_nodes(nodes: Sequence[str]) -> tuple[str, ...]:
    """Return the ids; raise `CrossbarError` if there are none, one twice, one is no string, or they are one string."""
    if isinstance(nodes, str):
        raise CrossbarError(f"nodes is a sequence of ids; got the string {nodes!r}: write [{nodes!r}]")
    ids = tuple(nodes)
    if any(not isinstance(node, str) for node in ids):
        # 1 and "1" would key different chips.
        raise CrossbarError(f"ids of nodes are strings; got {ids}")
    if not ids or len(set(ids)) != len(ids):
        raise CrossbarError(f"a crossbar needs at least one node, and none twice; got {ids}")
    return ids
