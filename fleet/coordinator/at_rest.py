"""Encryption at rest: names of the key files, one per owner, and what is sealed under them in the store."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message
from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.crypto.sealing import open_symmetric, seal_symmetric

from fleet.coordinator.work import Environment, Part
from fleet.store.database import Transaction


def subject_key_id(tag: str) -> str:
    """Return the name of a person's key file."""
    return f"subject-{tag}"


def job_key_id(job_id: str) -> str:
    """Return the name of a learning job's key file."""
    return f"job-{job_id}"


# Purposes of what lies in the store. They name the row: moved to another one, a ciphertext does not open.


def contribution_at_rest(tag: str, node_id: str, sequence: int) -> str:
    """Return the purpose under which a node's sum of a person is sealed with the person's key."""
    return f"{subject_key_id(tag)}/{node_id}/{sequence}"


def statistics_at_rest(tag: str, node_id: str, sequence: int) -> str:
    """Return the same of the statistics for the head."""
    return f"{contribution_at_rest(tag, node_id, sequence)}/statistics"


def seal_anew(env: Environment, key_id: str, content: Message) -> bytes:
    """Return a message under a new key of its own, whose name is the purpose as well."""
    # A transaction that was rolled back may have left a key of this name.
    env.secrets.destroy(key_id)
    plaintext = content.SerializeToString(deterministic=True)
    return seal_symmetric(env.secrets.create(key_id), key_id, plaintext, env.randomness.draw)


def unseal(secrets: KeyStore, key_id: str, purpose: str, ciphertext: bytes) -> bytes:
    """Return what was sealed under a key for a purpose.

    Raises `NotFoundError` if the key is gone; `SealError` if the ciphertext does not open.
    """
    return open_symmetric(secrets.get(key_id), purpose, ciphertext)


def owned_key_ids(tx: Transaction) -> set[str]:
    """Return the names of the key files that somebody in the store still owns."""
    owned = {subject_key_id(subject.tag) for subject in tx.subjects.list()}
    owned |= {job_key_id(row.job_id) for row in tx.learning.list_open()}
    return owned.union(tx.revisions.key_ids(), tx.cohorts.key_ids())


def drop_keyless(tx: Transaction, has: Callable[[str], bool]) -> None:
    """Drop revisions, checkpoints and states of learning jobs whose keys are gone; `has` says which keys are there."""
    for revision in tx.revisions.list():
        if revision.ciphertext is not None and not has(revision.key_id):
            tx.revisions.wipe(revision.revision)
        if tx.revisions.get(revision.revision).ciphertext is None:
            tx.heads.drop_note(revision.revision)
    for job in tx.learning.list_open():
        if job.sealed_state is not None and not has(job_key_id(job.job_id)):
            tx.learning.cancel(job.job_id, "the coordinator was restored, and the key of its state is gone")
    for checkpoint in tx.cohorts.checkpoints():
        if not has(checkpoint.key_id):
            gone = checkpoint.round_number
            tx.cohorts.delete_checkpoints(checkpoint.shard, gone.__eq__)


class OwnedKeys(Part):
    """Key files, and whose each is."""

    def destroy_orphaned(self) -> None:
        """Destroy every key file whose owner was forgotten, erased or finished, and what is open by it.

        Called after a transaction that orphaned keys has become durable, and at every start: a kill in between
        leaves keys that nothing may use, and this finds them.
        """
        secrets, owned = self._env.secrets, owned_key_ids(self._tx)
        for key_id in sorted(secrets.ids() - owned):
            if not self._may_be_wanted(key_id):
                secrets.destroy(key_id)
        opened = self._env.opened_revision
        if opened is not None and opened.key_id not in owned:
            self._env.opened_revision = None

    def _may_be_wanted(self, key_id: str) -> bool:
        """Whether a key may be that of a person who was enrolled after the backup that these rows went back to.

        Nothing here opens with it, but a later backup may yet be restored in the place of that one.
        """
        tag = key_id.removeprefix(subject_key_id(""))
        return tag != key_id and bool(self._tx.fleet.awaited()) and not self._tx.subjects.known(tag)
