"""Training of cohort shards: rows, logged rounds, and requests that are refused."""

from __future__ import annotations

import pytest

from fleet.coordinator.learning import rounds as job_rounds
from fleet.domain.learning import JobKind
from fleet.errors import ConflictError
from tests.integration.cohorts.cohort_fleet import SHARDS, MortalAttempt
from tests.integration.cohorts.story import (
    ANN,
    AT,
    BOB,
    CEM,
    CLOCK,
    DEB,
    EVE,
    FAY,
    NODES,
    capture_more,
)


def test_training_gives_everybody_a_row_and_logs_what_decides_it(fleet):
    assert set(fleet.rows()) == {ANN, BOB, CEM, EVE, FAY}
    assert all(any(codes) for codes in fleet.rows().values())
    history = fleet.shard(0).history
    assert history.entries == {ANN: 0, BOB: 0, CEM: 2}
    assert [set(entry.nodes) for entry in history.log] == [set(NODES)] * 4
    assert history.log[0].inputs == history.log[1].inputs != history.log[2].inputs == history.log[3].inputs
    assert fleet.checkpoints() == {(0, 2)}


def test_training_of_other_shards_does_not_wait_for_a_replay(fleet):
    fleet.unplug("n3")
    fleet.forget(ANN)
    with fleet.coordinator.transaction() as unit:
        made = unit.jobs.start_cohorts("t3", 1, 0)
    assert made.skipped == (0,)
    assert fleet.run() == 1
    assert fleet.shard(1).history.rounds == 5
    assert fleet.shard(0).replay_from == 0


def test_round_during_which_samples_were_captured_is_logged_as_mixed(fleet):
    with fleet.coordinator.transaction() as unit:
        (job, _) = unit.jobs.start_cohorts("t3", 2, 0).jobs
        client = MortalAttempt(fleet, job.job_id, unit.tx.learning.next_attempt(job.job_id).attempt)
    state = client.get_job().sealed_state
    client.begin_round(1)
    capture_more(fleet, BOB, "n2")
    client.report_round(1, state, {}, ["n1", "n2"])
    client.begin_round(2)
    client.report_round(2, state, {}, ["n1", "n2"])
    client.report_round(2, state, {}, ["n1"])
    with fleet.coordinator.transaction() as unit:
        first, second = unit.tx.cohorts.job(client.job_id).log
    assert (first.inputs, set(first.nodes)) == ("", {"n1", "n2"})
    assert second.inputs
    assert set(second.nodes) == {"n1", "n2"}, "a repeated report changes nothing"


def test_node_without_the_newest_people_is_awaited_then_left_out(fleet):
    with fleet.coordinator.transaction() as unit:
        (job, _) = unit.jobs.start_cohorts("t3", 1, 0).jobs
        unit.tx.nodes.touch("n3", revision=1)

    def startable() -> bool:
        with fleet.coordinator.transaction() as unit:
            return unit.rounds.startable(unit.tx.learning.get(job.job_id))

    assert not startable()
    CLOCK.now_ms += job_rounds.INSTALL_WAIT_MS
    assert startable()
    client = fleet.begin()
    assert {node.node_id for node in client.begin_round(1)} == {"n1", "n2"}


def test_shared_and_cohort_lora_exclude_each_other(fleet):
    with fleet.coordinator.transaction() as unit, pytest.raises(ConflictError, match="2 cohort shards"):
        unit.jobs.start("r1", JobKind.TRAIN_LORA, 1)
    with fleet.coordinator.transaction() as unit, pytest.raises(ConflictError, match="2 cohort shards"):
        unit.jobs.start_cohorts("r1", 1, 3)
    with fleet.coordinator.transaction() as unit:
        assert unit.jobs.drop_lora()[1] == 5
    fleet.coordinator.destroy_orphaned_keys()
    fleet.settle()
    assert fleet.rows() == {}
    with fleet.coordinator.transaction() as unit:
        unit.jobs.start("r1", JobKind.TRAIN_LORA, 1)
    fleet.run()
    assert set(fleet.rows()) == {ANN, BOB, CEM, EVE, FAY}
    with fleet.coordinator.transaction() as unit, pytest.raises(ConflictError, match="shared LoRA of 5"):
        unit.jobs.start_cohorts("r2", 1, SHARDS)


def test_same_request_again_makes_no_second_jobs(fleet):
    with fleet.coordinator.transaction() as unit:
        first = unit.jobs.start_cohorts("again", 1, 0)
        second = unit.jobs.start_cohorts("again", 1, 0)
    assert [job.job_id for job in first.jobs] == [job.job_id for job in second.jobs]
    assert (first.created, second.created) == (True, False)
    with fleet.coordinator.transaction() as unit, pytest.raises(ConflictError, match="is not finished"):
        unit.jobs.start_cohorts("other", 1, 0)


def test_somebody_enrolled_after_the_training_concerns_no_shard(fleet):
    fleet.enrol({DEB: AT[DEB]})
    before = fleet.rows()
    campaign = fleet.forget(DEB)
    assert fleet.run() == 0
    assert fleet.rows() == before
    with fleet.coordinator.transaction() as unit:
        found = unit.views.verdicts_of(unit.tx.forgets.get(campaign))
        assert [verdict.adapter_kind for verdict in found] == ["subject-adapter", "closed-form-head"]
