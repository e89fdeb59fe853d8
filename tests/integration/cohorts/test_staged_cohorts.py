"""Cohorts of a fleet of small chips: a forget takes the branch of a shard out too, and brings back none that knew."""

from __future__ import annotations

import pytest
from reram_fleet.code_ranges import CodeRange, LoraStage
from reram_fleet.v1.types_pb2 import NEURON_LAW_TANH

from fleet.coordinator.testing import FEATURES
from fleet.domain.learning import JobKind, JobState
from tests.integration.cohorts.cohort_fleet import CohortFleet
from tests.integration.cohorts.story import ANN, BOB, CEM, CLOCK, EVE, FAY, NODES, audited, basis, build

LAYER = LoraStage(rank=8, neurons=FEATURES - 8)
IN_SEGMENTS = LoraStage(rank=FEATURES // 4 - 3, neurons=3, segments=4, law=NEURON_LAW_TANH)
CODES, SEGMENT_CODES = (CodeRange(FEATURES, 2**16 - 1, stage=stage) for stage in (LAYER, IN_SEGMENTS))


@pytest.mark.parametrize("codes", [CODES, SEGMENT_CODES], ids=["layer", "segments"])
def test_forgotten_person_has_left_no_trace_in_rows_or_branch(tmp_path, codes):
    fleet = build(tmp_path / "fleet", codes=codes)
    never = build(tmp_path / "never", ANN, codes=codes)
    with_them = fleet.lora()
    assert len(with_them.branches) == 2
    assert all(any(branch.codes) for branch in with_them.branches), "B is trained"

    campaign = fleet.forget(ANN)

    gone = fleet.lora()
    assert {row.subject_tag for row in gone.rows} == {EVE, FAY}
    (left,) = gone.branches
    assert left in with_them.branches, "the other shard's branch stays as it was, alone"
    fleet.run()
    assert fleet.lora() == never.lora()
    assert {row.subject_tag for row in fleet.lora().rows} == {BOB, CEM, EVE, FAY}
    assert fleet.lora().branches != with_them.branches
    verdict, grounds = basis(fleet, campaign)
    assert (verdict, "replay" in grounds or "trained again" in grounds) == (1, True)
    assert audited(fleet, 0)["state"] == "reproduced"
    for each in (fleet, never):
        each.coordinator.close()


def test_nodes_run_what_the_revision_says(tmp_path):
    fleet = build(tmp_path / "fleet", codes=CODES)
    for node_id in NODES:
        engine = fleet.nodes[node_id].node.context.recognition
        assert engine is not None
        assert engine.active_lora(0) == fleet.lora()
    fleet.coordinator.close()


def test_quality_of_all_shards_is_measured_each_by_its_own_branch(tmp_path):
    fleet = CohortFleet.make(tmp_path / "fleet", CLOCK, NODES, CODES)
    fleet.enrol({ANN: ("n1", "n2"), EVE: ("n2", "n3")})
    fleet.train("t1")
    with fleet.coordinator.transaction() as unit:
        job, _ = unit.jobs.start("quality", JobKind.EVALUATE_QUALITY, 1)
    before = fleet.lora()

    fleet.run()

    with fleet.coordinator.transaction() as unit:
        done = unit.tx.learning.get(job.job_id)
    assert (done.state, done.error) == (JobState.SUCCEEDED, "")
    assert done.metrics["loss_before"] == done.metrics["loss_after"] > 0
    assert fleet.lora() == before
    assert len(before.branches) == 2
    fleet.coordinator.close()
