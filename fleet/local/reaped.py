"""Logs of the processes of a local fleet."""

from __future__ import annotations

from pathlib import Path


def log_size(path: Path) -> int:
    """Return how long a log is now: where the next run's lines begin."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def log_tail(path: Path, lines: int = 8, *, start: int = 0) -> str:
    """Return the last lines of a log from an offset (in bytes) on, for an error message."""
    try:
        text = path.read_bytes()[start:].decode(errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def complaints(logs: Path, lines: int = 5) -> list[str]:
    """Return the last warnings and errors of every log in a folder."""
    found = []
    for path in sorted(logs.glob("*.log")):
        text = path.read_text(encoding="utf-8", errors="replace").splitlines()
        wrong = [line for line in text if any(word in line for word in ("WARNING", "ERROR", "Error:"))]
        found += [f"{path.stem}: {line[:300]}" for line in wrong[-lines:]]
    return found
