import pytest

from fleet.domain.learning import JobKind, JobState
from fleet.errors import ConflictError, IllegalTransitionError, InvalidInputError, NotFoundError, StaleAttemptError

JOB = "01aryz6s410000000000000000"
ALICE, BOB = ("aa" * 16, "bb" * 16)


@pytest.fixture
def tx(store):
    with store.transaction() as tx:
        yield tx


def create(tx, **changes):
    values = {
        "request_id": "r1",
        "request_digest": b"body",
        "kind": JobKind.TRAIN_LORA,
        "rounds": 2,
        "generation": 0,
        "tags": [BOB, ALICE],
        **changes,
    }
    return tx.learning.create(values.pop("job_id", JOB), **values)


def test_a_job_is_queued_with_its_rows_in_order(tx):
    job = create(tx)
    assert (job.state, job.attempt, job.rounds_done) == (JobState.QUEUED, 0, 0)
    assert (job.tags, job.forget_tags, job.metrics) == ((BOB, ALICE), (), {})
    assert tx.learning.list_open() == [job] == tx.learning.list(JobState.QUEUED)


def test_a_request_is_known_by_its_id_and_its_body(tx):
    job = create(tx)
    assert tx.learning.by_request("r1", b"body") == job
    assert tx.learning.by_request("r2") is None
    with pytest.raises(ConflictError, match="different learning job"):
        tx.learning.by_request("r1", b"other")
    with pytest.raises(ConflictError, match="has a learning job already"):
        create(tx, job_id=JOB[:-1] + "1")


def test_a_job_without_rounds_and_an_unknown_job(tx):
    with pytest.raises(InvalidInputError):
        create(tx, rounds=0)
    with pytest.raises(NotFoundError):
        tx.learning.get(JOB)


def test_a_job_runs_round_by_round_to_its_end(tx):
    create(tx)
    job = tx.learning.next_attempt(JOB)
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)
    tx.learning.set_flower_run(JOB, 1, 2**64 - 1)
    tx.learning.checkpoint(JOB, 1, 1, sealed_state=b"s1", metrics={"loss": 0.5})
    job = tx.learning.checkpoint(JOB, 1, 2, sealed_state=b"s2", metrics={"loss": 0.25})
    assert (job.rounds_done, job.sealed_state, job.metrics) == (2, b"s2", {"loss": 0.25})
    assert job.flower_run_id == 2**64 - 1
    job = tx.learning.finish(JOB, 1, revision=3)
    assert (job.state, job.revision, job.sealed_state) == (JobState.SUCCEEDED, 3, None)
    assert tx.learning.list_open() == []


def test_a_running_job_is_not_started_twice(tx):
    create(tx)
    tx.learning.next_attempt(JOB)
    with pytest.raises(IllegalTransitionError):
        tx.learning.next_attempt(JOB)


def test_rounds_cannot_be_left_out_and_a_repeated_report_changes_nothing(tx):
    create(tx)
    tx.learning.next_attempt(JOB)
    with pytest.raises(ConflictError, match="does not follow 0"):
        tx.learning.checkpoint(JOB, 1, 2, sealed_state=b"s2", metrics={})
    first = tx.learning.checkpoint(JOB, 1, 1, sealed_state=b"s1", metrics={})
    assert tx.learning.checkpoint(JOB, 1, 1, sealed_state=b"other", metrics={}) == first
    with pytest.raises(ConflictError, match="1 of 2 rounds"):
        tx.learning.finish(JOB, 1)
    tx.learning.checkpoint(JOB, 1, 2, sealed_state=b"s2", metrics={})
    with pytest.raises(ConflictError, match="does not follow 2"):
        tx.learning.checkpoint(JOB, 1, 3, sealed_state=b"s3", metrics={})


def test_an_evaluation_keeps_no_state(tx):
    create(tx, kind=JobKind.EVALUATE_QUALITY, rounds=1)
    tx.learning.next_attempt(JOB)
    job = tx.learning.checkpoint(JOB, 1, 1, sealed_state=None, metrics={"accuracy": 1.0})
    assert (job.sealed_state, job.metrics) == (None, {"accuracy": 1.0})


def test_a_retry_goes_on_after_the_last_checkpoint_once_its_time_has_come(store, clock):
    with store.transaction() as tx:
        create(tx)
        tx.learning.next_attempt(JOB)
        tx.learning.set_flower_run(JOB, 1, 11)
        tx.learning.checkpoint(JOB, 1, 1, sealed_state=b"s1", metrics={})
        job = tx.learning.fail_attempt(JOB, 1, "SuperLink died", retry_at_ms=tx.now_ms + 500)
        assert (job.state, job.error) == (JobState.QUEUED, "SuperLink died")
        with pytest.raises(ConflictError, match="wait 500 ms"):
            tx.learning.next_attempt(JOB)
    clock.now_ms += 500
    with store.transaction() as tx:
        job = tx.learning.next_attempt(JOB)
    assert (job.attempt, job.rounds_done, job.sealed_state) == (2, 1, b"s1")
    assert (job.flower_run_id, job.retry_at_ms) == (None, None)


def test_an_attempt_of_the_past_can_report_nothing(tx):
    create(tx)
    tx.learning.next_attempt(JOB)
    tx.learning.fail_attempt(JOB, 1, "lost", retry_at_ms=tx.now_ms)
    tx.learning.next_attempt(JOB)
    reports = (
        lambda: tx.learning.fenced(JOB, 1),
        lambda: tx.learning.set_flower_run(JOB, 1, 5),
        lambda: tx.learning.checkpoint(JOB, 1, 1, sealed_state=b"zombie", metrics={}),
        lambda: tx.learning.finish(JOB, 1),
        lambda: tx.learning.fail_attempt(JOB, 1, "again", retry_at_ms=None),
    )
    for report in reports:
        with pytest.raises(StaleAttemptError, match="attempt 1 of job"):
            report()
    assert tx.learning.fenced(JOB, 2).sealed_state is None


def test_a_job_ends_once(tx):
    create(tx, rounds=1)
    tx.learning.next_attempt(JOB)
    tx.learning.checkpoint(JOB, 1, 1, sealed_state=b"s1", metrics={})
    tx.learning.finish(JOB, 1)
    with pytest.raises(StaleAttemptError):
        tx.learning.finish(JOB, 1)


def test_giving_up_wipes_the_state_and_keeps_the_reason(tx):
    create(tx, sealed_state=b"s0")
    tx.learning.next_attempt(JOB)
    job = tx.learning.fail_attempt(JOB, 1, "", retry_at_ms=None)
    assert (job.state, job.error, job.sealed_state) == (JobState.FAILED, "no reason given", None)


def test_a_job_that_a_forget_has_overtaken_is_cancelled_in_any_open_state(tx):
    create(tx, sealed_state=b"rows of the forgotten")
    job = tx.learning.cancel(JOB, "generation 1 was committed")
    assert (job.state, job.sealed_state) == (JobState.FAILED, None)
    with pytest.raises(IllegalTransitionError):
        tx.learning.cancel(JOB, "again")
