"""Quantities as a reader wants them: a value with its unit, as short as it can be read."""

from __future__ import annotations

import math

from matplotlib.ticker import EngFormatter

from fleet.metrics.definitions import Unit

_LONG = (("d", 86400), ("h", 3600), ("min", 60))
_BY_SIGN = {
    "s": Unit.SECONDS,
    "J": Unit.JOULES,
    "B": Unit.BYTES,
    "share": Unit.SHARE,
    "x": Unit.RATIO,
    "": Unit.COUNT,
}


def text_of(value: float, unit: Unit) -> str:
    """Return a value with its unit, as short as it can be read."""
    if not math.isfinite(value):
        return "-"
    if unit is Unit.SECONDS and abs(value) >= 60:
        name, seconds = next(each for each in _LONG if abs(value) >= each[1])
        return f"{value / seconds:.3g} {name}"
    if unit is Unit.SHARE:
        return f"{100 * value:.3g} %"
    if unit is Unit.BYTES:
        return f"{EngFormatter('B', places=None)(float(f'{value:.3g}'))}"
    if unit in (Unit.WATTS, Unit.JOULES, Unit.SECONDS):
        return str(EngFormatter({Unit.WATTS: "W", Unit.JOULES: "J"}.get(unit, "s"))(float(f"{value:.3g}")))
    suffix = {Unit.RATE: "/s", Unit.RATIO: "\N{MULTIPLICATION SIGN}"}.get(unit, "")
    number = f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
    return f"{number}{suffix}"


def signed_text(value: float, sign: str) -> str:
    """Return a value with its unit, given as "s", "J", "B", "share", "x" (so many times), or "" for a number."""
    return text_of(value, _BY_SIGN[sign])
