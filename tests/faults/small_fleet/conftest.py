from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.local.fleet import LocalSettings
from tests.faults.rig import Rig, running_rig


@pytest.fixture(scope="package")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A coordinator and two nodes, without a learning plane, and one person who is never forgotten."""
    settings = LocalSettings(
        tmp_path_factory.mktemp("fleet"), nodes=2, lease_s=30.0, learning=False, restart_nodes=False
    )
    with running_rig(settings) as rig:
        rig.kept = rig.enrol(0, nodes=(0, 1))
        yield rig


@pytest.fixture
def rig(shared_fleet: Rig) -> Rig:
    """The shared fleet with both nodes serving: each test leaves it so, or the next one fails."""
    for node in range(2):
        shared_fleet.fleet.wait_serving(node, 60.0)
    return shared_fleet
