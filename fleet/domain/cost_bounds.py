"""Bounds of what a node can have spent: a number beyond them says something about the node, not its costs."""

from __future__ import annotations

import math
from collections.abc import Mapping

#: A watt for thirty years.
MAX_ENERGY_J = 1e9
#: Three centuries.
MAX_SECONDS = 1e10
#: Bytes, cell writes, inferences, ratios: what a float64 still counts one by one.
MAX_COUNT = 2**53


def out_of_range(values: Mapping[str, float]) -> str:
    """Return what is wrong with the first number that no node can have spent; "" if nothing is.

    Of the names, joules end in `_j` and times in `seconds`; all others are counts or ratios.
    """
    for name, value in values.items():
        most = MAX_ENERGY_J if name.endswith("_j") else MAX_SECONDS if name.endswith("seconds") else MAX_COUNT
        # NaN compares as false.
        if not (math.isfinite(value) and 0 <= value <= most):
            return f"{name} must lie in 0..{most:.3g}, got {value:.6g}"
    return ""


def decreased(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Return which cumulative number has become less, or is missing; "" if none has."""
    for name, value in before.items():
        if after.get(name, 0) < value:
            return f"{name} is cumulative, and went from {value:.6g} to {after.get(name, 0):.6g}"
    return ""
