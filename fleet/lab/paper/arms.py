"""Arms of the protocol and the hardware that they run on."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from hwmodel.crossbar import Fidelity

#: DemoResult what is being done.
Progress = Callable[[str], None]

#: Technology of the simulated chips.
PRESET = "180nm-1t1r"


class Arm(StrEnum):
    """How the data were divided, or what the backbone was trained on.

    Attributes
    ----------
    PUBLISHED
        As the paper's code does it.
    HONEST
        Tested on what training never saw: other photos, other words, or a class that the backbone never saw.
    """

    PUBLISHED = "as published"
    HONEST = "honest"


class Hardware(StrEnum):
    """What the frozen network runs on.

    Attributes
    ----------
    CHIP
        Programmed cells of `PRESET` with their errors, 8-bit converters, tile by tile.
    NOISE_FREE
        The weights as trained; inputs still have 8 bits.
    """

    CHIP = "chip"
    NOISE_FREE = "noise-free"

    @property
    def fidelity(self) -> Fidelity:
        """The level of detail that this takes."""
        return Fidelity.TILE_ACCURATE if self is Hardware.CHIP else Fidelity.IDEAL


def silent(what: str) -> None:
    """Ignore progress."""
