"""Test doubles for those who build on the coordinator.

`SimulatedNode` keeps a node's side of the protocol with real keys and no chip. `SteppedCoordinator` is a real
coordinator over a real store and real key files, without server and loops.
"""

from fleet.coordinator.testing.simulated_node import (
    CODES,
    FEATURES,
    REGISTRY_KEY,
    Journal,
    SimulatedNode,
    SimulatedNodeError,
)
from fleet.coordinator.testing.stepped import SteppedCoordinator

__all__ = ["CODES", "FEATURES", "REGISTRY_KEY", "Journal", "SimulatedNode", "SimulatedNodeError", "SteppedCoordinator"]
