"""A forgotten tag is refused for good; a person who consents again gets a new tag, and is known again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fleet.local.errors import EngineCallError
from fleet.registry import EnrolmentState
from tests.faults.rig import Rig, eventually

PERSON = 2


def assert_refused(rig: Rig, node: int, tag: str) -> None:
    """Enrol the person's own samples under a tag, and be told why not."""
    with rig.fleet.engine(node) as engine, pytest.raises(EngineCallError) as refused:
        engine.enroll(rig.tickets[tag], rig.people.enrolled[PERSON].train[:4])
    assert "was forgotten; a new consent needs a new tag" in str(refused.value)
    assert "FAILED_PRECONDITION" in str(refused.value)
    assert tag not in rig.status(node).subject_tags


def backup_of(rig: Rig, node: int, folder: Path) -> Path:
    """Copy everything on a node's disk, keys and all, while it is off."""
    rig.fleet.kill_node(node)
    shutil.copytree(rig.fleet.nodes[node].state, folder)
    rig.restart_node(node)
    eventually("the node serves again", lambda: rig.serves(node))
    return folder


def test_forgotten_tag_stays_refused_and_a_new_consent_is_a_new_tag(rig: Rig, tmp_path: Path) -> None:
    name = rig.people.enrolled[PERSON].name
    old = rig.enrol(PERSON, nodes=(0, 1))
    assert rig.names(0, PERSON) == {old}
    backup = backup_of(rig, 1, tmp_path / "backup")
    campaign = rig.forget(old)
    rig.wait_converged(campaign.campaign_id)
    rig.registry.mark_forgotten([old], campaign.campaign_id)

    for node in range(2):
        assert_refused(rig, node, old)
    rig.fleet.kill_node(0)
    rig.restart_node(0)
    assert_refused(rig, 0, old)

    # The backup knows the person, and nothing of the forget.
    rig.fleet.kill_node(1)
    shutil.rmtree(rig.fleet.nodes[1].state)
    shutil.copytree(backup, rig.fleet.nodes[1].state)
    rig.restart_node(1)
    eventually("the restored node serves", lambda: rig.serves(1))
    assert rig.status(1).generation == campaign.generation
    assert_refused(rig, 1, old)
    rig.wait_converged(campaign.campaign_id)

    new = rig.enrol(PERSON, nodes=(0, 1))
    assert new != old
    assert [(e.tag, e.state) for e in rig.registry.enrolments(name)][-2:] == [
        (old, EnrolmentState.FORGOTTEN),
        (new, EnrolmentState.ACTIVE),
    ]
    for node in range(2):
        answers = rig.identify(node, PERSON).answers
        assert {answer.best_tag for answer in answers} == {new}
        assert sum(answer.accepted for answer in answers) >= len(answers) / 2
        assert_refused(rig, node, old)
    rig.wait_converged(rig.forget(new).campaign_id)
