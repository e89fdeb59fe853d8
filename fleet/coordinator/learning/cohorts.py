"""Cohort shards: their rows and checkpoints, and what a forget does to them.

A shard's rows depend on its own people, on public samples and on the log of its rounds, on nobody else. So a
forget takes the rows of one shard out of the fleet at once; training its rounds again without the person
(`cohort_jobs`) brings back the others', as if the person had never entered.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from reram_fleet.cohorts import fleet_seed, shard_of
from reram_fleet.crypto.digests import lora_digest
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.shared_lora import in_shape, joined, rows_of, without

from fleet.coordinator.at_rest import seal_anew, unseal
from fleet.coordinator.learning.lora_state import JobQueue
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.work import Part, Work
from fleet.domain.cohort import Segment
from fleet.domain.learning import FINISHED, CohortPurpose, JobKind
from fleet.errors import NotFoundError
from fleet.store.rows import LearningJobRow

logger = logging.getLogger(__name__)


class Cohorts(Part):
    """Cohort shards: their rows and checkpoints, and what a forget does to them."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._queue = work.part(JobQueue)
        self._revisions = work.part(Revisions)

    def shard_in(self, tag: str) -> int:
        """Return the shard that a person is in, or would be."""
        return shard_of(tag, fleet_seed(self._env.fleet_id), self._tx.cohorts.count())

    def rows_of(self, shard: int) -> types.SharedLora:
        """Return the rows of a shard in the newest revision; none while it is being replayed."""
        content = self._revisions.latest_content()
        lora, shape = content.shared_lora, self._revisions.shape()
        there = {row.subject_tag for row in lora.rows if self.shard_in(row.subject_tag) == shard}
        return joined(shape, [in_shape(rows_of(lora, there), shape)])

    def install(self, shard: int, lora: types.SharedLora) -> int | None:
        """Build the revision in which a shard has these rows; those of the other shards stay as they are."""
        content = self._revisions.latest_content()
        there = in_shape(content.shared_lora, lora.shape)
        mine = {row.subject_tag for row in there.rows if self.shard_in(row.subject_tag) == shard}
        return self._revisions.build(joined(lora.shape, [without(there, mine), lora]))

    def save_checkpoint(self, shard: int, round_number: int, lora: types.SharedLora, job_id: str) -> None:
        """Keep the state of a shard before a round, sealed under a key of its own.

        The job that it comes from makes the name of the key new: the key of a checkpoint that this one replaces must
        stay until the replacement is durable.
        """
        key_id = f"checkpoint-{shard}-{round_number}-{job_id}"
        self._tx.cohorts.save_checkpoint(shard, round_number, seal_anew(self._env, key_id, lora), key_id)

    def load_checkpoint(self, shard: int, round_number: int) -> types.SharedLora:
        """Open a checkpoint.

        Raises `NotFoundError` if there is none before this round, or its key is gone.
        """
        for row in self._tx.cohorts.checkpoints(shard):
            if row.round_number == round_number:
                return types.SharedLora.FromString(unseal(self._env.secrets, row.key_id, row.key_id, row.ciphertext))
        raise NotFoundError(f"shard {shard} has no checkpoint before round {round_number}")

    def queue_segment(
        self,
        purpose: CohortPurpose,
        shard: int,
        segment: Segment,
        known: types.SharedLora,
        request_id: str = "",
        request_digest: bytes = b"",
        campaign_id: str | None = None,
    ) -> LearningJobRow:
        """Queue a job that runs a segment of a shard.

        `known` has the rows before it; who is in the segment and has none starts from zero. Without the request of an
        operator, a name is made up for what follows from the store.
        """
        newest = self._tx.revisions.latest()
        job = self._queue.add(
            request_id=request_id or f"{purpose}/{shard}/{segment.first}/{1 + len(self._tx.learning.list())}",
            request_digest=request_digest,
            kind=JobKind.TRAIN_COHORT if purpose is CohortPurpose.TRAIN else JobKind.REPLAY_COHORT,
            rounds=segment.end - segment.first,
            tags=segment.tags,
            shape=self._revisions.shape(),
            known=known,
            campaign_id=campaign_id,
        )
        self._tx.cohorts.add_job(job.job_id, shard, purpose, segment.first, 0 if newest is None else newest.revision)
        return job

    def forget(self, campaign_id: str, tags: Collection[str]) -> dict[int, frozenset[str]]:
        """Take people out of their shards, in the transaction that commits the forget.

        Checkpoints taken after an entry know the person: they are deleted here, their keys when this is durable. The
        checkpoint before the entry never knew them, and is where the replay starts.

        Returns
        -------
        dict
            By affected shard, whose rows must leave the newest revision: everybody's who was trained with them.
        """
        affected = {}
        shards = self._tx.cohorts.count()
        for row in self._tx.cohorts.list():
            history = row.history
            gone = set(tags) & set(history.entries)
            if not gone:
                continue
            shard, entry = history.shard, min(history.entries[tag] for tag in gone)
            affected[shard] = frozenset(history.entries)
            self._tx.cohorts.leave(gone)
            self._tx.cohorts.delete_checkpoints(shard, lambda number, entry=entry: number > entry)
            name = f"shard {shard} of {shards}"
            if len(gone) == len(history.entries):
                basis = f"nobody else was in {name}: its rows, its log and its checkpoints are gone"
                self._tx.cohorts.settle_forgets(shard, "emptied", basis)
                self._tx.cohorts.empty(shard)
                self._tx.cohorts.add_forget(campaign_id, shard, entry, "emptied", basis)
                continue
            first = entry if row.replay_from is None else min(entry, row.replay_from)
            self._tx.cohorts.set_replay(shard, first)
            basis = (
                f"all rows of {name} left the fleet with this forget, and checkpoints that knew the person are "
                f"destroyed; its replay from round {entry} is not done yet"
            )
            self._tx.cohorts.add_forget(campaign_id, shard, entry, "replaying", basis)
            logger.info("%s is to be replayed from round %d, for forget %s", name, first, campaign_id)
        return affected

    def give_up(self, shard: int, reason: str) -> None:
        """Leave a shard without rows: its replay failed for good. The next training starts it anew."""
        basis = (
            f"all rows of shard {shard} of {self._tx.cohorts.count()} left the fleet with this forget and stay "
            f"dropped: nothing trained on the person is left; the replay failed ({reason})"
        )
        self._tx.cohorts.settle_forgets(shard, "dropped", basis)
        self._tx.cohorts.empty(shard)
        logger.error("cohort shard %d cannot be replayed (%s) and is dropped", shard, reason)

    def resume_restored(self) -> None:
        """Have every shard trained again whose rows, or whose replay, a restore has lost: its log says how."""
        newest = self._tx.revisions.latest()
        lost = newest is None or newest.ciphertext is None
        for row in self._tx.cohorts.list():
            job = None if row.replay_job_id is None else self._tx.learning.get(row.replay_job_id)
            if (job is None or job.state in FINISHED) and (lost or row.replay_from is not None) and row.history.entries:
                self._tx.cohorts.set_replay(row.history.shard, 0)

    def replayed(self, shard: int, digest: str) -> None:
        """Note for every forget of a shard that its replay is done, and on what grounds it is exact."""
        history = self._tx.cohorts.get(shard).history
        for row in self._tx.cohorts.replaying(shard):
            log = history.log[row.from_round :]
            again = [str(number) for number, entry in enumerate(log, row.from_round) if entry.rewritten]
            basis = (
                f"shard {shard} of {self._tx.cohorts.count()} was trained again without the person from round "
                f"{row.from_round} to {history.rounds - 1} on its logged nodes: bitwise what it would be had "
                f"they never entered; digest {digest}"
            )
            if again:
                basis += f"; in round {', '.join(again)} a logged node was out of reach, and the log now says so"
            self._tx.cohorts.settle_forget(row.campaign_id, shard, "replayed", basis)

    def drop(self) -> None:
        """Forget all shards, with whatever was being replayed."""
        for row in self._tx.cohorts.list():
            shard = row.history.shard
            basis = f"all rows of shard {shard} left the fleet with this forget; later the cohorts were dropped"
            self._tx.cohorts.settle_forgets(shard, "dropped", basis)
        self._tx.cohorts.drop()


def digest_of(lora: types.SharedLora) -> str:
    """Return the digest of a shard's integers, hexadecimal."""
    return lora_digest(lora).hex()
