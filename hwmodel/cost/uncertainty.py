"""Spread of the figures of a design when the numbers of a preset are drawn over their ranges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hwmodel.cost.assumptions import DEFAULT, Assumptions
from hwmodel.cost.designs import Activity, Design, design_report
from hwmodel.cost.pricing import Reals
from hwmodel.cost.sampling import sample_preset
from hwmodel.errors import CostError
from hwmodel.networks.spec import NetworkSpec
from hwmodel.presets.preset import Preset

#: Enough for the ends of a 5 % to 95 % band to scatter by about half a percentile.
DRAWS = 4000

#: Measures of a cost that have a band.
MEASURES = ("energy_j", "seconds", "cell_writes")


@dataclass(frozen=True, slots=True)
class Band:
    """Spread of a figure over draws: its percentiles 5, 50 and 95, and the ends over all draws."""

    p5: float
    p50: float
    p95: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, values: Reals) -> Band:
        """Return the band of one number per draw.

        Raises `CostError` if there are no draws, or one is not a number.
        """
        if not values.size or np.isnan(values).any():
            raise CostError(f"a band needs at least one draw, and numbers only; got {values!r}")
        p5, p50, p95 = (float(v) for v in np.percentile(values, (5, 50, 95)))
        return cls(p5, p50, p95, float(values.min()), float(values.max()))


@dataclass(frozen=True, slots=True)
class QuantityBand:
    """One quantity of one design: its value at the preset's numbers, and its band over the draws.

    The measure is ``energy_j``, ``seconds`` or ``cell_writes``.
    """

    network: str
    design: Design
    activity: Activity
    measure: str
    nominal: float
    band: Band


def monte_carlo(
    networks: Iterable[NetworkSpec],
    preset: Preset,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    assumptions: Assumptions = DEFAULT,
) -> tuple[QuantityBand, ...]:
    """Return the bands of energy, time and pulses of every design and activity, all in the same draws.

    Raises `SamplingError` if `draws` is below 1; `CostError` as `design_report`.
    """
    sample = sample_preset(preset, draws, seed)
    bands = []
    for network in networks:
        for design in Design:
            drawn = design_report(network, sample, design, assumptions)
            nominal = design_report(network, preset, design, assumptions)
            for activity, breakdown in drawn.costs.items():
                total, at_nominal = breakdown.total, nominal.costs[activity].total
                for measure in MEASURES:
                    value, band = float(getattr(at_nominal, measure)), Band.of(getattr(total, measure))
                    bands.append(QuantityBand(network.name, design, activity, measure, value, band))
    return tuple(bands)
