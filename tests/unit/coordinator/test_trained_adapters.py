"""A fleet whose nodes train adapters by themselves: added up like sums, and no job for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reram_fleet.code_ranges import CodeRange
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.testing import FEATURES, SimulatedNode
from fleet.domain.learning import JobKind
from fleet.errors import ConflictError
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, campaign_state, code_sum, newest, start_job

TRAINED = types.SUBJECT_ADAPTER_KIND_TRAINED


@pytest.fixture
def painters(coordinator):
    """Return two nodes: one class is learnt by both, one by each alone."""
    settings = coordinator.coordinator.env.settings
    coordinator.coordinator.env.settings = replace(settings, codes=CodeRange(FEATURES, 2**15 - 1, TRAINED))
    nodes = (SimulatedNode("node-1"), SimulatedNode("node-2"))
    for node, own, seed in zip(nodes, (BOB, CEM), (1, 2), strict=True):
        node.capture(ANN, code_sum(seed), 1, TRAINED)
        node.capture(own, code_sum(seed + 2), 1, TRAINED)
        coordinator.enroll(node)
    coordinator.converse(*nodes)
    return nodes


def test_codes_of_several_nodes_are_added_and_counted(coordinator, painters):
    (ann,) = [subject for subject in newest(coordinator).subjects if subject.subject_tag == ANN]

    assert ann.count == 2
    assert list(ann.code_sum) == [a + b for a, b in zip(code_sum(1), code_sum(2), strict=True)]
    assert ann.kind == TRAINED


def test_canaries_are_of_the_same_kind_as_everybody_else(coordinator, painters):
    subjects = newest(coordinator).subjects

    assert len(subjects) > 3
    assert {subject.kind for subject in subjects} == {TRAINED}


def test_forget_converges_and_leaves_the_others_to_the_bit(coordinator, painters):
    before = {subject.subject_tag: subject for subject in newest(coordinator).subjects}

    campaign_id = coordinator.forget("r1", ANN)[0].campaign_id
    coordinator.converse(*painters)

    after = {subject.subject_tag: subject for subject in newest(coordinator).subjects}
    assert campaign_state(coordinator, campaign_id) == "converged"
    assert ANN not in after
    assert (after[BOB], after[CEM]) == (before[BOB], before[CEM])


@pytest.mark.parametrize("learning", [False, True])
@pytest.mark.parametrize("kind", [JobKind.TRAIN_LORA, JobKind.EVALUATE_QUALITY])
def test_learning_job_is_refused_before_there_is_one(open_coordinator, painters, learning, kind):
    coordinator = open_coordinator(learning=learning)

    with pytest.raises(ConflictError, match="trained on the nodes"):
        start_job(coordinator, "r1", kind)

    with coordinator.transaction() as unit:
        assert unit.tx.learning.list() == []


def test_node_of_another_task_contributes_nothing(coordinator, painters):
    stranger = SimulatedNode("node-3")
    tag = "e" * 32
    stranger.capture(tag, code_sum(9))
    coordinator.enroll(stranger)

    coordinator.converse(*painters, stranger)

    assert tag not in {subject.subject_tag for subject in newest(coordinator).subjects}
