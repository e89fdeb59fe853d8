"""Learning jobs: kinds, states, and when to try again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from reram_fleet.backoff import Backoff

from fleet.errors import IllegalTransitionError


class JobKind(StrEnum):
    """What a learning job does; the values are the Flower message types, but for cohorts (`train.lora`)."""

    TRAIN_LORA = "train.lora"
    UNLEARN_LORA = "train.unlearn"
    EVALUATE_QUALITY = "evaluate.quality"
    #: Trains the LoRA of one cohort shard.
    TRAIN_COHORT = "train.cohort"
    #: Does rounds of a cohort shard again: without somebody, or for an audit.
    REPLAY_COHORT = "replay.cohort"


#: Their rounds are logged, and can be done again to the bit.
COHORT_KINDS = frozenset({JobKind.TRAIN_COHORT, JobKind.REPLAY_COHORT})


class CohortPurpose(StrEnum):
    """Why a job runs rounds of a cohort shard."""

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
    """Return `target` if the step is legal. Staying is none: a job that runs cannot be started again.

    Raises
    ------
    IllegalTransitionError
        With both states and what would have been legal.
    """
    if target not in TRANSITIONS[current]:
        legal = ", ".join(sorted(TRANSITIONS[current])) or "nothing: it is final"
        raise IllegalTransitionError(f"a learning job cannot go from {current} to {target} (legal: {legal})")
    return target


@dataclass(frozen=True)
class RetryPolicy(Backoff):
    """How often, and how soon, a failed attempt is followed by another one; the last one makes its job FAILED."""

    max_attempts: int = 5

    def retry_at_ms(self, attempt: int, now_ms: int, jitter: float) -> int | None:
        """Return when to try again (Unix time in ms) after attempt number `attempt`; None to give up."""
        if attempt >= self.max_attempts:
            return None
        return now_ms + round(1000 * self.delay_s(attempt, jitter))
