"""Erasure by destroying keys, so that a crash at any point ends in the same place.

The intent goes to the journal first, then the keys are destroyed, then the rows that they sealed are deleted. A key
that is gone already counts as destroyed by the intent that names it: the counts in the receipt are those of the intent,
however often the work was interrupted.
"""

from __future__ import annotations

from collections.abc import Collection

from edge_node.storage.journal import Journal
from edge_node.storage.journal_schema import ErasureRow
from edge_node.storage.record_cipher import RecordCipher


class Eraser:
    """Erasures on a node's key stores and journal."""

    def __init__(self, journal: Journal, cipher: RecordCipher) -> None:
        self._journal = journal
        self._cipher = cipher

    def erase(self, generation: int, tags: Collection[str]) -> ErasureRow:
        """Destroy the keys of these tags and of every superseded revision; idempotent.

        Old revisions go as a whole: before minus after a forget is the forgotten person.
        """
        erasure = self._journal.erasure(generation)
        if erasure is None:
            enrolled = self._journal.enrolled().keys()
            superseded = [row.key_id for row in self._journal.superseded_revisions()]
            with self._journal.transaction():
                self._journal.intend_erasure(generation, sorted(enrolled & set(tags)), superseded)
            erasure = self._journal.erasure(generation)
            assert erasure is not None
        if not erasure.done:
            self._carry_out(erasure)
        return erasure

    def _carry_out(self, erasure: ErasureRow) -> None:
        for subject_tag in erasure.subject_keys:
            self._cipher.subject_keys.destroy(subject_tag)
        for key_id in erasure.revision_keys:
            self._cipher.revision_keys.destroy(key_id)
        with self._journal.transaction():
            self._journal.finish_erasure(erasure)

    def recover(self) -> None:
        """Finish what a crash interrupted, and destroy keys that no row refers to."""
        for erasure in self._journal.unfinished_erasures():
            self._carry_out(erasure)
        enrolled = self._journal.enrolled().keys()
        revisions = self._journal.superseded_revisions()
        if (active := self._journal.active_revision()) is not None:
            revisions.append(active)
        for store, used in (
            (self._cipher.subject_keys, enrolled),
            (self._cipher.revision_keys, {row.key_id for row in revisions}),
        ):
            store.sweep_leftovers()
            for key_id in store.ids() - used:
                store.destroy(key_id)
        self.drop_superseded()

    def drop_superseded(self) -> None:
        """Destroy superseded revisions, unless a forget is under way: its erasure counts them."""
        if self._journal.generations_without_receipt():
            return
        key_ids = [row.key_id for row in self._journal.superseded_revisions()]
        for key_id in key_ids:
            self._cipher.revision_keys.destroy(key_id)
        if key_ids:
            with self._journal.transaction():
                self._journal.delete_revisions(key_ids)
