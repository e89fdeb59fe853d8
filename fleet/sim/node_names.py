"""Names of the nodes of a simulated fleet, by their numbers."""

from __future__ import annotations


def node_id(number: int) -> str:
    """Return the name of a node."""
    return f"node-{number:05}"


def number_of(name: str) -> int:
    """Return the number of a node."""
    return int(name.removeprefix("node-"))


def flower_id(name: str) -> int:
    """Return what Flower calls a node."""
    return 1 + number_of(name)
