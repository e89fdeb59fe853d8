"""Subject tags, their tombstones, and what nodes contributed about them."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence

from sqlalchemy import func, select

from fleet.domain.tags import validate_tag, validate_tags
from fleet.errors import ConflictError, InvalidInputError, NotFoundError, StaleContributionError, SubjectForgottenError
from fleet.store import schema
from fleet.store.repository import Repository, equal, given, one_of
from fleet.store.rows import ContributionRow, SubjectRow

_SUBJECT = schema.subject.c
_ALL = select(_SUBJECT.tag, _SUBJECT.forgotten_generation, _SUBJECT.canary).order_by(_SUBJECT.tag)
_ONE, _IN_STATE = _ALL.where(given(_SUBJECT.tag)), _ALL.where(given(_SUBJECT.state))
_TOLD = schema.contribution.c
_CONTRIBUTIONS = select(schema.contribution).order_by(_TOLD.tag, _TOLD.node_id)
_SEQUENCE = select(_TOLD.sequence).where(given(_TOLD.tag), given(_TOLD.node_id))
_SEQUENCES = (
    select(_TOLD.tag, _TOLD.node_id, _TOLD.sequence).where(one_of(_TOLD.tag)).order_by(_TOLD.tag, _TOLD.node_id)
)
_CONTRIBUTIONS_OF_ONE, _CONTRIBUTIONS_ABOUT = (
    _CONTRIBUTIONS.where(given(_TOLD.tag)),
    _CONTRIBUTIONS.where(one_of(_TOLD.tag)),
)
_TAGS_OF = select(_TOLD.tag).where(given(_TOLD.node_id))
_SIZES = select(func.max(func.length(_TOLD.ciphertext))).group_by(_TOLD.tag)


class Subjects(Repository):
    """Enrolled people (tags only), and tombstones of those who must never be again."""

    def find(self, tag: str) -> SubjectRow | None:
        """Return the subject, forgotten or not; None if the tag was never seen."""
        return self._row(SubjectRow, _ONE, tag=tag)

    def get(self, tag: str) -> SubjectRow:
        """Return the subject, forgotten or not; `NotFoundError` if the tag was never seen."""
        subject = self.find(tag)
        if subject is None:
            raise NotFoundError(f"no node has reported the tag {tag[:40]!r}")
        return subject

    def known(self, tag: str) -> bool:
        """Whether the tag was seen, or forgotten, before."""
        return self.find(tag) is not None

    def list(self, *, forgotten: bool = False) -> Sequence[SubjectRow]:
        """Return the active subjects, canaries among them, by tag; or the forgotten ones."""
        return self._rows(SubjectRow, _IN_STATE, state="forgotten" if forgotten else "active")

    def count(self) -> int:
        """Return how many people are enrolled, canaries not among them."""
        subject = schema.subject.c
        query = select(func.count()).where(subject.state == "active", subject.canary.is_(False))
        return int(self._run(query).scalar_one())

    def forgotten_among(self, tags: Iterable[str]) -> frozenset[str]:
        """Return those of some tags that carry a tombstone."""
        wanted, table = list(tags), schema.subject
        if not wanted:
            return frozenset()
        query = select(table.c.tag).where(table.c.state == "forgotten", table.c.tag.in_(wanted))
        return frozenset(self._column(query))

    def contribute(
        self, tag: str, node_id: str, sequence: int, count: int, ciphertext: bytes, statistics: bytes | None = None
    ) -> bool:
        """Store a node's sum of a person; returns whether it changed anything.

        It replaces what this node contributed about the tag before. The same sequence again is a repeat, and changes
        nothing. `SubjectForgottenError` if the tag carries a tombstone; `StaleContributionError` if a higher sequence
        is already here.

        `count` samples are summed up. `ciphertext` is the SubjectAdapter under the key file of the tag, `statistics`
        the packed statistics for the head under the same key, if the node sent them.
        """
        validate_tag(tag)
        if count < 1 or sequence < 0:
            raise InvalidInputError(
                f"a contribution needs at least one sample and a sequence, got {count} and {sequence}"
            )
        subject = self.find(tag)
        if subject is not None and subject.forgotten:
            raise SubjectForgottenError(
                f"tag {tag} was forgotten at generation {subject.forgotten_generation}",
                hint="a new consent is a new tag",
            )
        if subject is not None and subject.canary:
            raise ConflictError(f"tag {tag} is in use already", hint="draw a new one")
        if subject is None:
            self._add(tag)
        mine = {"tag": tag, "node_id": node_id}
        for stored in self._column(_SEQUENCE, **mine):
            if sequence == stored:
                return False
            if sequence < stored:
                raise StaleContributionError(
                    f"contribution {sequence} of {node_id} about {tag} is older than {stored}, which is here"
                )
        self.drop_contribution(tag, node_id)
        self._insert(schema.contribution, **mine, sequence=sequence, count=count, ciphertext=ciphertext)
        if statistics is not None:
            self._insert(schema.head_statistics, **mine, sequence=sequence, ciphertext=statistics)
            self._touched.heads = True
        return True

    def contributions(self, tag: str | None = None) -> Sequence[ContributionRow]:
        """Return what nodes contributed, of one tag or all, by tag and node."""
        if tag is None:
            return self._rows(ContributionRow, _CONTRIBUTIONS)
        return self._rows(ContributionRow, _CONTRIBUTIONS_OF_ONE, tag=tag)

    def sequences(self, tags: Iterable[str]) -> Sequence[tuple[str, str, int]]:
        """Return (tag, node, sequence) of what was contributed about these people, by tag and node."""
        return [(row.tag, row.node_id, row.sequence) for row in self._run(_SEQUENCES, {"tag": list(tags)})]

    def contributions_about(self, tags: Iterable[str]) -> Sequence[ContributionRow]:
        """Return what nodes contributed about some people, by tag and node."""
        return self._rows(ContributionRow, _CONTRIBUTIONS_ABOUT, tag=list(tags))

    def contributions_of(self, node_id: str) -> Sequence[ContributionRow]:
        """Return what one node contributed, by tag."""
        table = schema.contribution
        query = select(table).where(table.c.node_id == node_id).order_by(table.c.tag)
        return self._rows(ContributionRow, query)

    def tags_of(self, node_id: str) -> frozenset[str]:
        """Return whom a node has contributed."""
        return frozenset(self._column(_TAGS_OF, node_id=node_id))

    def sizes(self) -> tuple[int, int]:
        """Return how many people are contributed, and the bytes of everybody's largest contribution."""
        sizes = self._column(_SIZES)
        return len(sizes), sum(sizes)

    def reseal(self, tag: str, node_id: str, ciphertext: bytes) -> None:
        """Replace the ciphertext of what a node contributed about a person by another of the same."""
        self._update(schema.contribution, *equal(schema.contribution, tag=tag, node_id=node_id), ciphertext=ciphertext)

    def drop_contribution(self, tag: str, node_id: str) -> None:
        """Delete what one node contributed about a person."""
        for table in (schema.contribution, schema.head_statistics):
            self._delete(table, *equal(table, tag=tag, node_id=node_id))

    def known_only_to(self, node_id: str) -> Sequence[str]:
        """Return the tags that nobody but this node has contributed."""
        table = schema.contribution
        others = select(table.c.tag).where(table.c.node_id != node_id)
        query = select(table.c.tag).where(table.c.node_id == node_id, table.c.tag.not_in(others))
        return self._column(query.order_by(table.c.tag))

    def discard(self, node_id: str) -> int:
        """Delete all that a node contributed; returns about how many people that was."""
        self._delete(schema.head_statistics, schema.head_statistics.c.node_id == node_id)
        return self._delete(schema.contribution, schema.contribution.c.node_id == node_id)

    def forget(self, tags: Iterable[str], generation: int) -> None:
        """Put tombstones, also on tags that were never seen, and delete what was contributed about them.

        The caller destroys the key files of the tags: that is what erases. A tag that is forgotten already keeps its
        first generation.
        """
        for tag in validate_tags(tags):
            for table in (schema.contribution, schema.head_statistics):
                self._delete(table, table.c.tag == tag)
            subject = self.find(tag)
            if subject is None:
                self._add(tag)
            if subject is None or not subject.forgotten:
                mine = schema.subject.c.tag == tag
                self._update(schema.subject, mine, state="forgotten", forgotten_generation=generation)

    def add_canary(self, tag: str) -> None:
        """Plant a synthetic subject; `ConflictError` if the tag is taken."""
        if self.known(validate_tag(tag)):
            raise ConflictError(f"tag {tag} is taken", hint="draw a new one")
        self._add(tag, canary=True)

    def canaries(self) -> Sequence[SubjectRow]:
        """Return all planted subjects, those that campaigns have used up among them."""
        return self._rows(SubjectRow, _ALL.where(_SUBJECT.canary))

    def live_canaries(self) -> builtins.list[str]:
        """Return the tags of planted subjects that no campaign has used up, sorted."""
        return [subject.tag for subject in self.list() if subject.canary]

    def _add(self, tag: str, *, canary: bool = False) -> None:
        self._insert(schema.subject, tag=tag, state="active", canary=canary)
