"""Picture of simulators of federated learning: what a node and round costs, over the number of nodes."""

from __future__ import annotations

from matplotlib.figure import Figure

from fleet.report.curves import Curve, CurvePanel, Mark, curves
from tests.bench.grid_figures import COST, FLEETS, MOST_BYTES, MOST_BYTES_PER_NODE, NAMES
from tests.bench.results_item import Figures


def simulators_plot(figures: Figures) -> Figure:
    """Return the picture of what `results/simulation.json` has of each simulator."""

    def curve(label: str, name: str, scale: float, sizes: tuple[int, ...]) -> Curve:
        found = [(nodes, rows[0]["value"]) for nodes in sorted(sizes) if (rows := figures.named(name.format(nodes)))]
        mark = Mark.LINE_AND_POINTS if len(found) > 1 else Mark.POINTS
        return Curve(label, [nodes for nodes, _ in found], [scale * value for _, value in found], mark)

    sizes = FLEETS["vector-grid"]
    ticks = [(nodes, f"{nodes:,}") for nodes in sorted(sizes) if nodes in (10, 100, 1000, 10_000)]
    costs = [curve(NAMES[name], COST.format(NAMES[name], "{}"), 1e3, FLEETS[name]) for name in FLEETS]
    line = sorted(sizes)
    bound = Curve("bound", line, [(MOST_BYTES + MOST_BYTES_PER_NODE * nodes) / 1e6 for nodes in line], Mark.DASHED)
    memory = curve("VectorGrid", "memory of VectorGrid, {} nodes", 1e-6, sizes)
    return curves(
        "A model of 10,026 parameters, 64 samples per node, one epoch, plain averaging; one core",
        [
            CurvePanel("A node and round", "nodes", "ms", costs, x_log=True, y_log=True, x_ticks=ticks),
            CurvePanel("Peak memory", "nodes", "MB", [memory, bound], x_log=True, x_ticks=ticks),
        ],
        shared_legend=False,
    )
