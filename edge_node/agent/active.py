"""Adapters that are in the engine: the revision's, local ones not in it, and never a forgotten one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from reram_fleet.crypto import digests
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.node_pb2 import RevisionOffer, RevisionResult

from edge_node.agent.context import NodeContext
from edge_node.agent.revisions import Standpoint, check_manifest, open_content, without
from edge_node.errors import AdapterError, RevisionRefusedError
from edge_node.storage.erasure import Eraser
from edge_node.storage.journal_schema import RevisionRow
from hwmodel import LedgerMark

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdapterDigests:
    """Digests of what is in SRAM: of each subject adapter by tag, of the LoRA, of the head, of erasers."""

    subjects: Sequence[types.AdapterDigest]
    lora: bytes
    head: bytes
    erasers: bytes

    @cached_property
    def all(self) -> bytes:
        """Digest of everything."""
        return digests.adapters_digest(self.subjects, self.lora, self.head, self.erasers)


class ActiveAdapters:
    """Adapters in the engine's SRAM, kept equal to what journal and log say."""

    def __init__(self, context: NodeContext, eraser: Eraser) -> None:
        self._context, self._eraser = context, eraser
        self._journal, self._engine, self._recognition = context.journal, context.engine, context.recognition
        self._node_index = context.node_index
        # Since they changed last: a forget asks twice for the same.
        self._digests: AdapterDigests | None = None
        # Forgotten here, but not in the journal: it failed in between.
        self._gone: set[str] = set()

    @property
    def subjects(self) -> list[types.SubjectAdapter]:
        """Subject adapters in SRAM, by tag."""
        return self._engine.active_subjects(self._node_index)

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the subject adapters in SRAM, sorted."""
        return self._engine.active_tags(self._node_index)

    @property
    def lora(self) -> types.SharedLora:
        """The shared LoRA in SRAM; without rows if there is none."""
        lora = self._recognition.active_lora(self._node_index) if self._recognition else None
        return lora or types.SharedLora()

    @property
    def head(self) -> types.ClosedFormHead:
        """The closed-form head in SRAM; without columns if there is none."""
        head = self._recognition.active_head(self._node_index) if self._recognition else None
        return head or types.ClosedFormHead()

    @property
    def digests(self) -> AdapterDigests:
        """Digests of what is in SRAM now."""
        if self._digests is None:
            self._digests = AdapterDigests(
                self._engine.subject_digests(self._node_index),
                digests.lora_digest(self.lora),
                self._recognition.head_digest(self._node_index) if self._recognition else digests.NO_HEAD,
                digests.erasers_digest(self._engine.active_erasers(self._node_index)),
            )
        return self._digests

    def drop(self, tags: Collection[str]) -> None:
        """Take adapters, LoRA rows and head columns of these tags out of SRAM, for good."""
        self._digests = None
        self._gone.update(tags)
        self._engine.drop_subjects(self._node_index, tags)

    def load(self, content: types.RevisionContent | None = None) -> None:
        """Make the engine hold what it should, and nothing else.

        `AdapterError` if what a revision brings does not fit the engine.

        Parameters
        ----------
        content
            Of a revision that is about to be active; that of the one in the journal if left out.
        """
        self._digests = None
        noted = self._journal.tombstones()
        self._gone.difference_update(noted)
        tombstones = noted.keys() | self._gone
        if content is None:
            active = self._journal.active_revision()
            stored = self._context.cipher.open_revision(active) if active else types.RevisionContent()
            content = without(stored, tombstones)
        wanted = {subject.subject_tag: subject for subject in content.subjects}
        for row in self._journal.enrolments():
            # Whom the coordinator has refused it does not know: a receipt must not name them.
            if row.subject_tag not in wanted and row.subject_tag not in tombstones and not row.refusal:
                wanted[row.subject_tag] = self._context.cipher.open_samples(row).adapter(row.subject_tag)
        if gone := set(self.tags) - wanted.keys():
            self._engine.drop_subjects(self._node_index, gone)
        for tag in sorted(wanted):
            if not self._engine.holds_subject(self._node_index, wanted[tag]):
                self._engine.set_subject(self._node_index, wanted[tag])
        self._engine.set_erasers(self._node_index, content.erasers)
        lora = content.shared_lora if content.shared_lora.rows else None
        head = content.head if content.head.subject_tags else None
        if self._recognition is None:
            if lora is not None:
                raise AdapterError("nodes that generate have no shared LoRA: every class has an adapter of its own")
            if head is not None:
                raise AdapterError("nodes that generate have no closed-form head: there is nobody to tell apart")
            return
        if self._recognition.active_lora(self._node_index) != lora:
            self._recognition.set_lora(self._node_index, lora)
        if self._recognition.active_head(self._node_index) != head:
            self._recognition.set_head(self._node_index, head)

    def install(self, manifest: types.RevisionManifest, offer: RevisionOffer, mark: LedgerMark) -> RevisionResult:
        """Make an offered revision active, or say why not; the same one again is active already.

        Parameters
        ----------
        manifest
            The offer's, its signature and fleet checked.
        mark
            From before the offer was worked on.
        """
        active = self._journal.active_revision()
        result = RevisionResult(revision=manifest.revision, digest=manifest.digest)
        if active and (active.revision, active.digest) == (manifest.revision, manifest.digest):
            result.active = True
            result.overhead.ParseFromString(active.overhead)
            return result
        standpoint = Standpoint(
            fleet_id=manifest.fleet_id,
            node_id=self._context.node_id,
            generation=self._journal.position().generation,
            tombstones=self._journal.tombstones(),
            active_revision=active.revision if active else 0,
        )
        try:
            check_manifest(manifest, standpoint)
            content = open_content(
                manifest,
                offer.content,
                self._context.keys.sealing,
                standpoint,
                lambda adapter: self._engine.digest_of_subject(self._node_index, adapter),
            )
            overhead = self._engine.deployment(self._node_index, content, offer.ByteSize())
            self.load(content)
        except (RevisionRefusedError, AdapterError) as error:
            logger.warning("refused a revision: %s", error)
            self.load()
            result.refusal = str(error)
            return result
        # For the receipt, and so that the next forget need not wait for it.
        _ = self.digests.all
        key_id = f"{manifest.revision}-{manifest.digest.hex()[:16]}"
        row = RevisionRow(
            revision=manifest.revision,
            digest=manifest.digest,
            manifest=offer.manifest.SerializeToString(),
            key_id=key_id,
            ciphertext=self._context.cipher.seal_revision(key_id, content),
            overhead=overhead.SerializeToString(),
            state="active",
        )
        with self._journal.transaction():
            self._journal.activate_revision(row)
            if pending := self._journal.generations_without_receipt():
                # Making this revision active is part of the newest forget that it carries out.
                self._journal.add_forget_cost(pending[-1], self._context.meter.since(mark))
            self._context.meter.save()
        self._eraser.drop_superseded()
        result.active = True
        result.overhead.CopyFrom(overhead)
        return result
