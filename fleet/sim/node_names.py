"""Names of the nodes of a simulated fleet, by their numbers: those of a local fleet, so that its chips are the same."""

from __future__ import annotations


def node_id(number: int) -> str:
    """Return the name of a node."""
    return f"node-{1 + number}"


def number_of(name: str) -> int:
    """Return the number of a node."""
    return int(name.removeprefix("node-")) - 1


def flower_id(name: str) -> int:
    """Return what Flower calls a node."""
    return 1 + number_of(name)
