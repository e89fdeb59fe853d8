"""Prometheus as this project asks it: for the newest values of an expression, and for those of a while."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one series, by Unix time (s)."""

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]

    @property
    def newest(self) -> float:
        """The last value."""
        return self.values[-1]


class Prometheus:
    """Query API of a Prometheus.

    Parameters
    ----------
    base
        Its address, e.g. http://127.0.0.1:9090.
    ask
        Returns the JSON at an address, or raises what its caller raises.
    """

    def __init__(self, base: str, ask: Callable[[str], Any]) -> None:
        self._base, self._ask = base.rstrip("/"), ask

    def query(self, expr: str) -> list[Series]:
        """Return the newest value of each series."""
        return [Series(each["metric"], *_points([each["value"]])) for each in self._result("query", {"query": expr})]

    def query_range(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        """Return the values of each series between two Unix times; a NaN is left out."""
        asked = {"query": expr, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:.3f}"}
        found = [Series(each["metric"], *_points(each["values"])) for each in self._result("query_range", asked)]
        return [_without_nan(series) for series in found]

    def _result(self, verb: str, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        answer = self._ask(f"{self._base}/api/v1/{verb}?{urlencode(asked)}")
        found = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [{"metric": {}, "value": found}]
        result: list[dict[str, Any]] = found
        return result


def _points(values: Sequence[tuple[float, str]]) -> tuple[list[float], list[float]]:
    return [float(at) for at, _ in values], [float(value) for _, value in values]


def _without_nan(series: Series) -> Series:
    kept = [(at, value) for at, value in zip(series.times, series.values, strict=True) if not math.isnan(value)]
    return Series(series.labels, [at for at, _ in kept], [value for _, value in kept])
