"""Assumptions that a comparison of designs must state before its figures mean anything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hwmodel.cost.digital import ADAM_ACCESSES
from hwmodel.errors import CostError


class Optimiser(StrEnum):
    """Rule of the digital update."""

    SGD = "sgd"
    ADAM = "adam"

    @property
    def accesses(self) -> int:
        """SRAM accesses per parameter and update: read and write each kept value."""
        return 2 if self is Optimiser.SGD else ADAM_ACCESSES

    @property
    def copies(self) -> int:
        """Values kept per parameter while training: itself and its gradient, for Adam two moments more."""
        return 2 if self is Optimiser.SGD else 4


class Origin(StrEnum):
    """Origin of a change before it is active."""

    ON_CHIP = "on chip"
    DRAM = "dram"
    RADIO = "radio"


class Fetch(StrEnum):
    """Rate at which a digital unit reads a weight from SRAM: for every use, or once per pass."""

    EVERY_USE = "every use"
    ONCE = "once per pass"


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Choices that a comparison must state, since they decide the ratios.

    Attributes
    ----------
    origin
        Where a deployed change comes from; analogue targets take 2 bytes each, digital ones `lora_bytes`.
    adapter_fetch, baseline_fetch
        How often the LoRA, and the weights of the all-digital design, are read. Equal unless said so.
    adapter_skips_zeros, baseline_skips_zeros
        Whether the digital unit spends nothing on inputs that are zero (spikes that did not come).
    gradient_stops
        Whether the gradient stops at the first layer that learns; else it is charged for every layer.
    """

    lora_bytes: int = 1  #: bytes per parameter at rest and in inference: 1 for int8. All-digital weights take as much.
    training_bytes: int = 4  #: bytes per parameter in training: 4 for fp32
    optimiser: Optimiser = Optimiser.SGD  #: rule of the digital update
    origin: Origin = Origin.ON_CHIP
    adapter_fetch: Fetch = Fetch.EVERY_USE
    baseline_fetch: Fetch = Fetch.EVERY_USE
    adapter_skips_zeros: bool = False
    baseline_skips_zeros: bool = False
    with_digital_layers: bool = True  #: whether to count the layers that stay digital in every design
    gradient_stops: bool = False

    def __post_init__(self) -> None:
        for name in ("lora_bytes", "training_bytes"):
            if getattr(self, name) < 1:
                raise CostError(f"{name} must be at least 1; got {getattr(self, name)}")


#: An equal digital unit for adapter and baseline, an adapter that is on the chip, plain SGD.
DEFAULT = Assumptions()
