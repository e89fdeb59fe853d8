"""Re-executing a cohort shard, to compare integers: a second execution of what its rows rest on.

It runs on the nodes, which have captured the samples; the coordinator never sees those. So it shows that log
and rows belong together, not that nodes are honest: a node that lies does so twice.
"""

from __future__ import annotations

from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import cohorts
from fleet.coordinator.core import Coordinator
from fleet.domain.cohort import Segment, differences
from fleet.domain.learning import CohortPurpose, JobState
from fleet.errors import ConflictError
from fleet.store.cohorts import CohortJobRow, CohortShardRow
from fleet.store.database import Transaction
from fleet.store.rows import LearningJobRow
from fleet.trust.checks import compare


def start(coordinator: Coordinator, tx: Transaction, shard: int) -> LearningJobRow:
    """Queue the re-execution of a shard from its very first round.

    What it comes to is compared, at every entry and at the end, with the checkpoints and rows that are there.
    Nothing is installed. One that is at it already is returned as it is.

    Raises
    ------
    NotFoundError
        If there is no such shard.
    ConflictError
        If nobody is in it, it is being trained or replayed, or there is no learning plane.
    """
    row = tx.cohorts.get(shard)
    at_it = tx.cohorts.open_jobs(shard)
    if at_it and at_it[0].purpose is CohortPurpose.AUDIT:
        return tx.learning.get(at_it[0].job_id)
    if at_it or row.replay_from is not None:
        raise ConflictError(f"shard {shard} is being trained or replayed", hint="fleet learn cohorts")
    if coordinator.learning is None:
        raise ConflictError("this fleet runs without a learning plane", hint="fleet serve without --no-flower")
    segment = row.history.segment(0)
    if segment is None:
        raise ConflictError(f"nobody is in shard {shard}", hint="fleet learn start --kind train.cohort")
    job = cohorts.queue_segment(coordinator, tx, CohortPurpose.AUDIT, shard, segment, types.SharedLora())
    tx.cohorts.set_audit(shard, {"state": "running", "job_id": job.job_id, "lines": [], "detail": ""})
    return job


def failed(tx: Transaction, row: CohortShardRow) -> bool:
    """Note that the job of an audit has failed; returns whether it has."""
    job = tx.learning.get(str(row.audit["job_id"]))
    if job.state is not JobState.FAILED:
        return False
    tx.cohorts.set_audit(row.history.shard, {**row.audit, "state": "failed", "detail": job.error})
    return True


def compared(
    coordinator: Coordinator, tx: Transaction, job: LearningJobRow, found: CohortJobRow, lora: types.SharedLora
) -> None:
    """Compare what a segment came to, and queue the next one if there is one."""
    row = tx.cohorts.get(found.shard)
    history, end = row.history, found.first_round + job.rounds
    last = end == history.rounds
    expected = (
        cohorts.rows_of(coordinator, tx, found.shard)
        if last
        else cohorts.load_checkpoint(coordinator, tx, found.shard, end)
    )
    name = "digest of the installed rows" if last else f"digest of the checkpoint before round {end}"
    line = compare(name, cohorts.digest_of(expected), cohorts.digest_of(lora))
    reasons = differences(history.log[found.first_round : end], found.log, found.first_round)
    detail = "; ".join(filter(None, [row.audit.get("detail", ""), *reasons]))
    audit = {**row.audit, "lines": [*row.audit.get("lines", []), vars(line)], "detail": detail}
    following = history.segment(end) if line.holds and not last else None
    if following is not None:
        following_job = cohorts.queue_segment(
            coordinator, tx, CohortPurpose.AUDIT, found.shard, Segment(end, following.end, following.tags), lora
        )
        audit |= {"state": "running", "job_id": following_job.job_id}
    elif line.holds:
        audit["state"] = "reproduced"
    else:
        # The same nodes, environments and samples give the same bits: then nothing excuses a difference.
        audit["state"] = "inconclusive" if detail else "not-reproduced"
    tx.cohorts.set_audit(found.shard, audit)
