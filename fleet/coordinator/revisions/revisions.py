"""Building revisions: integer addition of what nodes contributed, canaries, the head, the shared LoRA."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from reram_fleet.crypto.digests import revision_digest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.shared_lora import lora_shape, without

from fleet.coordinator.at_rest import seal_anew, unseal
from fleet.coordinator.revisions.canaries import LIVE, CanarySecret
from fleet.coordinator.revisions.contributions import Contributions
from fleet.coordinator.revisions.heads import Heads
from fleet.coordinator.work import ExpectedAdapters, OpenedRevision, Part, Work
from fleet.store.rows import RevisionRow

logger = logging.getLogger(__name__)


class Revisions(Part):
    """Content of the newest revision, and how the next one is built."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._contributions = work.part(Contributions)
        self._heads = work.part(Heads)

    @property
    def canary_path(self) -> Path:
        """File of the canary secret."""
        return self._env.settings.state / "canary.json"

    def opened(self, revision: RevisionRow) -> OpenedRevision:
        """Decrypt a revision that has not been erased; nobody changes its content."""
        if revision.ciphertext is None:
            raise ValueError(f"revision {revision.revision} has been erased")
        # One and the same for thousands of nodes.
        opened = self._env.opened_revision
        if opened is None or (opened.key_id, opened.ciphertext) != (revision.key_id, revision.ciphertext):
            plaintext = unseal(self._env.secrets, revision.key_id, revision.key_id, revision.ciphertext)
            opened = OpenedRevision(revision.key_id, revision.ciphertext, plaintext)
            self._env.opened_revision = opened
        return opened

    def expected(self, newest: RevisionRow | None) -> ExpectedAdapters:
        """Return the digests that a node names which runs the newest revision."""
        if newest is None or newest.ciphertext is None:
            return OpenedRevision("", b"", b"").expected
        return self.opened(newest).expected

    def latest_content(self) -> types.RevisionContent:
        """Return the content of the newest revision; empty before the first."""
        newest = self._tx.revisions.latest()
        if newest is None or newest.ciphertext is None:
            return types.RevisionContent()
        return self.opened(newest).content

    def settled(self) -> RevisionRow | None:
        """Return the newest revision if it knows all forgets: None before the first, or while the next one is due.

        That of a coordinator that was restored never is: its key may be lost, and nodes may run a later one.
        """
        newest = self._tx.revisions.latest()
        if newest is None or newest.ciphertext is None or newest.built_at_generation < self._tx.fleet.get().generation:
            return None
        return newest if newest.revision > self._floor and not self._tx.fleet.awaited() else None

    @property
    def _floor(self) -> int:
        """Number up to which revisions may have been signed that are lost."""
        return self._tx.fleet.get().revision_floor or 0

    def enrolled_adapters(self) -> list[types.SubjectAdapter]:
        """Return everybody who is enrolled: the integer sum of what all nodes captured of them, by tag."""
        sums: dict[str, types.SubjectAdapter] = {}
        for row, part in self._contributions.opened(self._tx.subjects.contributions()):
            sums[row.tag] = _added(sums[row.tag], part) if row.tag in sums else part
        return [sums[tag] for tag in sorted(sums)]

    def shape(self) -> types.LoraShape:
        """Return the shape of the fleet's LoRA, which follows from its task and its name."""
        content = self.latest_content()
        seed = hashlib.sha256(f"reram-fleet/lora-a/{self._env.fleet_id}".encode()).digest()
        features = len(content.subjects[0].code_sum)
        # 63 bits: generators take signed seeds.
        return lora_shape(features, int.from_bytes(seed[:8], "big") >> 1, self._env.settings.codes.stage)

    def refresh(self) -> int | None:
        """Build the next revision if people or the log have changed since the newest; keep its LoRA.

        A LoRA row of somebody who was forgotten, or whom no node in the fleet vouches for any more, is left out.
        Returns its number, or None.
        """
        content = self.latest_content()
        named = [row.subject_tag for row in content.shared_lora.rows]
        gone = set(named) - {tag for tag, _, _ in self._tx.subjects.sequences(named)}
        return self.build(without(content.shared_lora, gone))

    def build(self, lora: types.SharedLora | None, erasers: Sequence[types.Eraser] | None = None) -> int | None:
        """Build the next revision with this LoRA and make it the desired one; its erasers are the newest one's if None.

        All earlier revisions are wiped: what differs between two of them is a person. Their key files go once the
        transaction is durable (`at_rest.destroy_orphaned_keys`). Returns None if the newest revision already says this,
        or nodes have yet to say what was lost with a restore: somebody who was forgotten, perhaps.

        The head is the newest one's unless what it follows from has changed (`heads.head_for`).
        """
        if self._tx.fleet.awaited():
            return None
        generation = self._tx.fleet.get().generation
        newest = self._tx.revisions.latest()
        enrolled = self.enrolled_adapters()
        subjects = [*enrolled, *self._canaries(enrolled)]
        solved = self._heads.head_for(newest, self.latest_content())
        head = solved.head if solved.head.subject_tags else None
        shards = self._tx.cohorts.count()
        erasers = self.latest_content().erasers if erasers is None else erasers
        content = types.RevisionContent(
            subjects=subjects, shared_lora=lora, head=head, cohort_shards=shards, erasers=erasers
        )
        digest = revision_digest(content)
        if newest is None and not subjects and not erasers:
            return None
        settled = self.settled()
        if settled is not None and settled.digest == digest:
            # The same from other statistics, for instance no head again: not to be solved once more.
            self._heads.note(settled.revision, solved)
            return None
        number = 1 + max(0 if newest is None else newest.revision, self._floor)
        manifest = types.RevisionManifest(
            fleet_id=self._env.fleet_id,
            revision=number,
            digest=digest,
            parent_digest=b"" if newest is None else newest.digest,
            built_at_generation=generation,
            subject_tags=[subject.subject_tag for subject in subjects],
            has_shared_lora=bool(content.shared_lora.rows),
            has_head=head is not None,
            cohort_shards=shards,
            concepts=[eraser.concept for eraser in erasers],
        )
        key_id = f"revision-{number}"
        ciphertext = seal_anew(self._env, key_id, content)
        self._tx.revisions.add(
            number,
            digest=digest,
            parent_digest=manifest.parent_digest,
            built_at_generation=generation,
            manifest=self._env.keys.sign(manifest).SerializeToString(deterministic=True),
            ciphertext=ciphertext,
            key_id=key_id,
            tags=manifest.subject_tags,
            lora_tags=[row.subject_tag for row in content.shared_lora.rows],
        )
        self._heads.note(number, solved)
        self._tx.fleet.set_desired_revision(number)
        self._tx.revisions.wipe_superseded()
        logger.info(
            "revision %d: %d people, %d of them in the head, %s LoRA, built at generation %d",
            number,
            len(enrolled),
            len(solved.head.subject_tags),
            "with" if manifest.has_shared_lora else "without",
            generation,
        )
        return number

    def redact(self, tags: Collection[str], generation: int, rows: Collection[str] = ()) -> None:
        """Take people who were just forgotten out of the newest revision, until the next one is built.

        `rows` are others whose LoRA rows leave with them, since they were trained together.

        That may take long: the repair of the shared LoRA waits for nodes. Meanwhile nothing of them is left here;
        the revision itself is not offered to anyone any more, since it is older than the log. The head goes as a
        whole: its other columns were solved with the forgotten among the negatives.
        """
        newest = self._tx.revisions.latest()
        if newest is None or newest.ciphertext is None:
            return
        content = self.opened(newest).content
        left = types.RevisionContent(
            subjects=[subject for subject in content.subjects if subject.subject_tag not in tags],
            shared_lora=without(content.shared_lora, {*tags, *rows}),
            cohort_shards=content.cohort_shards,
            erasers=content.erasers,
        )
        key_id = f"revision-{newest.revision}-at-{generation}"
        ciphertext = seal_anew(self._env, key_id, left)
        self._tx.revisions.redact(newest.revision, ciphertext=ciphertext, key_id=key_id)
        self._tx.heads.drop_note(newest.revision)

    def _canaries(self, enrolled: list[types.SubjectAdapter]) -> Iterable[types.SubjectAdapter]:
        if not enrolled and not self.canary_path.exists():
            return []
        draw = self._env.randomness.draw
        secret = CanarySecret.load_or_create(self.canary_path, enrolled, self._env.settings.codes.code_max, draw)
        while len(self._tx.subjects.live_canaries()) < LIVE:
            self._tx.subjects.add_canary(new_tag(draw))
        return [secret.adapter(tag) for tag in self._tx.subjects.live_canaries()]


def _added(left: types.SubjectAdapter, right: types.SubjectAdapter) -> types.SubjectAdapter:
    total = np.asarray(left.code_sum, np.int64) + np.asarray(right.code_sum, np.int64)
    return types.SubjectAdapter(
        subject_tag=left.subject_tag, count=left.count + right.count, code_sum=total.tolist(), kind=left.kind
    )
