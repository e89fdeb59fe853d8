"""Test doubles for those who build on a node: a clock, a small engine, a coordinator with keys of its own.

The node itself is no double: `MemoryNode` is a real one without files, `open_node` opens one on a state folder.
"""

from edge_node.testing.coordinator import FakeCoordinator, log_range
from edge_node.testing.engine import MemoryEngine
from edge_node.testing.nodes import FakeClock, MemoryNode, NodeBackup, open_node

__all__ = ["FakeClock", "FakeCoordinator", "MemoryEngine", "MemoryNode", "NodeBackup", "log_range", "open_node"]
