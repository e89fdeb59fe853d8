"""Test doubles for those who build on the coordinator.

`SteppedCoordinator` is a real coordinator over a real store and real key files, without server and loops. The nodes
that it talks to are real ones too: `edge_node.testing.MemoryNode`, with an engine of `FEATURES` features. `MemoryLink`
is the twin of a stream; those of its other ports are a database in memory (`sqlite://`), a clock of the caller's,
`MemoryKeyStore`, `PrivateKeys.drawn` and `reram_fleet.crypto.testing.seeded`.
"""

from fleet.coordinator.testing.links import MemoryLink
from fleet.coordinator.testing.stepped import CODES, FEATURES, REGISTRY_KEY, AnyNode, SteppedCoordinator

__all__ = ["CODES", "FEATURES", "REGISTRY_KEY", "AnyNode", "MemoryLink", "SteppedCoordinator"]
