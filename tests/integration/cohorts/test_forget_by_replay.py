"""Forgetting somebody of a cohort: what is left is, to the bit, a fleet in which they never were."""

from __future__ import annotations

import pytest

from fleet.coordinator.learning import cohorts
from fleet.coordinator.learning import rounds as job_rounds
from tests.integration.cohorts.cohort_fleet import CohortFleet, tags_in
from tests.integration.cohorts.story import (
    ANN,
    AT,
    BOB,
    CEM,
    CLOCK,
    EVE,
    FAY,
    NODES,
    basis,
)


@pytest.mark.parametrize("person", [ANN, CEM], ids=["a founder", "a later entrant"])
def test_forgotten_person_has_left_no_trace_in_anybodys_row(fleet, never, person):
    with_them = fleet.rows()
    campaign = fleet.forget(person)
    assert set(fleet.rows()) == {EVE, FAY}, "rows that were trained with the person leave at once"
    fleet.run()
    rows = fleet.rows()
    assert rows == never(person)
    assert rows[BOB] != with_them[BOB]
    assert {tag: rows[tag] for tag in (EVE, FAY)} == {tag: with_them[tag] for tag in (EVE, FAY)}
    verdict, grounds = basis(fleet, campaign)
    assert verdict == 1
    first = {ANN: 0, CEM: 2}[person]
    assert f"shard 0 of 2 was trained again without the person from round {first} to 3" in grounds
    with fleet.coordinator.transaction() as unit:
        assert cohorts.digest_of(unit.cohorts.rows_of(0)) in grounds


def test_forgets_one_after_the_other_end_where_neither_ever_was(fleet, never):
    for person in (CEM, ANN):
        fleet.forget(person)
        fleet.run()
    assert fleet.rows() == never(ANN, CEM) or fleet.rows() == never(CEM, ANN)
    assert fleet.checkpoints() == set()


def test_checkpoints_that_knew_the_person_are_destroyed_with_the_commit(fleet):
    with fleet.coordinator.transaction() as unit:
        (old,) = unit.tx.cohorts.checkpoints()
    fleet.coordinator.forget("f", ANN)
    assert fleet.checkpoints() == set()
    assert not fleet.coordinator.coordinator.env.secrets.exists(old.key_id)
    fleet.settle()
    fleet.run()
    assert fleet.checkpoints() == {(0, 2)}, "the later entrant's checkpoint is made anew, without the person"


def test_checkpoint_from_before_the_person_is_what_the_replay_starts_from(fleet):
    fleet.coordinator.forget("f", CEM)
    assert fleet.checkpoints() == {(0, 2)}
    fleet.settle()
    with fleet.coordinator.transaction() as unit:
        (job,) = unit.tx.cohorts.open_jobs()
        assert (job.first_round, unit.tx.learning.get(job.job_id).rounds) == (2, 2)
    fleet.run()
    assert fleet.checkpoints() == set(), "nobody enters there any more"


def test_forget_converges_while_the_replay_waits_and_says_so(fleet):
    fleet.unplug("n3")
    campaign, _ = fleet.coordinator.forget("f", ANN)
    fleet.settle()
    assert fleet.begin() is None
    with fleet.coordinator.transaction() as unit:
        states = {e.node_id: e.state for e in unit.tx.forgets.executions(campaign.campaign_id)}
    assert (states["n1"], states["n2"]) == ("verified", "verified")
    fleet.online.add("n3")
    fleet.run()
    assert basis(fleet, campaign.campaign_id)[0] == 1


def test_verdict_before_the_replay_rests_on_the_rows_being_gone(fleet):
    verdict, grounds = basis(fleet, fleet.forget(ANN))
    assert verdict == 1
    assert "all rows of shard 0 of 2 left the fleet" in grounds
    assert "not done yet" in grounds


def test_logged_node_out_of_reach_is_awaited_then_the_log_says_what_happened(fleet, tmp_path):
    fleet.unplug("n3")
    campaign = fleet.forget(ANN)
    assert fleet.begin() is None
    CLOCK.now_ms += job_rounds.LOGGED_WAIT_MS
    fleet.run()
    assert [set(entry.nodes) for entry in fleet.shard(0).history.log] == [{"n1", "n2"}] * 4
    assert all(entry.rewritten for entry in fleet.shard(0).history.log)
    fleet.online.add("n3")
    fleet.settle()
    assert "in round 0, 1, 2, 3 a logged node was out of reach" in basis(fleet, campaign)[1]
    # Had she never been and n3 been away: exact under the log as it now stands.
    other = CohortFleet.make(tmp_path / "other", CLOCK, NODES)
    other.enrol({tag: AT[tag] for tag in (BOB, EVE, FAY)})
    other.unplug("n3")
    other.train("t1")
    other.online.add("n3")
    other.enrol({CEM: AT[CEM]})
    other.unplug("n3")
    other.train("t2")
    assert {tag: fleet.rows()[tag] for tag in (BOB, CEM)} == {tag: other.rows()[tag] for tag in (BOB, CEM)}
    other.coordinator.close()


def test_replay_killed_between_rounds_goes_on_to_the_same_bits(fleet, never):
    fleet.forget(ANN)
    client = fleet.begin(rounds=1)
    fleet.play(client)
    with fleet.coordinator.transaction() as unit:
        job = unit.tx.learning.get(client.job_id)
        assert (job.state, job.rounds_done, len(unit.tx.cohorts.job(job.job_id).log)) == ("queued", 1, 1)
    CLOCK.now_ms += 60_000
    fleet.run()
    assert fleet.rows() == never(ANN)


def test_forget_during_a_replay_of_the_same_shard_starts_one_that_covers_both(fleet, never):
    first = fleet.forget(ANN)
    client = fleet.begin(rounds=1)
    second = fleet.forget(CEM)
    with pytest.raises(Exception, match="attempt 1 of job"):
        fleet.play(client)
    fleet.run()
    assert fleet.rows() == never(ANN, CEM) or fleet.rows() == never(CEM, ANN)
    assert "from round 0" in basis(fleet, first)[1]
    assert "from round 2" in basis(fleet, second)[1]


def test_replay_of_another_shard_goes_on_at_the_new_generation(fleet, never):
    fleet.forget(ANN)
    client = fleet.begin(rounds=1)
    fleet.play(client)
    fleet.coordinator.forget("f2", EVE)
    with fleet.coordinator.transaction() as unit:
        job = unit.tx.learning.get(client.job_id)
        assert (job.state, job.generation, job.rounds_done) == ("queued", 2, 1)
    CLOCK.now_ms += 60_000
    fleet.settle()
    fleet.run()
    rows, alone = fleet.rows(), never(ANN)
    assert {tag: rows[tag] for tag in (BOB, CEM)} == {tag: alone[tag] for tag in (BOB, CEM)}
    assert rows[FAY] != alone[FAY]


def test_last_person_of_a_shard_leaves_it_empty(fleet):
    for person in (EVE, FAY):
        campaign = fleet.forget(person)
        fleet.run()
    assert set(fleet.rows()) == {ANN, BOB, CEM}
    assert "nobody else was in shard 1" in basis(fleet, campaign)[1]
    assert fleet.shard(1).history.rounds == 0
    fleet.enrol({tags_in(1, 3)[2]: ("n1",)})
    fleet.train("t3", 1)
    assert fleet.shard(1).history.entries == {tags_in(1, 3)[2]: 0}


def test_shard_whose_replay_fails_for_good_is_dropped_and_the_verdict_says_so(fleet):
    campaign = fleet.forget(ANN)
    for _ in range(job_rounds.RETRY.max_attempts):
        CLOCK.now_ms += 60_000
        client = fleet.begin()
        with fleet.coordinator.transaction() as unit:
            unit.rounds.finish(client.job_id, client.attempt, "no node answered")
    fleet.settle()
    assert set(fleet.rows()) == {EVE, FAY}
    verdict, grounds = basis(fleet, campaign)
    assert verdict == 1
    assert "stay dropped" in grounds
    assert "no node answered" in grounds
    fleet.train("t3", 1)
    assert fleet.shard(0).history.entries == {BOB: 0, CEM: 0}
