from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.coordinator.coordinator_process import NodeStream


@pytest.fixture
def open_stream() -> Iterator[Callable[..., NodeStream]]:
    """Open streams of nodes, which end with the test."""
    streams: list[NodeStream] = []

    def open_one(*arguments, **options) -> NodeStream:
        streams.append(NodeStream(*arguments, **options))
        return streams[-1]

    yield open_one
    for stream in streams:
        stream.close()
