"""Test doubles for those who build on the coordinator.

`SteppedCoordinator` is a real coordinator over a real store and real key files, without server and loops. The nodes
that it talks to are real ones too: `edge_node.testing.MemoryNode`, with an engine of `FEATURES` features.
"""

from fleet.coordinator.testing.stepped import CODES, FEATURES, REGISTRY_KEY, AnyNode, SteppedCoordinator

__all__ = ["CODES", "FEATURES", "REGISTRY_KEY", "AnyNode", "SteppedCoordinator"]
