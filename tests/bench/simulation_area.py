"""Figures of the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from tests.bench.figure import Figure
from tests.bench.grid_figures import grid_figures
from tests.bench.simulated_fleets import digest_figures, faces_figures, forget_figures, long_figures
from tests.bench.simulation_build import build_figures

SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "grid": grid_figures,
    "build": build_figures,
    "forget": forget_figures,
    "days-30": partial(long_figures, 30),
    "digests": digest_figures,
    "faces-1000": partial(faces_figures, 1000),
    "faces-10000": partial(faces_figures, 10_000),
}
