"""Engines of the speakers task. Building one takes about a second, so tests share them and clean up."""

import pytest
from reram_fleet.v1.types_pb2 import SubjectAdapter

from edge_node.recognition.engine import Engine
from edge_node.tasks.speakers import SPEAKERS, load_people
from hwmodel import load_preset

NODES = ("north", "east", "south")
FLEET_SEED = 11
TAGS = {name: f"{index:032x}" for index, name in enumerate(SPEAKERS.split.enrolled, start=1)}


@pytest.fixture(scope="session")
def preset():
    return load_preset("180nm-1t1r")


@pytest.fixture(scope="session")
def fleet_seed():
    return FLEET_SEED


@pytest.fixture(scope="session")
def tag_of():
    """Subject tags of the enrolled people, by name."""
    return TAGS


@pytest.fixture(scope="session")
def people():
    return load_people()


@pytest.fixture(scope="session")
def built_fleet(preset):
    """Three chips as one batch."""
    return Engine.build(SPEAKERS, preset, FLEET_SEED, NODES)


@pytest.fixture(scope="session")
def built_device(preset):
    """The middle one of the three chips, alone."""
    return Engine.build(SPEAKERS, preset, FLEET_SEED, NODES[1:2])


def _emptied(engine):
    for node in range(len(engine.node_ids)):
        engine.set_lora(node, None)
        engine.drop_subjects(node, [a.subject_tag for a in engine.active_subjects(node)])
    return engine


@pytest.fixture
def fleet(built_fleet):
    return _emptied(built_fleet)


@pytest.fixture
def device(built_device):
    return _emptied(built_device)


@pytest.fixture(scope="session")
def captured(built_device, people):
    """Training and test codes of the four enrolled people on the device, by tag."""
    return {
        tag: (built_device.capture(people[name].train)[0], built_device.capture(people[name].test)[0])
        for name, tag in TAGS.items()
    }


@pytest.fixture(scope="session")
def adapters(captured):
    """Subject adapters from the training codes, by tag."""
    return {
        tag: SubjectAdapter(subject_tag=tag, count=len(train), code_sum=train.long().sum(0).tolist())
        for tag, (train, _) in captured.items()
    }
