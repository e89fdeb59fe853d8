"""Ports that are chosen once, and kept in a file."""

from __future__ import annotations

from pathlib import Path

from reram_fleet.processes.flower import free_port

# Nodes carry the port of the proxy in their enrolment.
_PORTS = range(10_000, 20_000)


def remembered_port(path: Path) -> int:
    """Return the port kept in a file; choose a free one the first time.

    Nodes carry the address in their enrolment, so it must not change when the coordinator restarts.
    """
    if path.exists():
        return int(path.read_text())
    port = free_port(_PORTS)
    path.write_text(f"{port}\n")
    return port
