"""Figures of the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tests.bench.figure import Figure
from tests.bench.grid_figures import grid_figures
from tests.bench.simulation_build import build_figures

SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {"grid": grid_figures, "build": build_figures}
