"""The keys under which the cells of one plane draw what is random about them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hwmodel.streams import keyed_uint16


@dataclass(frozen=True, slots=True)
class CellKey:
    """Names one programming of one plane of cells on one chip; every draw of a cell comes from it.

    The epoch counts how often the layer was programmed before.
    """

    fleet_seed: int
    node: str
    layer: str
    epoch: int
    plane: str

    def programming_draws(self, count: int) -> Tensor:
        """Return the draws of the error after write-verify, int32 ``[count]`` in 0 ... 65535."""
        return self._draws("crossbar.program", count)

    def relaxation_draws(self, count: int) -> Tensor:
        """Return the draws of the shift with age: one per cell for the life of this programming."""
        return self._draws("crossbar.relax", count)

    def settling_draws(self, count: int) -> Tensor:
        """Return the draws of what the first second adds to a cell that was verified pulse by pulse."""
        return self._draws("crossbar.settle", count)

    def pulse_draws(self, pulse: int, count: int) -> Tensor:
        """Return the draws of where the pulse of that number lands the cells that still need it."""
        return self._draws("crossbar.pulse", count, pulse)

    def stuck_draws(self, count: int) -> Tensor:
        """Return the draws of which cells are stuck: without the epoch, since they stay so."""
        return keyed_uint16(self.fleet_seed, "crossbar.stuck", self.node, self.layer, self.plane, count=count)

    def _draws(self, purpose: str, count: int, *more: int) -> Tensor:
        return keyed_uint16(self.fleet_seed, purpose, self.node, self.layer, self.epoch, self.plane, *more, count=count)
