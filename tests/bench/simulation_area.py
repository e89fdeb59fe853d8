"""Figures of the simulator: what a fleet of thousands of real parts costs on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tests.bench.figure import Figure
from tests.bench.simulation_build import build_figures

SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {"build": build_figures}
