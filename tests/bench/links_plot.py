"""Picture of a coordinator under load: how time and CPU grow with the number of links."""

from __future__ import annotations

import re

from matplotlib.figure import Figure

from fleet.report.curves import Curve, CurvePanel, Mark, curves
from tests.bench.results_item import Figures

_NAME = re.compile(r"(\d+) links, SQLite: (.*)")


def links_plot(figures: Figures) -> Figure:
    """Return the picture of what `results/operations.json` has of each number of links."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in figures.named(""):
        if match := _NAME.fullmatch(row["name"]):
            found.setdefault(match[2], []).append((int(match[1]), row["value"]))

    def curve(label: str, name: str, scale: float = 1.0, mark: Mark = Mark.LINE_AND_POINTS) -> Curve:
        points = sorted(found.get(name, []))
        return Curve(label, [links for links, _ in points], [scale * value for _, value in points], mark)

    links = sorted({links for points in found.values() for links, _ in points})

    def panel(title: str, unit: str, *drawn: Curve) -> CurvePanel:
        ticks = [(each, f"{each:,}") for each in links]
        return CurvePanel(title, "links", unit, drawn, x_log=True, y_log=True, x_ticks=ticks)

    return curves(
        "A coordinator and its links: real nodes over gRPC, two cores for both sides",
        [
            panel(
                "A forget",
                "seconds from its commit",
                curve("converged", "forget created until converged"),
                curve("suppressed, p99", "forget created until suppressed, p99"),
                curve("bare gRPC fan-out, p99", "bare grpc.aio: fan-out of 400 bytes, p99", mark=Mark.DASHED),
            ),
            panel(
                "CPU and memory of the coordinator",
                "ms or KiB",
                curve("ms per node and forget", "coordinator CPU per node and forget", 1000.0),
                curve("KiB per link", "memory per link", 1 / 1024),
            ),
        ],
        shared_legend=False,
    )
