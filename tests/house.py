"""`python -m tests.house`: hand-written source lines by room, as CI prints them.

Counted are all lines of Python that people wrote and that ship, and the workloads of the benchmarks, which were part
of the laboratory; generated stubs are not.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
COUNTED = ("edge_node", "fleet", "hwmodel", "proto/reram_fleet", "tests/bench/workloads")


def source_files() -> list[str]:
    """Return the files that are counted, by their paths in the repository."""
    # Also what is not committed yet: a new file counts from its first line.
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *COUNTED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(
        path
        for path in listed.stdout.splitlines()
        if path.endswith(".py") and not path.startswith("proto/reram_fleet/v1/") and (ROOT / path).exists()
    )


def _room(path: str) -> str:
    parts = Path(path).parts
    deep = 3 if path.startswith(("fleet/lab/", "tests/", "proto/")) else 2
    return "/".join(parts[:deep]) if len(parts) > deep else "/".join(parts[:-1])


def main() -> int:
    """Print a line for each room, and the sum."""
    rooms: Counter[str] = Counter()
    for path in source_files():
        rooms[_room(path)] += len((ROOT / path).read_text(encoding="utf-8").splitlines())
    for room, lines in sorted(rooms.items()):
        sys.stdout.write(f"{lines:7,d}  {room}\n")
    sys.stdout.write(f"{rooms.total():7,d}  hand-written source lines\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
