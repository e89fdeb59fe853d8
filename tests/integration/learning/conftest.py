from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.learning.plane import Plane


@pytest.fixture(scope="package")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A learning plane, which the last test that looks at it ends."""
    plane = Plane.start(tmp_path_factory.mktemp("learning plane"))
    yield plane
    plane.stop()
