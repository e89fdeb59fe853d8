"""Cost of some work by component of the chip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import add
from typing import Generic

from hwmodel.cost.pricing import AnyCost
from hwmodel.errors import CostError


class Component(StrEnum):
    """Consumer of energy. Settling and conversion time of a product are booked with its ADCs."""

    PROGRAMMING = "programming"
    ARRAY = "array"
    DAC = "dac"
    ADC = "adc"
    MAC = "digital mac"
    SRAM = "sram"
    DRAM = "dram"
    RADIO = "radio"


#: What a chip without crossbars does not have.
ANALOGUE = frozenset({Component.PROGRAMMING, Component.ARRAY, Component.DAC, Component.ADC})


@dataclass(frozen=True, eq=False, slots=True)
class CostBreakdown(Generic[AnyCost]):
    """Costs by component; adds up like `Cost`.

    Raises `CostError` if there are no parts.

    Attributes
    ----------
    parts
        `Cost` (of a preset) or `CostDraws` (of a sample) by component, in the order of `Component`.
    """

    parts: Mapping[Component, AnyCost]

    def __post_init__(self) -> None:
        if not self.parts:
            raise CostError("a cost breakdown needs at least one part, if only one that takes nothing")
        ordered = {component: self.parts[component] for component in Component if component in self.parts}
        object.__setattr__(self, "parts", ordered)

    @property
    def total(self) -> AnyCost:
        """Sum of the parts."""
        return reduce(add, self.parts.values())

    def digital(self) -> CostBreakdown[AnyCost]:
        """Return the breakdown without what crossbars and their converters take.

        Raises `CostError` if there is nothing else in it.
        """
        return CostBreakdown({component: cost for component, cost in self.parts.items() if component not in ANALOGUE})

    def __add__(self, other: CostBreakdown[AnyCost]) -> CostBreakdown[AnyCost]:
        """Return both, one after the other."""
        if not isinstance(other, CostBreakdown):
            return NotImplemented
        parts = dict(self.parts)
        for component, cost in other.parts.items():
            parts[component] = parts[component] + cost if component in parts else cost
        return CostBreakdown(parts)

    def __mul__(self, times: int) -> CostBreakdown[AnyCost]:
        """Return the same work so many times, one after the other."""
        if not isinstance(times, int):
            return NotImplemented
        return CostBreakdown({component: cost * times for component, cost in self.parts.items()})

    __rmul__ = __mul__
