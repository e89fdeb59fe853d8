import pytest

from edge_node.recognition.engine import Engine
from edge_node.tasks.speakers import SPEAKERS, load_people
from hwmodel import load_preset


@pytest.fixture(scope="session")
def pair():
    """Two chips as one batch."""
    return Engine.build(SPEAKERS, load_preset("180nm-1t1r"), 3, ["a", "b"])


@pytest.fixture(scope="session")
def samples():
    return load_people(["s03"])["s03"].test[:12]
