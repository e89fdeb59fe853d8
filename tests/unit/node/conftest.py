from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_node.agent.node import Node
from edge_node.testing import FakeClock, FakeCoordinator, open_node


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def restart(tmp_path: Path, coordinator: FakeCoordinator, clock: FakeClock) -> Iterator[Callable[[], Node]]:
    """Start the node, or end it in order and start it again on the same folder."""
    running: list[Node] = []

    def start() -> Node:
        if running:
            running.pop().close()
        running.append(open_node(tmp_path / "state", coordinator, clock))
        return running[-1]

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
