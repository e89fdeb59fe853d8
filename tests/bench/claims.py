"""`python -m tests.bench.claims [AREA]`: measure anew what `results/AREA.json` says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import chip_area, learning_area, main_area
from tests.bench.figure import Figure

RESULTS = Path(__file__).resolve().parents[2] / "results"

#: Each area measures its figures when it is called; an area is one file of `results/`.
AREAS: Mapping[str, Callable[[], list[Figure]]] = {
    "main": main_area.figures,
    "chip": chip_area.figures,
    "learning": learning_area.figures,
}


def main(arguments: list[str]) -> int:
    """Measure the named areas, or all; returns 1 if a target does not hold."""
    unknown = sorted(set(arguments) - set(AREAS))
    if unknown:
        Console(stderr=True).print(f"there is no area {unknown[0]!r}; known are: {', '.join(AREAS)}")
        return 2
    holds = True
    for area in arguments or AREAS:
        entries = [figure.document(f"make claims AREA={area}") for figure in AREAS[area]()]
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{area}.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
        table = Table(
            "figure", "median", "lowest .. highest", "unit", "target", "", title=f"results/{area}.json"
        )
        for entry in entries:
            low, high = entry["spread"]
            verdict = {None: "", True: "holds", False: "FAILS"}[entry["holds"]]
            table.add_row(
                entry["name"],
                f"{entry['value']:.4g}",
                f"{low:.4g} .. {high:.4g}",
                entry["unit"],
                entry["target"] or "",
                verdict,
            )
            holds &= entry["holds"] is not False
        Console().print(table)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
