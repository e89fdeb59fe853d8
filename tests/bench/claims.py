"""`python -m tests.bench.claims [AREA] [--section NAME]`: measure anew what `results/AREA.json` says.

What was measured of the present code is kept, so an interrupted run goes on where it was; a section that is
named is measured again. `results/AREA.json` is written once there are figures of every section.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.figure import Figure
from tests.bench.measuring import KeptSections, SectionFailedError, measure, sections, write_whole
from tests.bench.subjects import subject

RESULTS = Path(__file__).resolve().parents[2] / "results"

#: An area is one file of `results/`, and a module here, with its sections.
AREAS = ("main", "chip", "learning", "security", "operations", "observability", "simulation", "faults")


def main(arguments: Sequence[str]) -> int:
    """Measure the named areas, or all; returns 1 if a target does not hold, or something failed."""
    options = _options(arguments)
    holds = True
    for area in options.areas or AREAS:
        names = list(sections(area))
        if options.section and options.section not in names:
            _say(f"area {area} has no section {options.section!r}; it has: {', '.join(names)}")
            return 2
        kept = KeptSections.of(area)
        failed = _measure(area, [options.section] if options.section else names, kept, bool(options.section))
        found = {name: figures for name in names if (figures := kept.figures(name)) is not None}
        entries = {name: _entries(area, name, figures) for name, figures in found.items()}
        missing = [name for name in names if name not in found]
        shown = [options.section] if options.section and not failed else list(entries)
        rows = [row for name in shown for row in entries.get(name, [])]
        Console().print(_table(f"results/{area}.json", rows))
        holds &= not failed and all(row["holds"] is not False for row in rows)
        if missing:
            _say(f"results/{area}.json is left as it is: not measured yet are {', '.join(missing)}")
        else:
            whole = [row for name in names for row in entries[name]]
            write_whole(RESULTS / f"{area}.json", json.dumps(whole, indent=2) + "\n")
    return 0 if holds else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="claims", description=main.__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(AREAS)}; all by default")
    parser.add_argument("--section", help="measure this one of the area, also if it was measured before")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.areas) - set(AREAS))
    if unknown:
        parser.error(f"there is no area {unknown[0]!r}; known are: {', '.join(AREAS)}")
    if options.section and len(options.areas) != 1:
        parser.error("a section is one of an area: name the area, too")
    return options


def _measure(area: str, names: Sequence[str], kept: KeptSections, again: bool) -> list[str]:
    """Measure what is not kept, or everything again; returns the names of those that failed."""
    failed: list[str] = []
    started = time.monotonic()
    for number, name in enumerate(names, 1):
        where = f"{area} {number}/{len(names)} {name}"
        if not again and kept.figures(name) is not None:
            _say(f"{where}: measured before, by the same code")
            continue
        _say(f"{where} ... ({(time.monotonic() - started) / 60:.1f} min so far)")
        try:
            seconds = measure(area, name, kept)
        except SectionFailedError as error:
            # The others are worth having: what they give is kept.
            failed.append(name)
            _say(str(error))
        else:
            _say(f"{where}: {seconds / 60:.1f} min")
    return failed


def _entries(area: str, section: str, figures: Sequence[Figure]) -> list[dict[str, Any]]:
    # The name of a section is one word, or needs quotes.
    quoted = f'"{section}"' if " " in section else section
    command = f"make claims AREA={area} SECTION={quoted}"
    rows = [figure.document(command) for figure in figures]
    if area == "learning":
        return [row | {"subject": subject(section)} for row in rows]
    return rows


def _table(title: str, entries: Sequence[dict[str, Any]]) -> Table:
    table = Table("figure", "median", "lowest .. highest", "unit", "target", "", title=title)
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
    return table


def _say(text: str) -> None:
    Console(stderr=True).print(text, markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
