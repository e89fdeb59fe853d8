"""Figures of the exploits: each works at the commit that it was found in, and does not at this one."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figure import Figure, Target
from tests.faults.exploits.__main__ import ROOT, Outcome, names, run

#: Where the findings were made.
FOUND_IN = "8ffc663"


class BrokenExploitError(Exception):
    """An exploit did not get so far as to know whether it works."""


def figures() -> list[Figure]:
    """Run every exploit against both versions; 1 is an attack that works."""
    found = []
    with _worktree(FOUND_IN) as before:
        for name in names():
            found += [
                Figure(f"{name}, works at {FOUND_IN}", (_works(run(name, before)),), "1", Target("=", 1.0)),
                Figure(f"{name}, works now", (_works(run(name)),), "1", Target("=", 0.0)),
            ]
    return found


def _works(outcome: Outcome) -> float:
    if outcome.verdict == "broken":
        raise BrokenExploitError(f"{outcome.name} is broken:\n{outcome.said}")
    return float(outcome.verdict == "succeeds")


@contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    """Check a commit out in a folder of its own; a clone without history has none to offer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / commit
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(path), commit], cwd=ROOT, check=True)
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(path)], cwd=ROOT, check=True)


SECTIONS: Mapping[str, Callable[[], list[Figure]]] = {"exploits": figures}
