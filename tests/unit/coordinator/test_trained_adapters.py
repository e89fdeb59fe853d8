"""A fleet whose nodes train adapters by themselves: added up like sums, and no job for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from reram_fleet.code_ranges import CodeRange
from reram_fleet.v1 import types_pb2 as types

from edge_node.generation.engine import GenerationEngine
from edge_node.generation.image_generator import LearntClass
from fleet.coordinator.testing import FEATURES
from fleet.domain.learning import JobKind
from fleet.errors import ConflictError
from hwmodel import Cost, EnergyLedger, Phase, load_preset
from tests.device import Device
from tests.unit.coordinator.small_fleet import ANN, BOB, CEM, campaign_state, captured, newest, start_job

TRAINED = types.SUBJECT_ADAPTER_KIND_TRAINED


def make_engine(saved):
    ledger = EnergyLedger(1)
    ledger.restore(saved)
    preset, cells = load_preset("180nm-1t1r"), torch.tensor([64])
    return GenerationEngine(["node"], preset, features=FEATURES, cell_writes=cells, wear=torch.zeros(1), ledger=ledger)


class Painter(Device):
    """A node that generates; what it learns of a class is what a test gives it to learn."""

    concepts = ()

    def __init__(self, node_id):
        super().__init__(node_id, make_engine=make_engine, image_generator=self)

    def study(self, tag, codes):
        self.codes = codes
        self.node.enroll(self.ticket(tag), [np.full((24, 72), 0.5, np.float32)])

    def learn(self, subject_tag, levels, progress):
        return LearntClass(self.codes, {phase: Cost() for phase in Phase})


def codes_of(seed):
    return captured(seed, samples=1)[0]


@pytest.fixture
def painters(coordinator):
    """Return two nodes: one class is learnt by both, one by each alone."""
    settings = coordinator.coordinator.env.settings
    coordinator.coordinator.env.settings = replace(settings, codes=CodeRange(FEATURES, 2**15 - 1, TRAINED))
    nodes = (Painter("node-1"), Painter("node-2"))
    for node, own, seed in zip(nodes, (BOB, CEM), (1, 2), strict=True):
        coordinator.enroll(node)
        node.study(ANN, codes_of(seed))
        node.study(own, codes_of(seed + 2))
    coordinator.converse(*nodes)
    return nodes


def test_codes_of_several_nodes_are_added_and_counted(coordinator, painters):
    (ann,) = [subject for subject in newest(coordinator).subjects if subject.subject_tag == ANN]

    assert ann.count == 2
    assert list(ann.code_sum) == (codes_of(1) + codes_of(2)).tolist()
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
    stranger = Device("node-3")
    tag = "e" * 32
    coordinator.enroll(stranger)
    stranger.capture(tag, captured(9))

    coordinator.converse(*painters, stranger)

    assert tag not in {subject.subject_tag for subject in newest(coordinator).subjects}
