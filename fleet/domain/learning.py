"""Learning jobs: kinds, states, and when to try again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from reram_fleet.processes.backoff import Backoff

from fleet.domain.transitions import check_step


class JobKind(StrEnum):
    """Task of a learning job; the values are the Flower message types, but for cohorts (`train.lora`)."""

    TRAIN_LORA = "train.lora"
    UNLEARN_LORA = "train.unlearn"
    EVALUATE_QUALITY = "evaluate.quality"
    #: Trains the LoRA of one cohort shard.
    TRAIN_COHORT = "train.cohort"
    #: Does rounds of a cohort shard again: without somebody, or for an audit.
    REPLAY_COHORT = "replay.cohort"


#: Their rounds are logged, and can be done again to the bit.
COHORT_KINDS = frozenset({JobKind.TRAIN_COHORT, JobKind.REPLAY_COHORT})


class LoraKind(StrEnum):
    """Circle of people who share a LoRA, which decides how a person is taken out of it."""

    #: The people of one shard: exactly, by training the shard again without them.
    COHORT = "cohort"
    #: Everybody: approximately, by a repair.
    SHARED = "shared"


class CohortPurpose(StrEnum):
    """Reason for which a job runs rounds of a cohort shard."""

    TRAIN = "train"
    #: Somebody was forgotten: what comes out is installed.
    REPLAY = "replay"
    #: What comes out is compared with what is installed, and dropped.
    AUDIT = "audit"


class JobState(StrEnum):
    """State of a learning job. One attempt is one Flower run."""

    #: Waits for its first attempt, or for the back-off after a failed one.
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


_S = JobState

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.FAILED}),
    # QUEUED: the attempt failed and another one follows.
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.QUEUED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
}

FINISHED = frozenset({_S.SUCCEEDED, _S.FAILED})


def advance(current: JobState, target: JobState) -> JobState:
    """Return `target` if the step is legal. Staying is none: a job that runs cannot be started again."""
    return check_step("a learning job", TRANSITIONS, current, target)


@dataclass(frozen=True)
class RetryPolicy(Backoff):
    """Number and back-off of the attempts of a job; the last one that fails makes its job FAILED."""

    max_attempts: int = 5

    def retry_at_ms(self, attempt: int, now_ms: int, jitter: float) -> int | None:
        """Return when to try again (Unix time in ms) after attempt number `attempt`; None to give up."""
        if attempt >= self.max_attempts:
            return None
        return now_ms + round(1000 * self.delay_s(attempt, jitter))
