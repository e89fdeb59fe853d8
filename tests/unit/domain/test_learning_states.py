import pytest
from reram_fleet.processes.flower import MESSAGE_TYPES

from fleet.domain.learning import COHORT_KINDS, FINISHED, TRANSITIONS, JobKind, JobState, RetryPolicy, advance
from fleet.errors import IllegalTransitionError


def test_kinds_are_the_message_types_of_the_wire():
    assert {kind.value for kind in JobKind} - COHORT_KINDS == set(MESSAGE_TYPES.values())


def test_a_running_job_cannot_be_started_again():
    with pytest.raises(IllegalTransitionError, match="from running to running"):
        advance(JobState.RUNNING, JobState.RUNNING)


def test_a_finished_job_stays_finished():
    for state in FINISHED:
        assert not TRANSITIONS[state]


def test_a_failed_attempt_may_go_back_into_the_queue():
    assert advance(JobState.RUNNING, JobState.QUEUED) is JobState.QUEUED


def test_a_job_is_given_up_after_its_last_attempt():
    policy = RetryPolicy(max_attempts=3, first_s=1.0, longest_s=60.0)
    assert policy.retry_at_ms(2, now_ms=10_000, jitter=1.0) == 12_000
    assert policy.retry_at_ms(3, now_ms=10_000, jitter=1.0) is None
