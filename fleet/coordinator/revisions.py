"""Building revisions: integer addition of what nodes contributed, canaries, the head, the shared LoRA."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from reram_fleet.crypto.digests import revision_digest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator import contributions, heads
from fleet.coordinator.at_rest import seal_anew, unseal
from fleet.coordinator.canaries import LIVE, CanarySecret
from fleet.coordinator.core import Coordinator
from fleet.coordinator.lora_state import lora_shape, without
from fleet.store.database import Transaction
from fleet.store.rows import RevisionRow

logger = logging.getLogger(__name__)


def canary_path(coordinator: Coordinator) -> Path:
    """Return the file of the canary secret."""
    return coordinator.settings.state / "canary.json"


def open_content(coordinator: Coordinator, revision: RevisionRow) -> types.RevisionContent:
    """Decrypt the content of a revision that has not been erased."""
    if revision.ciphertext is None:
        raise ValueError(f"revision {revision.revision} has been erased")
    content = unseal(coordinator.secrets, revision.key_id, revision.key_id, revision.ciphertext)
    return types.RevisionContent.FromString(content)


def latest_content(coordinator: Coordinator, tx: Transaction) -> types.RevisionContent:
    """Return the content of the newest revision; empty before the first."""
    newest = tx.revisions.latest()
    if newest is None or newest.ciphertext is None:
        return types.RevisionContent()
    return open_content(coordinator, newest)


def settled(tx: Transaction) -> RevisionRow | None:
    """Return the newest revision if it knows all forgets: None before the first, or while the next one is due."""
    newest = tx.revisions.latest()
    return None if newest is None or newest.built_at_generation < tx.fleet.get().generation else newest


def enrolled_adapters(coordinator: Coordinator, tx: Transaction) -> list[types.SubjectAdapter]:
    """Return everybody who is enrolled: the integer sum of what all nodes captured of them, by tag."""
    sums: dict[str, types.SubjectAdapter] = {}
    for row, part in contributions.opened(coordinator, tx, tx.subjects.contributions()):
        sums[row.tag] = _added(sums[row.tag], part) if row.tag in sums else part
    return [sums[tag] for tag in sorted(sums)]


def _added(left: types.SubjectAdapter, right: types.SubjectAdapter) -> types.SubjectAdapter:
    total = np.asarray(left.code_sum, np.int64) + np.asarray(right.code_sum, np.int64)
    return types.SubjectAdapter(
        subject_tag=left.subject_tag, count=left.count + right.count, code_sum=total.tolist(), kind=left.kind
    )


def shape(coordinator: Coordinator, tx: Transaction) -> types.LoraShape:
    """Return the shape of the fleet's LoRA: that of the newest revision, or a new one."""
    content = latest_content(coordinator, tx)
    if content.shared_lora.rows:
        return content.shared_lora.shape
    seed = hashlib.sha256(f"reram-fleet/lora-a/{coordinator.fleet_id}".encode()).digest()
    features = len(content.subjects[0].code_sum)
    # 63 bits: generators take signed seeds.
    return lora_shape(features, int.from_bytes(seed[:8], "big") >> 1)


def refresh(coordinator: Coordinator, tx: Transaction) -> int | None:
    """Build the next revision if people or the log have changed since the newest; keep its LoRA.

    A LoRA row of somebody who was forgotten, or whom no node in the fleet vouches for any more, is left out.
    Returns its number, or None.
    """
    content = latest_content(coordinator, tx)
    named = [row.subject_tag for row in content.shared_lora.rows]
    gone = set(named) - {tag for tag, _, _ in tx.subjects.sequences(named)}
    return build(coordinator, tx, without(content.shared_lora, gone))


def build(coordinator: Coordinator, tx: Transaction, lora: types.SharedLora | None) -> int | None:
    """Build the next revision with this LoRA and make it the desired one.

    All earlier revisions are wiped: what differs between two of them is a person. Their key files go once the
    transaction is durable (`at_rest.destroy_orphaned_keys`). Returns None if the newest revision already says this.

    The head is the newest one's unless what it follows from has changed (`heads.head_for`).
    """
    generation = tx.fleet.get().generation
    newest = tx.revisions.latest()
    enrolled = enrolled_adapters(coordinator, tx)
    subjects = [*enrolled, *_canaries(coordinator, tx, enrolled)]
    solved = heads.head_for(
        tx, coordinator.secrets, coordinator.head_precomputer, newest, latest_content(coordinator, tx)
    )
    head = solved.head if solved.head.subject_tags else None
    shards = tx.cohorts.count()
    content = types.RevisionContent(subjects=subjects, shared_lora=lora, head=head, cohort_shards=shards)
    digest = revision_digest(content)
    if newest is None and not subjects:
        return None
    if newest is not None and newest.digest == digest and newest.built_at_generation == generation:
        # The same from other statistics, for instance no head again: not to be solved once more.
        heads.note(tx, newest.revision, solved)
        return None
    number = 1 if newest is None else newest.revision + 1
    manifest = types.RevisionManifest(
        fleet_id=coordinator.fleet_id,
        revision=number,
        digest=digest,
        parent_digest=b"" if newest is None else newest.digest,
        built_at_generation=generation,
        subject_tags=[subject.subject_tag for subject in subjects],
        has_shared_lora=bool(content.shared_lora.rows),
        has_head=head is not None,
        cohort_shards=shards,
    )
    key_id = f"revision-{number}"
    ciphertext = seal_anew(coordinator.secrets, key_id, content)
    tx.revisions.add(
        number,
        digest=digest,
        parent_digest=manifest.parent_digest,
        built_at_generation=generation,
        manifest=coordinator.keys.sign(manifest).SerializeToString(deterministic=True),
        ciphertext=ciphertext,
        key_id=key_id,
        tags=manifest.subject_tags,
        lora_tags=[row.subject_tag for row in content.shared_lora.rows],
    )
    heads.note(tx, number, solved)
    tx.fleet.set_desired_revision(number)
    tx.revisions.wipe_superseded()
    logger.info(
        "revision %d: %d people, %d of them in the head, %s LoRA, built at generation %d",
        number,
        len(enrolled),
        len(solved.head.subject_tags),
        "with" if manifest.has_shared_lora else "without",
        generation,
    )
    return number


def redact(
    coordinator: Coordinator, tx: Transaction, tags: Collection[str], generation: int, rows: Collection[str] = ()
) -> None:
    """Take people who were just forgotten out of the newest revision, until the next one is built.

    `rows` are others whose LoRA rows leave with them, since they were trained together.

    That may take long: the repair of the shared LoRA waits for nodes. Meanwhile nothing of them is left here;
    the revision itself is not offered to anyone any more, since it is older than the log. The head goes as a
    whole: its other columns were solved with the forgotten among the negatives.
    """
    newest = tx.revisions.latest()
    if newest is None or newest.ciphertext is None:
        return
    content = open_content(coordinator, newest)
    left = types.RevisionContent(
        subjects=[subject for subject in content.subjects if subject.subject_tag not in tags],
        shared_lora=without(content.shared_lora, {*tags, *rows}),
        cohort_shards=content.cohort_shards,
    )
    key_id = f"revision-{newest.revision}-at-{generation}"
    ciphertext = seal_anew(coordinator.secrets, key_id, left)
    tx.revisions.redact(newest.revision, ciphertext=ciphertext, key_id=key_id)
    tx.heads.drop_note(newest.revision)


def _canaries(
    coordinator: Coordinator, tx: Transaction, enrolled: list[types.SubjectAdapter]
) -> Iterable[types.SubjectAdapter]:
    if not enrolled and not canary_path(coordinator).exists():
        return []
    secret = CanarySecret.load_or_create(canary_path(coordinator), enrolled, coordinator.settings.codes.code_max)
    while len(tx.subjects.live_canaries()) < LIVE:
        tx.subjects.add_canary(new_tag())
    return [secret.adapter(tag) for tag in tx.subjects.live_canaries()]
