"""Contributions of nodes: permission to add to a person, limits, and keeping them sealed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from google.protobuf.message import DecodeError
from reram_fleet.code_ranges import CodeRangeError
from reram_fleet.crypto.sealing import (
    SealError,
    contribution_purpose,
    open_symmetric,
    seal_symmetric,
    statistics_purpose,
)
from reram_fleet.crypto.tickets import TicketError, check_ticket
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.at_rest import contribution_at_rest, statistics_at_rest, subject_key_id, unseal
from fleet.coordinator.revisions.heads import check_statistics
from fleet.coordinator.work import Part
from fleet.domain.tags import validate_tag
from fleet.errors import ConflictError, FleetError
from fleet.store.rows import ContributionRow, HeadStatisticsRow, NodeRow

logger = logging.getLogger(__name__)

#: A revision travels in one message of at most 16 MiB, with everybody in it: adapters, head, LoRA.
REVISION_BYTES = 14 * 2**20
#: Expired tickets are taken for so long after a restore: as long as tickets hold by default.
AFTER_RESTORE_MS = 30 * 24 * 3_600_000
#: Sums over nodes have more digits than their parts; and 4 bytes a feature for the head's column.
_GROWTH = 1.25


class Contributions(Part):
    """Contributions of nodes: permission, limits, keeping them sealed."""

    def take(self, node: NodeRow, report: wire.Contribution) -> bool:
        """Store what a node has captured of a person; returns whether that changed anything.

        Raises `FleetError` with the reason, if the node must not add to this person, or not this. Nothing was changed.
        """
        validate_tag(report.subject_tag)
        subject = self._tx.subjects.find(report.subject_tag)
        if subject is None or not subject.forgotten:
            self._check_ticket(node, report)
        about = (self._env.fleet_id, node.node_id, report.subject_tag)
        try:
            adapter = types.SubjectAdapter.FromString(self._env.keys.open(contribution_purpose(*about), report.adapter))
            if adapter.subject_tag != report.subject_tag:
                raise ConflictError("the sealed adapter names another tag than the message around it")
            self._env.settings.codes.check(adapter)
            statistics = None
            if report.HasField("statistics"):
                statistics = self._env.keys.open(statistics_purpose(*about), report.statistics)
                check_statistics(statistics, adapter, self._env.settings.codes)
        except (SealError, DecodeError, CodeRangeError) as error:
            raise ConflictError(str(error)) from error
        self._check_quota(node, report.subject_tag, len(adapter.SerializeToString()))
        key_id = subject_key_id(report.subject_tag)
        # A key must not be made for somebody who was forgotten: `contribute` refuses, with the reason.
        key = bytes(32) if subject and subject.forgotten else self._env.secrets.get_or_create(key_id)
        row, draw = (report.subject_tag, node.node_id, report.sequence), self._env.randomness.draw
        return self._tx.subjects.contribute(
            report.subject_tag,
            node.node_id,
            report.sequence,
            adapter.count,
            seal_symmetric(key, contribution_at_rest(*row), adapter.SerializeToString(deterministic=True), draw),
            None if statistics is None else seal_symmetric(key, statistics_at_rest(*row), statistics, draw),
        )

    def _check_ticket(self, node: NodeRow, report: wire.Contribution) -> None:
        try:
            ticket = check_ticket(
                report.ticket,
                self._env.registry_public_key,
                fleet_id=self._env.fleet_id,
                node_id=node.node_id,
                now_unix_ms=self._ticket_time(node, report.subject_tag),
            )
        except TicketError as error:
            raise ConflictError(str(error)) from error
        if ticket.subject_tag != report.subject_tag:
            raise ConflictError("the enrolment ticket is for another person than the contribution")

    def _ticket_time(self, node: NodeRow, tag: str) -> int:
        """Return the time (Unix ms) at which a ticket must hold.

        Now; but after a restore, nodes contribute once more what was taken on tickets that may have expired since.
        """
        now_ms, fleet = self._tx.now_ms, self._tx.fleet.get()
        lately = fleet.restored_at_ms is not None and now_ms - fleet.restored_at_ms < AFTER_RESTORE_MS
        return fleet.created_at_ms if lately and tag not in self._tx.subjects.tags_of(node.node_id) else now_ms

    def _check_quota(self, node: NodeRow, tag: str, size: int) -> None:
        """Refuse a further person of a node that has its share of them, or for whom no revision has room."""
        if tag in (mine := self._tx.subjects.tags_of(node.node_id)):
            return
        if len(mine) >= (most := self._env.settings.tags_per_node):
            raise ConflictError(
                f"the node has contributed {len(mine)} people, which is its share (--tags-per-node {most})"
            )
        people, largest = self._tx.subjects.sizes()
        expected = _GROWTH * (largest + size) + 4 * self._env.settings.codes.features * (people + 1)
        if expected > REVISION_BYTES:
            raise ConflictError(
                f"the fleet is full: a revision of {people + 1} people would have {expected / 2**20:.1f} MiB"
            )

    def opened(self, rows: Sequence[ContributionRow]) -> Iterator[tuple[ContributionRow, types.SubjectAdapter]]:
        """Yield contributions with what is in them.

        One that does not open or is out of range (from before ranges were checked, or damaged) is put aside with
        its reason and deleted: it must not keep everybody else from a revision.
        """
        for row in rows:
            purpose = contribution_at_rest(row.tag, row.node_id, row.sequence)
            try:
                plaintext = unseal(self._env.secrets, subject_key_id(row.tag), purpose, row.ciphertext)
                adapter = types.SubjectAdapter.FromString(plaintext)
                self._env.settings.codes.check(adapter)
            except (SealError, DecodeError, CodeRangeError, FleetError) as error:
                self._tx.nodes.quarantine(row.node_id, "contribution", f"stored, and cannot be used: {error}")
                self._tx.subjects.drop_contribution(row.tag, row.node_id)
                continue
            yield row, adapter

    def bind_to_rows(self) -> None:
        """Seal anew what an earlier version has sealed for a person only, not for its row; at every start."""
        bound = set()
        for row in self._tx.subjects.contributions():
            purpose = contribution_at_rest(row.tag, row.node_id, row.sequence)
            ciphertext = self._resealed(row, subject_key_id(row.tag), purpose)
            if ciphertext is not None:
                self._tx.subjects.reseal(row.tag, row.node_id, ciphertext)
                bound.add((row.tag, row.node_id))
        if not bound:
            # All of one start are bound or none: their statistics have megabytes each.
            return
        for statistics in self._tx.heads.statistics():
            purpose = statistics_at_rest(statistics.tag, statistics.node_id, statistics.sequence)
            before = f"{subject_key_id(statistics.tag)}/statistics"
            ciphertext = self._resealed(statistics, before, purpose)
            if ciphertext is not None:
                self._tx.heads.reseal(statistics.tag, statistics.node_id, ciphertext)
        logger.info("sealed %d contributions of an earlier version anew", len(bound))

    def _resealed(self, row: ContributionRow | HeadStatisticsRow, before: str, purpose: str) -> bytes | None:
        """Return a row's ciphertext under another purpose; None if it is not sealed for the one before."""
        try:
            key = self._env.secrets.get(subject_key_id(row.tag))
            plaintext = open_symmetric(key, before, row.ciphertext)
            return seal_symmetric(key, purpose, plaintext, self._env.randomness.draw)
        except (SealError, FleetError):
            return None
