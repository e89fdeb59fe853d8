"""What is durable of cohort shards."""

from __future__ import annotations

import pytest

from fleet.domain.cohort import LoggedRound
from fleet.domain.learning import CohortPurpose, JobKind
from fleet.domain.tags import new_id
from fleet.errors import ConflictError, NotFoundError

A, B = "a" * 32, "b" * 32
ROUND = LoggedRound(frozenset({"n1"}), "i")


@pytest.fixture
def tx(store):
    with store.transaction() as tx:
        tx.cohorts.create(2)
        yield tx


def job(tx, shard, kind=JobKind.TRAIN_COHORT, purpose=CohortPurpose.TRAIN):
    job_id = new_id(tx.now_ms)
    tx.learning.create(job_id, request_id=job_id, request_digest=b"", kind=kind, rounds=2, generation=0, tags=[A])
    tx.cohorts.add_job(job_id, shard, purpose, 3, 7)
    return job_id


def test_shards_begin_empty(tx):
    assert tx.cohorts.count() == 2
    assert [(row.history.shard, row.history.rounds, row.replay_from) for row in tx.cohorts.list()] == [
        (0, 0, None),
        (1, 0, None),
    ]
    with pytest.raises(NotFoundError, match="no cohort shard 2"):
        tx.cohorts.get(2)


def test_history_is_what_was_entered_and_logged(tx):
    tx.cohorts.enter(1, [A], 0)
    tx.cohorts.enter(1, [B], 1)
    tx.cohorts.log_rounds(1, 0, [ROUND, ROUND])
    tx.cohorts.log_rounds(1, 1, [LoggedRound(frozenset({"n2"}), "", rewritten=True)])
    history = tx.cohorts.get(1).history
    assert history.entries == {A: 0, B: 1}
    assert history.log == (ROUND, LoggedRound(frozenset({"n2"}), "", rewritten=True))
    assert tx.cohorts.get(0).history.entries == {}


def test_somebody_is_in_one_shard_only(store):
    def twice():
        with store.transaction() as tx:
            tx.cohorts.create(2)
            tx.cohorts.enter(0, [A], 0)
            tx.cohorts.enter(1, [A], 0)

    with pytest.raises(ConflictError, match="refused a write"):
        twice()


def test_checkpoint_of_the_same_round_is_replaced(tx):
    tx.cohorts.save_checkpoint(0, 2, b"old", "k1")
    tx.cohorts.save_checkpoint(0, 2, b"new", "k2")
    tx.cohorts.save_checkpoint(0, 4, b"later", "k3")
    tx.cohorts.save_checkpoint(1, 2, b"other", "k4")
    tx.cohorts.delete_checkpoints(0, lambda number: number > 2)
    assert [(row.ciphertext, row.key_id) for row in tx.cohorts.checkpoints()] == [(b"new", "k2"), (b"other", "k4")]


def test_emptied_shard_keeps_nothing(tx):
    tx.cohorts.enter(0, [A], 0)
    tx.cohorts.log_rounds(0, 0, [ROUND])
    tx.cohorts.save_checkpoint(0, 1, b"x", "k1")
    tx.cohorts.set_replay(0, 0)
    tx.cohorts.set_audit(0, {"state": "running"})
    tx.cohorts.empty(0)
    row = tx.cohorts.get(0)
    assert (row.history.entries, row.history.log, row.replay_from, row.audit) == ({}, (), None, {})
    assert tx.cohorts.checkpoints() == []


def test_job_of_a_shard_is_found_while_it_is_open(tx):
    job_id = job(tx, 1)
    assert [row.job_id for row in tx.cohorts.open_jobs(1)] == [job_id]
    assert tx.cohorts.open_jobs(0) == []
    assert not tx.cohorts.one_is_running()
    tx.learning.next_attempt(job_id)
    assert tx.cohorts.one_is_running()
    tx.learning.cancel(job_id, "stopped")
    assert tx.cohorts.open_jobs() == []
    with pytest.raises(NotFoundError, match="not one of a cohort shard"):
        tx.cohorts.job("j")


def test_log_of_a_job_is_kept_with_what_its_people_had_contributed(tx):
    job_id = job(tx, 0)
    tx.cohorts.set_begun(job_id, "i")
    tx.cohorts.log_job_round(job_id, [ROUND])
    tx.cohorts.overtake(job_id, 2)
    row = tx.cohorts.job(job_id)
    assert (row.log, row.begun_inputs, row.overtaken) == ((ROUND,), "i", 2)
    assert (row.first_round, row.min_revision) == (3, 7)


def test_requeued_job_goes_on_at_another_generation_and_fences_its_run_off(tx):
    job_id = job(tx, 0)
    attempt = tx.learning.next_attempt(job_id).attempt
    row = tx.learning.requeue(job_id, 5)
    assert (row.state, row.generation, row.attempt) == ("queued", 5, attempt)
    assert tx.learning.next_attempt(job_id).attempt == attempt + 1


def test_forgets_of_a_shard_are_settled_together(tx, commit):
    first = commit(tx, A, request_id="r1").campaign_id
    second = commit(tx, B, request_id="r2").campaign_id
    for campaign in (first, second):
        tx.cohorts.add_forget(campaign, 0, 2, "replaying", "not yet")
    tx.cohorts.settle_forget(first, 0, "replayed", "done")
    tx.cohorts.settle_forgets(0, "dropped", "gone")
    assert [(row.outcome, row.basis) for row in tx.cohorts.forgets(first)] == [("replayed", "done")]
    assert [(row.outcome, row.basis) for row in tx.cohorts.forgets(second)] == [("dropped", "gone")]
    assert tx.cohorts.replaying(0) == []


def test_dropping_leaves_no_shard_but_what_forgets_rest_on(tx, commit):
    campaign = commit(tx, A).campaign_id
    tx.cohorts.enter(0, [B], 0)
    tx.cohorts.add_forget(campaign, 0, 0, "replayed", "done")
    tx.cohorts.drop()
    assert tx.cohorts.count() == 0
    assert [row.basis for row in tx.cohorts.forgets(campaign)] == ["done"]


def test_sequences_tell_what_was_contributed_about_somebody(store):
    with store.transaction() as tx:
        tx.subjects.contribute(A, "n2", 3, 1, b"x")
        tx.subjects.contribute(A, "n1", 1, 1, b"x")
        tx.subjects.contribute(B, "n1", 2, 1, b"x")
        assert tx.subjects.sequences([A]) == [(A, "n1", 1), (A, "n2", 3)]
