from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_node.agent.node import Node
from edge_node.testing import FakeClock, FakeCoordinator, MemoryNode, open_node


@pytest.fixture(params=["files", "memory"])
def storage(request: pytest.FixtureRequest) -> str:
    """Where nodes keep their journal and keys: every test of a node runs on both."""
    return str(request.param)


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def restart(
    storage: str, tmp_path: Path, coordinator: FakeCoordinator, clock: FakeClock
) -> Iterator[Callable[[], Node]]:
    """Start the node, or end it in order and start it again with what it has kept."""
    running: list[Node] = []
    memory = MemoryNode("node-1", clock=clock)

    def on_files() -> Node:
        if running:
            running[0].close()
        return open_node(tmp_path / "state", coordinator, clock)

    def in_memory() -> Node:
        if running:
            return memory.restart()
        memory.join(coordinator.enrollment("127.0.0.1:1"))
        return memory.node

    def start() -> Node:
        running[:] = [on_files() if storage == "files" else in_memory()]
        return running[0]

    yield start
    for node in running:
        node.close()


@pytest.fixture
def node(restart: Callable[[], Node]) -> Node:
    return restart()


@pytest.fixture
def samples() -> Callable[[int, int], list[np.ndarray]]:
    """Samples of one voice: four frames of eight channels around a direction of its own."""

    def make(voice: int, count: int = 3) -> list[np.ndarray]:
        direction = np.eye(8, dtype=np.float32)[voice] * 1000
        return [direction[None] + np.full((4, 8), number, np.float32) for number in range(count)]

    return make
