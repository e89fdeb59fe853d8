"""Inputs of the closed-form head, and of the head of each revision."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import select

from fleet.store import schema
from fleet.store.repository import Repository, equal, given
from fleet.store.rows import HeadNoteRow, HeadStatisticsRow, PublicCodesRow

_CODES, _NODE = schema.public_codes.c, schema.node.c
_SOUND = select(_NODE.node_id).where(_NODE.held_reason == "", _NODE.retired_at_ms.is_(None))
_IN_GOOD_STANDING = _CODES.node_id.in_(_SOUND)
_DIGESTS = select(_CODES.node_id, _CODES.digest).where(_IN_GOOD_STANDING).order_by(_CODES.node_id)
_STATISTICS, _NOTE = schema.head_statistics.c, schema.revision_head.c
_ONE_SOURCE = select(_STATISTICS.tag).limit(1)
_OF_ONE = select(schema.head_statistics).where(given(_STATISTICS.tag), given(_STATISTICS.node_id))
_NOTE_OF = select(_NOTE.basis, _NOTE.error).where(given(_NOTE.revision))


class Heads(Repository):
    """Statistics of people (ciphertext), codes of public people (plain), and one note per revision."""

    def sources(self) -> Sequence[tuple[str, str, int]]:
        """Return tag, node and sequence of all statistics, sorted; without their megabytes."""
        table = schema.head_statistics
        query = select(table.c.tag, table.c.node_id, table.c.sequence).order_by(table.c.tag, table.c.node_id)
        return [(row.tag, row.node_id, row.sequence) for row in self._run(query)]

    def has_sources(self) -> bool:
        """Whether there are any statistics."""
        return bool(self._column(_ONE_SOURCE))

    def statistics(self) -> Iterator[HeadStatisticsRow]:
        """Yield all statistics by tag and node, one in memory at a time."""
        for tag, node_id, _ in self.sources():
            yield from self._rows(HeadStatisticsRow, _OF_ONE, tag=tag, node_id=node_id)

    def reseal(self, tag: str, node_id: str, ciphertext: bytes) -> None:
        """Replace the ciphertext of statistics by another of the same."""
        self._update(
            schema.head_statistics, *equal(schema.head_statistics, tag=tag, node_id=node_id), ciphertext=ciphertext
        )

    def save_public_codes(self, node_id: str, content: bytes) -> bool:
        """Store a node's public codes in place of those before; returns whether that changed anything."""
        digest = hashlib.sha256(content).digest()
        if digest == dict(self.public_digests()).get(node_id):
            return False
        self.drop_public_codes(node_id)
        self._insert(schema.public_codes, node_id=node_id, digest=digest, content=content)
        self._touched.heads = True
        return True

    def drop_public_codes(self, node_id: str) -> None:
        """Delete a node's public codes: its chip is not one that serves."""
        self._delete(schema.public_codes, schema.public_codes.c.node_id == node_id)

    def public_digests(self) -> Sequence[tuple[str, bytes]]:
        """Return node and digest of all public codes, by node; not of nodes that are held or retired."""
        return [(row.node_id, row.digest) for row in self._run(_DIGESTS)]

    def public_codes(self) -> Sequence[PublicCodesRow]:
        """Return the public codes that `public_digests` has, by node."""
        query = select(_CODES.node_id, _CODES.content).where(_IN_GOOD_STANDING).order_by(_CODES.node_id)
        return self._rows(PublicCodesRow, query)

    def note(self, revision: int, *, basis: bytes, error: str, tags: Collection[str]) -> None:
        """Note what the head of a revision follows from, why it has none (or ""), and whom it knows.

        Tags of an earlier note stay: the head of this revision has known them.
        """
        self.drop_note(revision)
        self._insert(schema.revision_head, revision=revision, basis=basis, error=error)
        fresh = sorted(set(tags) - set(self.tags_of(revision)))
        self._insert_all(schema.revision_head_tag, [{"revision": revision, "tag": tag} for tag in fresh])

    def note_of(self, revision: int) -> HeadNoteRow | None:
        """Return what was noted of a revision; None if its head must not be taken for anybody's."""
        return self._row(HeadNoteRow, _NOTE_OF, revision=revision)

    def drop_note(self, revision: int) -> None:
        """Say that a revision has no head any more. Whom its head knew stays listed."""
        self._delete(schema.revision_head, schema.revision_head.c.revision == revision)

    def tags_of(self, revision: int) -> Sequence[str]:
        """Return whom the head of a revision knows, or has known, sorted."""
        table = schema.revision_head_tag
        return self._column(select(table.c.tag).where(table.c.revision == revision).order_by(table.c.tag))

    def knew(self, tags: Collection[str]) -> bool:
        """Whether the head of some revision has known one of these people."""
        table = schema.revision_head_tag
        return bool(self._column(select(table.c.tag).where(table.c.tag.in_(list(tags))).limit(1)))
