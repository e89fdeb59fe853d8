"""Cohort shards: history, checkpoints, jobs, and what forgets did to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, null, select, update

from fleet.domain.cohort import CohortHistory, LoggedRound
from fleet.domain.learning import FINISHED, CohortPurpose, JobState
from fleet.errors import NotFoundError
from fleet.store import schema


@dataclass(frozen=True)
class CohortShardRow:
    """One shard.

    Attributes
    ----------
    replay_from
        Round from which it must be, or is being, replayed; None: its rows are installed.
    replay_job_id
        Job that is at it; None: none yet.
    audit
        The latest audit as plain data; empty before the first.
    """

    history: CohortHistory
    replay_from: int | None
    replay_job_id: str | None
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
    """What a learning job does to a shard: rounds [first_round, first_round + its rounds).

    Attributes
    ----------
    min_revision
        Nodes need at least this one: it has the adapters of everybody in the job.
    overtaken
        Attempts that ended since a forget came in between; they count as no failure.
    begun_inputs
        Digest of what its people had contributed when its latest round began.
    log
        Its rounds so far.
    """

    job_id: str
    shard: int
    purpose: CohortPurpose
    first_round: int
    min_revision: int
    overtaken: int
    begun_inputs: str
    log: tuple[LoggedRound, ...]


@dataclass(frozen=True)
class CohortForgetRow:
    """What a forget did to a shard; `outcome` is replaying, replayed, dropped or emptied."""

    campaign_id: str
    shard: int
    from_round: int
    outcome: str
    basis: str


class Cohorts:
    """The shards of a fleet; none in a fleet whose LoRA is shared, or that has none."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, shards: int) -> None:
        """Make empty shards 0 to shards - 1."""
        rows = [{"shard": shard, "audit": {}} for shard in range(shards)]
        self._connection.execute(insert(schema.cohort_shard), rows)

    def count(self) -> int:
        """Return the number of shards; 0 without cohorts."""
        return int(self._connection.execute(select(func.count()).select_from(schema.cohort_shard)).scalar_one())

    def list(self) -> Sequence[CohortShardRow]:
        """Return all shards in order."""
        table = schema.cohort_shard
        return [self._shard(row) for row in self._connection.execute(select(table).order_by(table.c.shard))]

    def get(self, shard: int) -> CohortShardRow:
        """Return a shard; `NotFoundError` if the fleet has none of this number."""
        table = schema.cohort_shard
        row = self._connection.execute(select(table).where(table.c.shard == shard)).one_or_none()
        if row is None:
            raise NotFoundError(f"this fleet has no cohort shard {shard}", hint="fleet learn cohorts")
        return self._shard(row)

    def _shard(self, row: Any) -> CohortShardRow:
        member, entry = schema.cohort_member, schema.cohort_round
        members = self._connection.execute(select(member).where(member.c.shard == row.shard))
        rounds = self._connection.execute(select(entry).where(entry.c.shard == row.shard).order_by(entry.c.round))
        history = CohortHistory(
            shard=row.shard,
            entries={found.tag: found.entry for found in members},
            log=tuple(LoggedRound(dict(found.nodes), found.inputs, found.rewritten) for found in rounds),
        )
        return CohortShardRow(history, row.replay_from, row.replay_job_id, dict(row.audit))

    def set_replay(self, shard: int, replay_from: int | None, job_id: str | None = None) -> None:
        """Note from where a shard must be replayed, and by which job; None: its rows are installed."""
        self._set_shard(shard, replay_from=replay_from, replay_job_id=job_id)

    def set_audit(self, shard: int, audit: Mapping[str, Any]) -> None:
        """Note what the latest audit found so far."""
        self._set_shard(shard, audit=dict(audit))

    def _set_shard(self, shard: int, **values: Any) -> None:
        table = schema.cohort_shard
        changed = {name: null() if value is None else value for name, value in values.items()}
        self._connection.execute(update(table).where(table.c.shard == shard).values(changed))

    def enter(self, shard: int, tags: Iterable[str], entry: int) -> None:
        """Note who entered before a round."""
        rows = [{"tag": tag, "shard": shard, "entry": entry} for tag in tags]
        if rows:
            self._connection.execute(insert(schema.cohort_member), rows)

    def leave(self, tags: Iterable[str]) -> None:
        """Take people out, as if they had never entered."""
        table = schema.cohort_member
        self._connection.execute(delete(table).where(table.c.tag.in_(list(tags))))

    def log_rounds(self, shard: int, first: int, rounds: Iterable[LoggedRound]) -> None:
        """Note how rounds went, from a first one on; what was noted of the same rounds is replaced."""
        table = schema.cohort_round
        for number, entry in enumerate(rounds, start=first):
            self._connection.execute(delete(table).where((table.c.shard == shard) & (table.c.round == number)))
            self._connection.execute(insert(table).values(shard=shard, round=number, **entry.to_json()))

    def empty(self, shard: int) -> None:
        """Take everything out of a shard: the next training starts it anew."""
        for table in (schema.cohort_round, schema.cohort_checkpoint, schema.cohort_member):
            self._connection.execute(delete(table).where(table.c.shard == shard))
        self._set_shard(shard, replay_from=None, replay_job_id=None, audit={})

    def drop(self) -> None:
        """Take all shards away; what forgets did to them stays noted."""
        for row in self.list():
            self.empty(row.history.shard)
        self._connection.execute(delete(schema.cohort_shard))

    def save_slice(self, shard: int, round_number: int, ciphertext: bytes, key_id: str) -> None:
        """Keep a checkpoint; one of the same round is replaced."""
        self.delete_checkpoints(shard, lambda number: number == round_number)
        self._connection.execute(
            insert(schema.cohort_checkpoint).values(
                shard=shard, round=round_number, ciphertext=ciphertext, key_id=key_id
            )
        )

    def checkpoints(self, shard: int | None = None) -> Sequence[CohortCheckpointRow]:
        """Return the checkpoints of a shard or of all, by shard and round."""
        table = schema.cohort_checkpoint
        query = select(table).order_by(table.c.shard, table.c.round)
        if shard is not None:
            query = query.where(table.c.shard == shard)
        return [
            CohortCheckpointRow(row.shard, row.round, row.ciphertext, row.key_id)
            for row in self._connection.execute(query)
        ]

    def delete_checkpoints(self, shard: int, condition: Any) -> None:
        """Delete the checkpoints of a shard whose round meets a condition.

        The caller destroys their key files when this is durable: that is what erases.
        """
        table = schema.cohort_checkpoint
        for row in self.checkpoints(shard):
            if condition(row.round_number):
                mine = (table.c.shard == shard) & (table.c.round == row.round_number)
                self._connection.execute(delete(table).where(mine))

    def add_job(self, job_id: str, shard: int, purpose: CohortPurpose, first_round: int, min_revision: int) -> None:
        """Note what a learning job, just queued, does to a shard."""
        self._connection.execute(
            insert(schema.cohort_job).values(
                job_id=job_id,
                shard=shard,
                purpose=purpose.value,
                first_round=first_round,
                min_revision=min_revision,
                overtaken=0,
                begun_inputs="",
                log=[],
            )
        )

    def job(self, job_id: str) -> CohortJobRow:
        """Return what a job does; `NotFoundError` if it is none of a shard."""
        found = self._jobs(schema.cohort_job.c.job_id == job_id)
        if not found:
            raise NotFoundError(f"learning job {job_id} is not one of a cohort shard")
        return found[0]

    def open_jobs(self, shard: int | None = None) -> Sequence[CohortJobRow]:
        """Return the jobs of a shard, or of all, that are queued or running."""
        job = schema.learning_job
        finished = [state.value for state in FINISHED]
        still = select(job.c.job_id).where(job.c.state.not_in(finished))
        condition = schema.cohort_job.c.job_id.in_(still)
        if shard is not None:
            condition &= schema.cohort_job.c.shard == shard
        return self._jobs(condition)

    def one_is_running(self) -> bool:
        """Whether a job of some shard has a Flower run now."""
        job = schema.learning_job
        running = select(job.c.job_id).where(job.c.state == JobState.RUNNING.value)
        return bool(self._jobs(schema.cohort_job.c.job_id.in_(running)))

    def _jobs(self, condition: Any) -> Sequence[CohortJobRow]:
        table = schema.cohort_job
        query = select(table).where(condition).order_by(table.c.job_id)
        return [
            CohortJobRow(
                job_id=row.job_id,
                shard=row.shard,
                purpose=CohortPurpose(row.purpose),
                first_round=row.first_round,
                min_revision=row.min_revision,
                overtaken=row.overtaken,
                begun_inputs=row.begun_inputs,
                log=tuple(LoggedRound.from_json(entry) for entry in row.log),
            )
            for row in self._connection.execute(query)
        ]

    def log_job_round(self, job_id: str, log: Sequence[LoggedRound]) -> None:
        """Replace the log of a job's own rounds."""
        self._set_job(job_id, log=[entry.to_json() for entry in log])

    def set_begun(self, job_id: str, inputs: str) -> None:
        """Note what a job's people had contributed when a round began."""
        self._set_job(job_id, begun_inputs=inputs)

    def overtake(self, job_id: str, overtaken: int) -> None:
        """Note how many attempts of a job ended by no failure of theirs."""
        self._set_job(job_id, overtaken=overtaken)

    def _set_job(self, job_id: str, **values: Any) -> None:
        table = schema.cohort_job
        self._connection.execute(update(table).where(table.c.job_id == job_id).values(values))

    def add_forget(self, campaign_id: str, shard: int, from_round: int, outcome: str, basis: str) -> None:
        """Note that a forget concerns a shard."""
        self._connection.execute(
            insert(schema.cohort_forget).values(
                campaign_id=campaign_id, shard=shard, from_round=from_round, outcome=outcome, basis=basis
            )
        )

    def settle_forget(self, campaign_id: str, shard: int, outcome: str, basis: str) -> None:
        """Note how a forget of a shard that was being replayed ended."""
        table = schema.cohort_forget
        mine = (table.c.campaign_id == campaign_id) & (table.c.shard == shard)
        self._connection.execute(update(table).where(mine).values(outcome=outcome, basis=basis))

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
        return [CohortForgetRow(**row) for row in self._connection.execute(query).mappings()]
