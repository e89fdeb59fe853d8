"""Cohort shards: history, checkpoints, jobs, and what forgets did to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from fleet.domain.cohort import AuditState, CohortHistory, LoggedRound
from fleet.domain.learning import FINISHED, CohortPurpose, JobState
from fleet.store import schema
from fleet.store.repository import Repository, equal, given


@dataclass(frozen=True)
class CohortShardRow:
    """One shard."""

    history: CohortHistory
    #: Round from which it must be, or is being, replayed; None: its rows are installed.
    replay_from: int | None
    #: Job that is at it; None: none yet.
    replay_job_id: str | None
    #: The latest audit as plain data; empty before the first.
    audit: Mapping[str, Any]


@dataclass(frozen=True)
class CohortCheckpointRow:
    """State of a shard before a round, SharedLora under the key file `key_id`."""

    shard: int
    round_number: int
    ciphertext: bytes
    key_id: str


@dataclass(frozen=True)
class CohortJobRow:
    """Work of a learning job on a shard: rounds [first_round, first_round + its rounds)."""

    job_id: str
    shard: int
    purpose: CohortPurpose
    first_round: int
    #: Nodes need at least this one: it has the adapters of everybody in the job.
    min_revision: int
    #: Attempts that ended since a forget came in between; they count as no failure.
    overtaken: int
    #: Digest of what its people had contributed when its latest round began.
    begun_inputs: str
    #: Its rounds so far.
    log: tuple[LoggedRound, ...]


@dataclass(frozen=True)
class CohortForgetRow:
    """Effect of a forget on a shard; `outcome` is replaying, replayed, dropped or emptied."""

    campaign_id: str
    shard: int
    from_round: int
    outcome: str
    basis: str


_SHARD, _MEMBER, _ROUND, _JOB = schema.cohort_shard, schema.cohort_member, schema.cohort_round, schema.cohort_job
_COUNT = select(func.count()).select_from(_SHARD)
_SHARDS = select(_SHARD).order_by(_SHARD.c.shard)
_MEMBERS = select(_MEMBER).where(given(_MEMBER.c.shard))
_ROUNDS = (
    select(_ROUND.c.nodes, _ROUND.c.inputs, _ROUND.c.rewritten).where(given(_ROUND.c.shard)).order_by(_ROUND.c.round)
)
_JOB_OF = select(_JOB).where(given(_JOB.c.job_id))
_KEY_IDS = select(schema.cohort_checkpoint.c.key_id)


class Cohorts(Repository):
    """The shards of a fleet; none in a fleet whose LoRA is shared, or that has none."""

    def create(self, shards: int) -> None:
        """Make empty shards 0 to shards - 1."""
        self._insert_all(schema.cohort_shard, [{"shard": shard, "audit": {}} for shard in range(shards)])

    def count(self) -> int:
        """Return the number of shards; 0 without cohorts."""
        return int(self._run(_COUNT).scalar_one())

    def list(self) -> Sequence[CohortShardRow]:
        """Return all shards in order."""
        return self._rows(self._shard, _SHARDS)

    def unsettled(self) -> Sequence[CohortShardRow]:
        """Return the shards that must be replayed, or are being audited, in order; without the history of others."""
        found = self._run(_SHARDS).all()
        return [
            self.get(row.shard)
            for row in found
            if row.replay_from is not None or row.audit.get("state") == AuditState.RUNNING
        ]

    def get(self, shard: int) -> CohortShardRow:
        """Return a shard; `NotFoundError` if the fleet has none of this number."""
        query = _SHARDS.where(_SHARD.c.shard == shard)
        return self._one(self._shard, query, f"this fleet has no cohort shard {shard}", hint="fleet learn cohorts")

    def _shard(self, shard: int, **row: Any) -> CohortShardRow:
        members = self._run(_MEMBERS, {"shard": shard})
        history = CohortHistory(
            shard=shard,
            entries={found.tag: found.entry for found in members},
            log=tuple(self._rows(LoggedRound, _ROUNDS, shard=shard)),
        )
        return CohortShardRow(history, **row)

    def set_replay(self, shard: int, replay_from: int | None, job_id: str | None = None) -> None:
        """Note from where a shard must be replayed, and by which job; None: its rows are installed."""
        self._set_shard(shard, replay_from=replay_from, replay_job_id=job_id)

    def set_audit(self, shard: int, audit: Mapping[str, Any]) -> None:
        """Note what the latest audit found so far."""
        self._set_shard(shard, audit=dict(audit))

    def _set_shard(self, shard: int, **values: Any) -> None:
        self._update(schema.cohort_shard, schema.cohort_shard.c.shard == shard, **values)

    def enter(self, shard: int, tags: Iterable[str], entry: int) -> None:
        """Note who entered before a round."""
        self._insert_all(schema.cohort_member, [{"tag": tag, "shard": shard, "entry": entry} for tag in tags])

    def leave(self, tags: Iterable[str]) -> None:
        """Take people out, as if they had never entered."""
        self._delete(schema.cohort_member, schema.cohort_member.c.tag.in_(list(tags)))

    def log_rounds(self, shard: int, first: int, rounds: Iterable[LoggedRound]) -> None:
        """Note how rounds went, from a first one on; what was noted of the same rounds is replaced."""
        table = schema.cohort_round
        for number, entry in enumerate(rounds, start=first):
            self._delete(table, *equal(table, shard=shard, round=number))
            self._insert(table, shard=shard, round=number, **entry.to_json())

    def empty(self, shard: int) -> None:
        """Take everything out of a shard: the next training starts it anew."""
        for table in (schema.cohort_round, schema.cohort_checkpoint, schema.cohort_member):
            self._delete(table, table.c.shard == shard)
        self._set_shard(shard, replay_from=None, replay_job_id=None, audit={})

    def drop(self) -> None:
        """Take all shards away; what forgets did to them stays noted."""
        for row in self.list():
            self.empty(row.history.shard)
        self._delete(schema.cohort_shard)

    def save_checkpoint(self, shard: int, round_number: int, ciphertext: bytes, key_id: str) -> None:
        """Keep a checkpoint; one of the same round is replaced."""
        self.delete_checkpoints(shard, lambda number: number == round_number)
        self._insert(schema.cohort_checkpoint, shard=shard, round=round_number, ciphertext=ciphertext, key_id=key_id)

    def checkpoints(self, shard: int | None = None) -> Sequence[CohortCheckpointRow]:
        """Return the checkpoints of a shard or of all, by shard and round."""
        table = schema.cohort_checkpoint
        columns = (table.c.shard, table.c.round.label("round_number"), table.c.ciphertext, table.c.key_id)
        query = select(*columns).order_by(table.c.shard, table.c.round)
        return self._rows(CohortCheckpointRow, query if shard is None else query.where(table.c.shard == shard))

    def key_ids(self) -> Sequence[str]:
        """Return the names of the key files of all checkpoints."""
        return self._column(_KEY_IDS)

    def delete_checkpoints(self, shard: int, condition: Any) -> None:
        """Delete the checkpoints of a shard whose round meets a condition.

        The caller destroys their key files when this is durable: that is what erases.
        """
        table = schema.cohort_checkpoint
        for row in self.checkpoints(shard):
            if condition(row.round_number):
                self._delete(table, *equal(table, shard=shard, round=row.round_number))

    def add_job(self, job_id: str, shard: int, purpose: CohortPurpose, first_round: int, min_revision: int) -> None:
        """Note what a learning job, just queued, does to a shard."""
        row = CohortJobRow(job_id, shard, purpose, first_round, min_revision, overtaken=0, begun_inputs="", log=())
        self._insert(schema.cohort_job, **vars(row))

    def job(self, job_id: str) -> CohortJobRow:
        """Return what a job does; `NotFoundError` if it is none of a shard."""
        return self._one(CohortJobRow, _JOB_OF, f"learning job {job_id} is not one of a cohort shard", job_id=job_id)

    def open_jobs(self, shard: int | None = None) -> Sequence[CohortJobRow]:
        """Return the jobs of a shard, or of all, that are queued or running."""
        job = schema.learning_job.c
        still = schema.cohort_job.c.job_id.in_(select(job.job_id).where(job.state.not_in(FINISHED)))
        return self._jobs(still, *([] if shard is None else [schema.cohort_job.c.shard == shard]))

    def one_is_running(self) -> bool:
        """Whether a job of some shard has a Flower run now."""
        job = schema.learning_job.c
        running = select(job.job_id).where(job.state == JobState.RUNNING)
        return bool(self._jobs(schema.cohort_job.c.job_id.in_(running)))

    def _jobs(self, *conditions: Any) -> Sequence[CohortJobRow]:
        table = schema.cohort_job
        return self._rows(CohortJobRow, select(table).where(*conditions).order_by(table.c.job_id))

    def log_job_round(self, job_id: str, log: Sequence[LoggedRound]) -> None:
        """Replace the log of a job's own rounds."""
        self._set_job(job_id, log=log)

    def set_begun(self, job_id: str, inputs: str) -> None:
        """Note what a job's people had contributed when a round began."""
        self._set_job(job_id, begun_inputs=inputs)

    def overtake(self, job_id: str, overtaken: int) -> None:
        """Note how many attempts of a job ended by no failure of theirs."""
        self._set_job(job_id, overtaken=overtaken)

    def _set_job(self, job_id: str, **values: Any) -> None:
        self._update(schema.cohort_job, schema.cohort_job.c.job_id == job_id, **values)

    def add_forget(self, campaign_id: str, shard: int, from_round: int, outcome: str, basis: str) -> None:
        """Note that a forget concerns a shard."""
        row = CohortForgetRow(campaign_id, shard, from_round, outcome, basis)
        self._insert(schema.cohort_forget, **vars(row))

    def settle_forget(self, campaign_id: str, shard: int, outcome: str, basis: str) -> None:
        """Note how a forget of a shard that was being replayed ended."""
        mine = equal(schema.cohort_forget, campaign_id=campaign_id, shard=shard)
        self._update(schema.cohort_forget, *mine, outcome=outcome, basis=basis)

    def settle_forgets(self, shard: int, outcome: str, basis: str) -> None:
        """Note how all forgets of a shard that were being replayed ended."""
        for row in self.replaying(shard):
            self.settle_forget(row.campaign_id, shard, outcome, basis)

    def forgets(self, campaign_id: str) -> Sequence[CohortForgetRow]:
        """Return what a forget did to shards, by shard; nothing if it concerned none."""
        return self._forgets(schema.cohort_forget.c.campaign_id == campaign_id)

    def replaying(self, shard: int) -> Sequence[CohortForgetRow]:
        """Return the forgets of a shard whose replay is not done."""
        table = schema.cohort_forget
        return self._forgets((table.c.shard == shard) & (table.c.outcome == "replaying"))

    def _forgets(self, condition: Any) -> Sequence[CohortForgetRow]:
        table = schema.cohort_forget
        query = select(table).where(condition).order_by(table.c.campaign_id, table.c.shard)
        return self._rows(CohortForgetRow, query)
