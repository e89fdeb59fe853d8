"""A forgotten tag is refused for good; a person who consents again gets a new tag, and is known again."""

from __future__ import annotations

import pytest
from reram_fleet.crypto.identifiers import new_tag

from edge_node.errors import TombstonedTagError
from tests.unit.coordinator.small_fleet import ANN, campaign_state, captured, states

#: Ann's samples, as node-1 has captured them already.
CODES = captured(0)


def assert_refused(node):
    """Enrol Ann's own samples under her forgotten tag, and be told why not."""
    with pytest.raises(TombstonedTagError, match="was forgotten; a new consent needs a new tag"):
        node.capture(ANN, captured(100))
    assert ANN not in node.active()


def names(node):
    """Return whose a sample in the middle of Ann's is: hers alone may be nearer to a random canary."""
    return {answer.best_tag for answer in node.identify(CODES.sum(axis=0, keepdims=True)).answers}


def test_forgotten_tag_stays_refused_whatever_happens_to_the_node(coordinator, nodes):
    backup = nodes[1].backup()
    campaign, _ = coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    for node in nodes:
        assert_refused(node)
    nodes[0].restart()
    assert_refused(nodes[0])
    # The backup knows the person, and nothing of the forget.
    coordinator.disconnect("node-2")
    nodes[1].restore(backup)
    assert ANN in nodes[1].active()
    coordinator.converse(*nodes)
    assert nodes[1].generation == campaign.generation
    assert_refused(nodes[1])
    assert set(states(coordinator, campaign.campaign_id).values()) == {"verified"}


def test_new_consent_is_a_new_tag_by_which_the_person_is_known_and_forgotten_again(coordinator, nodes):
    assert names(nodes[1]) == {ANN}
    coordinator.forget("r1", ANN)
    coordinator.converse(*nodes)
    assert not {ANN} & (names(nodes[0]) | names(nodes[1]))
    again = new_tag()
    nodes[0].capture(again, CODES)
    coordinator.converse(*nodes)
    for node in nodes:
        assert names(node) == {again}
        assert_refused(node)
    campaign, _ = coordinator.forget("r2", again)
    coordinator.converse(*nodes)
    assert campaign_state(coordinator, campaign.campaign_id) == "converged"
    assert not {ANN, again} & (names(nodes[0]) | names(nodes[1]))
