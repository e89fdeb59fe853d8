"""Fidelity levels: the detail in which a simulated layer follows the hardware."""

from __future__ import annotations

from enum import StrEnum

from hwmodel.errors import CrossbarError


class Fidelity(StrEnum):
    """Levels of detail of `Crossbar.mvm`, from none to all; every one works over the node axis.

    Attributes
    ----------
    IDEAL
        The weights as given, float64, no cells and no converters: the reference that the others approximate. The only
        level whose results are not integers, and so not bitwise independent of the batch.
    STATISTICAL
        One set of expected cells for all nodes; every read draws its error anew, normal with the variance that
        programming, relaxation, stuck cells and read noise have together. The memory does not grow with the nodes.
        Valid for averages over many chips and inputs (accuracy sweeps). Wrong for one chip: its error is fixed and is
        the same in every read, so it can be calibrated, and here it cannot; errors that outputs share (reference
        columns, two inputs alike) come out independent.
    TILE_ACCURATE
        The cells of every node, one conversion per column and row tile, all as the chip does it with inputs applied at
        once, or gathered as charge over the input phases before one conversion (NeuRRAM).
    BIT_SERIAL
        As tile-accurate, but the inputs come one magnitude bit (with its sign) at a time, and each plane is converted
        for itself, shifted and added digitally: hardware with one-bit drivers, and an independent way to what
        `TILE_ACCURATE` computes. The ledger charges what the preset's own read-out takes at every level: a preset that
        gathers charge over its input phases converts once.
    """

    IDEAL = "ideal"
    STATISTICAL = "statistical"
    TILE_ACCURATE = "tile-accurate"
    BIT_SERIAL = "bit-serial"

    @classmethod
    def _missing_(cls, value: object) -> Fidelity:
        known = ", ".join(level.value for level in cls)
        raise CrossbarError(f"no fidelity {value!r}; there are: {known}")

    @property
    def has_chips(self) -> bool:
        """Whether every node has cells of its own."""
        return self in (Fidelity.TILE_ACCURATE, Fidelity.BIT_SERIAL)
