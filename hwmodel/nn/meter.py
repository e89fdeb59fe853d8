"""Whose account the products of a programmed model are charged to, and as what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hwmodel.ledger import EnergyLedger, Phase


@dataclass(slots=True)
class Meter:
    """The ledger and the phase that all analogue layers of one model share.

    Attributes
    ----------
    ledger
        Charged by every product, on every node.
    phase
        What the products are for at the moment.
    """

    ledger: EnergyLedger
    phase: Phase = Phase.INFER

    @contextmanager
    def charging(self, phase: Phase) -> Iterator[None]:
        """Charge everything inside the ``with`` block as `phase`."""
        before, self.phase = self.phase, Phase(phase)
        try:
            yield
        finally:
            self.phase = before
