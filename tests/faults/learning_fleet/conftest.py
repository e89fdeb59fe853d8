from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.learning_fleet.story import Story, run_story


@pytest.fixture(scope="package")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A fleet with a learning plane that learned, lost its SuperLink meanwhile, and forgot somebody."""
    with run_story(tmp_path_factory.mktemp("story")) as finished:
        yield finished
