"""Measuring the sections of an area: each in a process of its own, and kept until the code changes.

A long measurement that is interrupted goes on where it was: what a section gave is kept in `.claims/`, under
a digest of the code that measured it. A process per section starts with fresh memory and one thread.

``python -m tests.bench.measuring AREA SECTION FOLDER`` measures one section and keeps it in FOLDER.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tests.bench.figure import Figure, Target

ROOT = Path(__file__).resolve().parents[2]
#: What a figure can depend on, besides data.
CODE = ("hwmodel", "edge_node", "fleet", "proto/reram_fleet", "tests/bench", "constraints.txt")
_SUFFIXES = {".py", ".toml", ".txt"}

Section = Callable[[], Iterable[Figure]]


class SectionFailedError(Exception):
    """A section's process ended without figures."""


def sections(area: str) -> Mapping[str, Section]:
    """Return what is measured for `results/<area>.json`, by name; imported only here, since it is much."""
    named: Mapping[str, Section] = importlib.import_module(f"tests.bench.{area}_area").SECTIONS
    return named


def code_digest(root: Path = ROOT) -> str:
    """Return a digest of every source file that a figure can depend on, committed or not."""
    sha = hashlib.sha256()
    for part in CODE:
        top = root / part
        files = [top] if top.is_file() else sorted(top.rglob("*"))
        for path in files:
            if path.suffix in _SUFFIXES and path.is_file():
                content = path.read_bytes()
                sha.update(f"{path.relative_to(root)} {len(content)}\n".encode())
                sha.update(content)
    return sha.hexdigest()[:16]


@dataclass(frozen=True)
class KeptSections:
    """Figures of an area's sections by the present code, in a folder of their own."""

    folder: Path

    @classmethod
    def of(cls, area: str, root: Path = ROOT) -> KeptSections:
        """Return what is kept for the code as it is now."""
        return cls(root / ".claims" / code_digest(root) / area)

    def figures(self, section: str) -> list[Figure] | None:
        """Return a section's figures, or None if it was not measured."""
        try:
            kept = json.loads(self._file(section).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return [_figure(entry) for entry in kept]

    def keep(self, section: str, figures: Iterable[Figure]) -> None:
        """Keep a section's figures: whole, or not at all."""
        write_whole(self._file(section), json.dumps([asdict(figure) for figure in figures]))

    def _file(self, section: str) -> Path:
        return self.folder / f"{section.replace(' ', '-')}.json"


def measure(area: str, section: str, kept: KeptSections) -> float:
    """Measure a section in a process of its own, which keeps it; return the seconds that it took.

    A process that fails, which has then said why, raises `SectionFailedError`; so does code that `kept` is not of any
    more.
    """
    started = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-m", __spec__.name, area, section, str(kept.folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    if child.returncode:
        raise SectionFailedError(
            f"section {section!r} of {area} ended with exit code {child.returncode}; what it said is above"
        )
    return time.monotonic() - started


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _figure(entry: dict[str, Any]) -> Figure:
    target = Target(**entry["target"]) if entry["target"] else None
    return Figure(**entry | {"values": tuple(entry["values"]), "target": target})


def main(arguments: list[str]) -> int:
    """Measure one section and keep it."""
    area, section, folder = arguments
    torch.set_num_threads(1)
    kept = KeptSections(Path(folder))
    figures = list(sections(area)[section]())
    if not figures:
        sys.stderr.write(f"section {section!r} of {area} has no figures\n")
        return 1
    if kept.folder.parent.name != code_digest():
        sys.stderr.write(f"the code was changed while {section!r} was measured: measure it again\n")
        return 1
    kept.keep(section, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
