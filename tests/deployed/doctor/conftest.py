from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.coordinator.coordinator_process import CoordinatorProcess


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    """A coordinator that serves, and that the tests of a module may kill and start."""
    process = CoordinatorProcess(tmp_path_factory.mktemp("doctor") / "coordinator")
    process.start()
    yield process
    process.kill()
