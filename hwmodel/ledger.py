"""Energy, time, bytes and cell writes, kept by phase and by node."""

from __future__ import annotations

import copy
import math
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt

from hwmodel.errors import LedgerError


class Phase(StrEnum):
    """Purpose that a node spent its energy on."""

    PROGRAM = "program"
    INFER = "infer"
    TRAIN = "train"
    ERASE = "erase"
    VERIFY = "verify"
    RADIO = "radio"


_COLUMN = {phase: column for column, phase in enumerate(Phase)}


@dataclass(frozen=True, slots=True)
class Cost:
    """Energy, time, bytes and wear of a piece of work; adds up, and is never negative.

    Attributes
    ----------
    energy_j
        Joules.
    seconds
        Seconds on the chip or on air, as the cost model has it (not wall-clock time of the simulation).
    bytes
        Bytes moved: read, written, erased or sent.
    cell_writes
        SET and RESET pulses given to ReRAM cells; this is what wears them.
    """

    energy_j: float = 0.0
    seconds: float = 0.0
    bytes: int = 0
    cell_writes: int = 0

    def __post_init__(self) -> None:
        for name, value in (("energy_j", self.energy_j), ("seconds", self.seconds)):
            if not 0 <= value < math.inf:
                raise LedgerError(f"{name} must be finite and not negative; got {value!r}")
        for name, value in (("bytes", self.bytes), ("cell_writes", self.cell_writes)):
            if not isinstance(value, int) or value < 0:
                raise LedgerError(f"{name} must be a whole number, not negative; got {value!r}")

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(
            self.energy_j + other.energy_j,
            self.seconds + other.seconds,
            self.bytes + other.bytes,
            self.cell_writes + other.cell_writes,
        )

    def __mul__(self, times: int) -> Cost:
        if not isinstance(times, int):
            return NotImplemented
        return Cost(self.energy_j * times, self.seconds * times, self.bytes * times, self.cell_writes * times)

    __rmul__ = __mul__


_NOTHING = Cost()


@dataclass(frozen=True, slots=True)
class LedgerMark:
    """A moment of one node of a ledger, made by `EnergyLedger.mark`."""

    node: int
    real: npt.NDArray[np.float64]
    whole: npt.NDArray[np.int64]


class EnergyLedger:
    """Cumulative cost of every node by phase. Safe to charge from several threads.

    Raises `LedgerError` if `nodes` is less than 1.
    """

    def __init__(self, nodes: int) -> None:
        if nodes < 1:
            raise LedgerError(f"a ledger keeps at least one node; got nodes={nodes}")
        self._lock = threading.Lock()
        # Two arrays, since bytes and writes outgrow the 53 bits of a float64 within a node's life.
        self._real = np.zeros((nodes, len(Phase), 2), np.float64)
        self._whole = np.zeros((nodes, len(Phase), 2), np.int64)
        self._rows = np.arange(nodes)
        # In order of the first charge; a ledger keeps no chip alive.
        self._parts: weakref.WeakKeyDictionary[object, None] = weakref.WeakKeyDictionary()

    @property
    def parts(self) -> list[object]:
        """Parts of the chips that have charged it under their own name, such as crossbars, in order of the first."""
        with self._lock:
            return list(self._parts)

    @property
    def nodes(self) -> int:
        """Length of the node axis."""
        return len(self._rows)

    def of(self, nodes: Sequence[int]) -> Self:
        """Return the ledger of some nodes, in this order: what is charged to it, they pay. Its parts are its own.

        Raises `LedgerError` if there is no such node, none is named or one twice.
        """
        rows = [self._row(node) for node in nodes]
        if not rows or len(set(rows)) != len(rows):
            raise LedgerError(f"a ledger keeps at least one node, and none twice; got {list(nodes)}")
        some = copy.copy(self)
        some._rows, some._parts = np.array(rows), weakref.WeakKeyDictionary()
        return some

    def charge(
        self, phase: Phase, cost: Cost | Sequence[Cost], node: int | None = None, *, by: object | None = None
    ) -> None:
        """Add a cost.

        Raises `LedgerError` if the node does not exist, or the costs are not one per node.

        Parameters
        ----------
        cost
            One `Cost` (each node pays it), or one per node.
        node
            The only node that pays; all of them if left out.
        by
            What spent it, for `parts`.
        """
        column = _COLUMN[Phase(phase)]
        rows: npt.NDArray[np.int64] | int = self._rows
        if node is not None:
            rows = self._row(node)
            if not isinstance(cost, Cost):
                raise LedgerError(f"node {node} was named: give one Cost, not a sequence of {len(cost)}")
        if isinstance(cost, Cost):
            real = np.array((cost.energy_j, cost.seconds), np.float64)
            whole = np.array((cost.bytes, cost.cell_writes), np.int64)
        else:
            if len(cost) != self.nodes:
                raise LedgerError(f"the ledger keeps {self.nodes} nodes; got {len(cost)} costs")
            real = np.array([(c.energy_j, c.seconds) for c in cost], np.float64)
            whole = np.array([(c.bytes, c.cell_writes) for c in cost], np.int64)
        with self._lock:
            self._real[rows, column] += real
            self._whole[rows, column] += whole
            if by is not None:
                self._parts[by] = None

    def totals(self, node: int = 0) -> dict[Phase, Cost]:
        """Return what a node has spent so far: every phase, also those that are still zero."""
        row = self._row(node)
        with self._lock:
            return _costs(self._real[row], self._whole[row])

    def fleet_totals(self) -> dict[Phase, Cost]:
        """Return what all nodes together have spent so far, by phase."""
        with self._lock:
            return _costs(self._real[self._rows].sum(axis=0), self._whole[self._rows].sum(axis=0))

    def total(self, node: int = 0) -> Cost:
        """Return the sum of a node's phases."""
        return sum(self.totals(node).values(), start=Cost())

    def mark(self, node: int = 0) -> LedgerMark:
        """Return this moment of a node, for `since`."""
        row = self._row(node)
        with self._lock:
            return LedgerMark(node, self._real[row].copy(), self._whole[row].copy())

    def since(self, mark: LedgerMark) -> dict[Phase, Cost]:
        """Return what the node of a mark has spent since, by phase.

        Raises `LedgerError` if there is no such node here, or the mark is from before a `restore` that lowered the
        totals.
        """
        row = self._row(mark.node)
        with self._lock:
            real, whole = self._real[row] - mark.real, self._whole[row] - mark.whole
        if (real < 0).any() or (whole < 0).any():
            raise LedgerError("the mark is ahead of the ledger: take a new mark after `restore`")
        return _costs(real, whole)

    def restore(self, totals: Mapping[Phase, Cost], node: int = 0) -> None:
        """Replace a node's totals by saved ones, as after a crash; phases left out become zero."""
        row = self._row(node)
        by_column = {_COLUMN[Phase(phase)]: cost for phase, cost in totals.items()}
        saved = [by_column.get(column, Cost()) for column in range(len(Phase))]
        with self._lock:
            self._real[row] = [(c.energy_j, c.seconds) for c in saved]
            self._whole[row] = [(c.bytes, c.cell_writes) for c in saved]

    def _row(self, node: int) -> int:
        if not 0 <= node < self.nodes:
            raise LedgerError(f"no node {node}: the ledger keeps nodes 0 to {self.nodes - 1}")
        return int(self._rows[node])


def _costs(real: npt.NDArray[np.float64], whole: npt.NDArray[np.int64]) -> dict[Phase, Cost]:
    spent = zip(_COLUMN, real.tolist(), whole.tolist(), strict=True)
    # Most phases of most nodes.
    return {
        phase: Cost(*real_row, *whole_row) if any(real_row) or any(whole_row) else _NOTHING
        for phase, real_row, whole_row in spent
    }
