"""A coordinator taken step by step, with and without nodes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from fleet.coordinator.backup import back_up
from fleet.coordinator.folder import CoordinatorFolder
from fleet.coordinator.restore import restore
from fleet.coordinator.revisions.heads import Heads
from fleet.coordinator.testing import SteppedCoordinator
from tests.device import Device
from tests.unit.coordinator.head_fleet import make_node
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, Clock, Nodes, make_nodes
from tests.unit.store.kinds import MEMORY, SQLITE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass(frozen=True)
class SettledFleet:
    """State folder of a fleet whose two nodes know everybody, its database if that is elsewhere, and these nodes."""

    folder: Path
    database: str | None
    nodes: Nodes


@pytest.fixture(scope="session")
def settle(request, tmp_path_factory) -> Iterator[Callable[[str], SettledFleet]]:
    """Return the settled fleet of a kind of database: made once, to be copied."""
    with ExitStack() as until_the_end:

        @cache
        def settled(kept_in: str) -> SettledFleet:
            database = None
            if kept_in == "postgresql":
                database = until_the_end.enter_context(request.getfixturevalue("postgres").database())
            folder = tmp_path_factory.mktemp("settled") / "coordinator"
            coordinator = SteppedCoordinator(folder, now_ms=Clock(), database=database)
            nodes = make_nodes(coordinator)
            coordinator.close()
            return SettledFleet(folder, database, nodes)

        yield settled


@pytest.fixture
def kept_in(request) -> str:
    """Kind of the coordinator's database: SQLite, unless the test is parametrised by it (`tests.unit.store.kinds`)."""
    return getattr(request, "param", SQLITE)


@pytest.fixture
def settled_fleet(settle, kept_in) -> SettledFleet:
    return settle(kept_in)


@pytest.fixture
def database(request, kept_in) -> Iterator[str | None]:
    """Address of the coordinator's database; None is the file in its folder."""
    if kept_in != "postgresql":
        yield {SQLITE: None, MEMORY: "sqlite://"}[kept_in]
        return
    copied = request.getfixturevalue("settled_fleet").database if "nodes" in request.fixturenames else None
    with request.getfixturevalue("postgres").database(copied) as url:
        yield url


@pytest.fixture
def open_coordinator(request, tmp_path, clock, kept_in, database) -> Iterator[Callable[..., SteppedCoordinator]]:
    """Open the coordinator; once more, it is the same one after a restart.

    It begins empty, or as the settled fleet's if the test wants its nodes.
    """
    opened: list[SteppedCoordinator] = []
    if "nodes" in request.fixturenames and kept_in != MEMORY:
        shutil.copytree(request.getfixturevalue("settled_fleet").folder, tmp_path / "coordinator")

    def open_it(*, learning: bool = False) -> SteppedCoordinator:
        while opened:
            opened.pop().close()
        opened.append(SteppedCoordinator(tmp_path / "coordinator", learning=learning, now_ms=clock, database=database))
        return opened[0]

    yield open_it
    for coordinator in opened:
        coordinator.close()


@pytest.fixture
def coordinator(open_coordinator) -> SteppedCoordinator:
    return open_coordinator()


@pytest.fixture
def nodes(request, coordinator, kept_in) -> Nodes:
    """Return the settled fleet's nodes, connected."""
    if kept_in == MEMORY:
        return make_nodes(coordinator)
    first, second = (node.twin() for node in request.getfixturevalue("settled_fleet").nodes)
    coordinator.converse(first, second)
    return first, second


@pytest.fixture
def folder(tmp_path, database) -> CoordinatorFolder:
    return CoordinatorFolder(tmp_path / "coordinator", database)


@pytest.fixture
def backup(folder, coordinator, nodes, tmp_path) -> Path:
    """Return the file of a backup from before anybody was forgotten; its coordinator serves meanwhile."""
    back_up(folder, tmp_path / "backup.tar.gz")
    return tmp_path / "backup.tar.gz"


@pytest.fixture
def pair(coordinator: SteppedCoordinator) -> tuple[Device, Device]:
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


@pytest.fixture
def go_back(folder, backup, coordinator, clock):
    """Return what restores the backup, a minute later, and opens its coordinator; the one of before is gone."""
    opened: list[SteppedCoordinator] = []

    def go_back(*, rows: bool = True) -> SteppedCoordinator:
        (opened.pop() if opened else coordinator).close()
        clock.now_ms += 60_000
        for file in () if rows else folder.root.glob("fleet.db*"):
            file.unlink()
        restore(folder, backup, lose_forgets=True, now_ms=clock)
        database = None if folder.database else folder.database_url
        opened.append(SteppedCoordinator(folder.root, now_ms=clock, database=database))
        return opened[0]

    yield go_back
    for restored in opened:
        restored.close()
