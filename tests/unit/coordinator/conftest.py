"""A coordinator taken step by step, with and without nodes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.coordinator.revisions.heads import Heads
from fleet.coordinator.testing import SimulatedNode, SteppedCoordinator
from tests.unit.coordinator.head_fleet import make_node
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, Clock, Nodes, make_nodes


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def settled_fleet(tmp_path_factory) -> tuple[Path, Nodes]:
    """Return the state folder of a fleet whose two nodes know everybody, and these nodes: to be copied."""
    folder = tmp_path_factory.mktemp("settled") / "coordinator"
    coordinator = SteppedCoordinator(folder, now_ms=Clock())
    nodes = make_nodes(coordinator)
    coordinator.close()
    return folder, nodes


@pytest.fixture
def open_coordinator(request, tmp_path, clock) -> Iterator[Callable[..., SteppedCoordinator]]:
    """Open the coordinator; once more, it is the same one after a restart.

    It begins empty, or as the settled fleet's if the test wants its nodes.
    """
    opened: list[SteppedCoordinator] = []
    if "nodes" in request.fixturenames:
        shutil.copytree(request.getfixturevalue("settled_fleet")[0], tmp_path / "coordinator")

    def open_it(*, learning: bool = False) -> SteppedCoordinator:
        while opened:
            opened.pop().close()
        opened.append(SteppedCoordinator(tmp_path / "coordinator", learning=learning, now_ms=clock))
        return opened[0]

    yield open_it
    for coordinator in opened:
        coordinator.close()


@pytest.fixture
def coordinator(open_coordinator) -> SteppedCoordinator:
    return open_coordinator()


@pytest.fixture
def nodes(coordinator, settled_fleet) -> Nodes:
    """Return the settled fleet's nodes, connected."""
    first, second = (node.twin() for node in settled_fleet[1])
    coordinator.converse(first, second)
    return first, second


@pytest.fixture
def pair(coordinator: SteppedCoordinator) -> tuple[SimulatedNode, SimulatedNode]:
    """Two nodes: everybody but Deb is known to one, Bob to both."""
    first = make_node(coordinator, "node-1", {ANN: 1, BOB: 2}, public=1)
    second = make_node(coordinator, "node-2", {BOB: 3, CEM: 4}, public=2)
    coordinator.converse(first, second)
    return first, second


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record what each head is solved from."""
    bases: list[bytes] = []
    real = Heads._solve

    def recording(heads, basis):
        bases.append(basis)
        return real(heads, basis)

    monkeypatch.setattr(Heads, "_solve", recording)
    return bases
