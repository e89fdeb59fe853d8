"""Revisions of adapters: immutable, and erased as soon as they name somebody forgotten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Select, case, func, select

from fleet.domain.tags import validate_tags
from fleet.errors import ConflictError, NotFoundError
from fleet.store import schema
from fleet.store.repository import Repository, given, one_of
from fleet.store.rows import RevisionRow

_REVISION, _NAMED = schema.revision, schema.revision_tag
_ALL = select(_REVISION).order_by(_REVISION.c.revision)
_ONE = _ALL.where(given(_REVISION.c.revision))
_KEY_IDS = select(_REVISION.c.key_id).where(_REVISION.c.ciphertext.is_not(None))
_NEWEST = select(_REVISION).order_by(_REVISION.c.revision.desc()).limit(1)
_WHOM_THEY_NAME = select(_NAMED).where(one_of(_NAMED.c.revision)).order_by(_NAMED.c.tag)


class Revisions(Repository):
    """One is active, the newest; older ones are superseded, and lose their content when it must go."""

    def add(
        self,
        revision: int,
        *,
        digest: bytes,
        parent_digest: bytes,
        built_at_generation: int,
        manifest: bytes,
        ciphertext: bytes,
        key_id: str,
        tags: Iterable[str],
        lora_tags: Iterable[str] = (),
    ) -> RevisionRow:
        """Store the next revision and supersede the one before.

        `ConflictError` if the number is not above the newest one, or a tag in it was forgotten.

        `manifest` is a serialised Envelope of the RevisionManifest, `ciphertext` the RevisionContent under the key file
        `key_id`. `tags` are whom it names at all, `lora_tags` who has a row in its shared LoRA: with an adapter or not.
        """
        if revision <= (newest := self.latest_number()):
            raise ConflictError(f"revision {revision} does not follow {newest}")
        in_lora = set(lora_tags)
        named = sorted(set(tags) | in_lora)
        tombstones = select(schema.subject.c.tag).where(
            schema.subject.c.state == "forgotten", schema.subject.c.tag.in_(named)
        )
        if forgotten := self._column(tombstones):
            raise ConflictError(f"revision {revision} names {len(forgotten)} forgotten tag(s): {forgotten[0]}")
        self._update(schema.revision, schema.revision.c.state == "active", state="superseded")
        self._insert(
            schema.revision,
            revision=revision,
            digest=digest,
            parent_digest=parent_digest,
            built_at_generation=built_at_generation,
            manifest=manifest,
            ciphertext=ciphertext,
            key_id=key_id,
            state="active",
            has_lora=bool(in_lora),
            created_at_ms=self._now_ms,
        )
        rows = [{"revision": revision, "tag": tag, "in_lora": tag in in_lora} for tag in named]
        self._insert_all(schema.revision_tag, rows)
        self._written(schema.revision)
        return self.get(revision)

    def find(self, revision: int) -> RevisionRow | None:
        """Return one revision, or None."""
        found = self._revisions(_ONE, revision=revision)
        return found[0] if found else None

    def get(self, revision: int) -> RevisionRow:
        """Return one revision; `NotFoundError` if there is none of this number."""
        row = self.find(revision)
        if row is None:
            raise NotFoundError(f"no revision {revision}")
        return row

    def latest_number(self) -> int:
        """Return the number of the newest revision; 0 before the first."""
        return int(self._run(select(func.max(schema.revision.c.revision))).scalar() or 0)

    def latest(self) -> RevisionRow | None:
        """Return the newest revision, erased or not; None before the first."""

        def read() -> RevisionRow | None:
            row = self._run(_NEWEST).mappings().first()
            if row is None:
                return None
            # By the digest, which is over them too: people may be thousands, and everything asks for this.
            named = self._scope.named.get(row["digest"])
            if named is None:
                named = self._named(row["revision"])
                self._scope.named.clear()
                self._scope.named[row["digest"]] = named
            return RevisionRow(**row, tags=named[0], lora_tags=named[1])

        return self._once(schema.revision, "latest", read)

    def _named(self, revision: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return whom a revision names, and of whom it has LoRA rows, sorted."""
        (row,) = self._revisions(_ONE, revision=revision)
        return row.tags, row.lora_tags

    def always_named(self, tags: Collection[str], since: int) -> tuple[frozenset[str], frozenset[str]]:
        """Return which of these people every revision since that one names, and has LoRA rows of."""
        newest, named = self.latest(), schema.revision_tag.c
        number = 0 if newest is None else newest.revision - since + 1
        if since < 1 or number < 1:
            return frozenset(), frozenset()
        rows_of = func.sum(case((named.in_lora, 1), else_=0))
        query = (
            select(named.tag, func.count().label("times"), rows_of.label("rows_of"))
            .where(named.tag.in_(list(tags)), named.revision >= since)
            .group_by(named.tag)
        )
        found = self._run(query).all()
        return (
            frozenset(row.tag for row in found if row.times == number),
            frozenset(row.tag for row in found if row.rows_of == number),
        )

    def list(self) -> Sequence[RevisionRow]:
        """Return all revisions, oldest first."""
        return self._revisions(_ALL)

    def key_ids(self) -> Sequence[str]:
        """Return the names of the key files of all contents that are left."""
        return self._column(_KEY_IDS)

    def erase(self, tags: Iterable[str]) -> Sequence[int]:
        """Wipe the content of every revision that names one of the tags; returns their numbers.

        The caller destroys the key files of these: that is what erases. A revision that was wiped before is in the
        answer too, so that a caller that died in between finishes the job.
        """
        named = schema.revision_tag.c
        return self._wipe(select(named.revision).where(named.tag.in_(validate_tags(tags))).distinct())

    def redact(self, revision: int, *, ciphertext: bytes, key_id: str) -> None:
        """Replace the content of a revision by what is left of it, under another key.

        The caller destroys the key file of before: that is what erases. Tags stay listed.
        """
        table = schema.revision
        left = (table.c.revision == revision, table.c.ciphertext.is_not(None))
        self._update(table, *left, ciphertext=ciphertext, key_id=key_id)

    def wipe_superseded(self) -> Sequence[int]:
        """Wipe the content of all superseded revisions; returns the numbers of those that had any.

        Two revisions that differ by one person are that person: no more of them are kept than nodes need.
        """
        return self._wipe(select(schema.revision.c.revision).where(schema.revision.c.state == "superseded"))

    def wipe(self, revision: int) -> None:
        """Wipe the content of a revision."""
        self._wipe(select(schema.revision.c.revision).where(schema.revision.c.revision == revision))

    def _wipe(self, chosen: Select[Any]) -> Sequence[int]:
        numbers = sorted(self._column(chosen))
        self._update(schema.revision, schema.revision.c.revision.in_(numbers), state="erased", ciphertext=None)
        return numbers

    def _revisions(self, query: Select[Any], **values: Any) -> Sequence[RevisionRow]:
        rows = self._run(query, values).mappings().all()
        tags, lora_tags = defaultdict[int, list[str]](list), defaultdict[int, list[str]](list)
        for row in self._run(_WHOM_THEY_NAME, {"revision": [row["revision"] for row in rows]}):
            tags[row.revision].append(row.tag)
            if row.in_lora:
                lora_tags[row.revision].append(row.tag)
        return [
            RevisionRow(**row, tags=tuple(tags[row["revision"]]), lora_tags=tuple(lora_tags[row["revision"]]))
            for row in rows
        ]
