"""Simulated fleet of many real nodes, whose time stands still unless it is told to pass."""

from __future__ import annotations

from pathlib import Path

from fleet.sim.fleet import SimulatedFleet
from fleet.sim.gallery import load

#: One person, whom one node has met; heartbeats are rare.
_CHANGES = {
    "fleet.people": 1,
    "fleet.nodes_per_person": 1,
    "time.heartbeat": "1h",
    "time.lease": "1d",
    "forgets.at": [],
}


def still_fleet(nodes: int, folder: Path) -> SimulatedFleet:
    """Return a fleet that has its first revision and is idle."""
    scenario = load("first-forget", {**_CHANGES, "fleet.nodes": nodes})
    return SimulatedFleet(scenario, 1, folder / "coordinator", nodes, lambda text: None)
