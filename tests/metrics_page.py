"""`python -m tests.metrics_page`: write docs/metrics.md from what the exporters say of themselves."""

from __future__ import annotations

import sys
import tempfile
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from edge_node.agent.metrics import NodeCollector
from edge_node.testing import MemoryNode
from fleet.coordinator.metrics.calls import CallMeter
from fleet.coordinator.metrics.fleet import FleetCollector
from fleet.coordinator.metrics.nodes import NodesCollector
from fleet.coordinator.testing import SteppedCoordinator
from fleet.sim.metrics import RunCollector

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "metrics.md"
#: Name of a sample, by type, where it is not that of its family.
_SUFFIX = {"counter": "_total", "info": "_info"}


def exported() -> Mapping[str, Iterable[Metric]]:
    """Return the families of each page, without samples."""
    with tempfile.TemporaryDirectory() as folder:
        coordinator = SteppedCoordinator(Path(folder), database="sqlite://").coordinator
        node = MemoryNode("node-1")
        pages: Mapping[str, tuple[Collector, ...]] = {
            "Coordinator: /metrics": (FleetCollector(coordinator), CallMeter()),
            "Coordinator: /metrics/nodes": (NodesCollector(coordinator, 0, 1),),
            "Node: /metrics": (NodeCollector(node, lambda: False, lambda: ""),),  # type: ignore[arg-type]  # of no node
            "A simulated run: `fleet sim run --metrics-port`": (RunCollector(),),
        }
        return {
            page: [family for collector in collectors for family in collector.describe()]
            for page, collectors in pages.items()
        }


def name_of(family: Metric) -> str:
    """Return the name by which a query finds a family."""
    return family.name + _SUFFIX.get(family.type, "")


def page() -> str:
    """Return docs/metrics.md."""
    parts = [
        "# Metrics",
        "",
        'Written by `make metrics-page` from the code. Energy is never measured here: `source="modelled"` says that it',
        "is what the energy model says of what was done. No label names a person, a tag or a forget. Beside these are",
        "`process_*` and `python_*` of each process.",
        "",
    ]
    for title, families in exported().items():
        parts += [f"## {title}", ""]
        for family in sorted(families, key=name_of):
            labels = ", ".join(getattr(family, "_labelnames", ()))
            entry = f"- `{name_of(family)}`" + (f" by {labels}" if labels else "") + f" ({family.type}). "
            parts += textwrap.wrap(entry + family.documentation, 118, subsequent_indent="  ", break_on_hyphens=False)
        parts.append("")
    return "\n".join(parts)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
