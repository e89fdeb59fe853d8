"""The next revision is looked for only when what it is made of may have changed."""

from __future__ import annotations

import numpy as np
import pytest

from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.testing import FEATURES
from fleet.coordinator.work import NOT_IN_REVISIONS
from fleet.store import schema


@pytest.fixture
def looks(monkeypatch):
    """Count how often everybody's contribution is opened."""
    counted, enrolled = [], Revisions.enrolled_adapters

    def counting(self):
        counted.append(self)
        return enrolled(self)

    monkeypatch.setattr(Revisions, "enrolled_adapters", counting)
    return counted


@pytest.fixture
def settled(coordinator, nodes):
    """A coordinator that has nothing to do."""
    nodes[0].capture("a" * 32, np.arange(2 * FEATURES).reshape(2, FEATURES))
    coordinator.converse(*nodes)
    while coordinator.step():
        pass
    return coordinator


def test_looks_and_heartbeats_open_no_contribution(settled, nodes, looks):
    for _ in range(3):
        for node in nodes:
            for message in node.heartbeat():
                settled.take(node.node_id, message)
        settled.step()
    assert looks == []


def test_whoever_is_new_is_in_the_next_revision(settled, nodes, looks):
    nodes[1].capture("b" * 32, np.ones((2, FEATURES), np.int32))
    settled.converse(*nodes)
    assert looks
    assert "b" * 32 in nodes[0].active()


def test_whoever_is_forgotten_is_in_none(settled, nodes, looks):
    settled.forget("r1", "a" * 32)
    settled.converse(*nodes)
    assert looks
    assert "a" * 32 not in nodes[0].active()


def test_tables_that_change_no_revision_are_tables_and_say_nothing_of_people():
    assert schema.metadata.tables.keys() >= NOT_IN_REVISIONS
    personal = {"subject", "contribution", "head_statistics", "public_codes", "revision", "revision_head"}
    personal |= {"fleet", "campaign", "learning_job", *(name for name in schema.metadata.tables if "cohort" in name)}
    assert not NOT_IN_REVISIONS & personal


def test_it_is_looked_for_again_when_a_node_is_awaited_no_more(settled, looks):
    node_id = "node-1"
    with settled.transaction() as unit:
        unit.tx.nodes.await_hello(node_id, 1)
    settled.step()
    waited = len(looks)
    with settled.transaction() as unit:
        unit.tx.nodes.heard(node_id)
    settled.step()
    assert len(looks) > waited
