"""Closed-form heads of revisions: from whose statistics each is solved, when, and by what it is checked.

A head is a function of the store: of the statistics of everybody who is enrolled, and of the public codes of
a few nodes. Statistics are kept per person and node, each under the person's own key. So nothing has to be
taken away at a forget, and no sum over several people is kept that could be compared with the one after it:
the sum is formed anew over those who are left.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from reram_fleet.code_ranges import CodeRange
from reram_fleet.crypto.sealing import SealError
from reram_fleet.crypto.signing import open_envelope
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.at_rest import statistics_at_rest, subject_key_id, unseal
from fleet.coordinator.revisions.revision_head import RevisionHead
from fleet.coordinator.work import Part
from fleet.errors import ConflictError, NotFoundError
from fleet.heads.enrolment import RIDGE_PERCENT, SCALE_BITS, SufficientStatistics
from fleet.heads.errors import HeadError, StatisticsError
from fleet.heads.packing import check_possible, open_packed
from fleet.heads.public import MAX_VECTORS_PER_PERSON, PublicCodes
from fleet.store.rows import NodeRow, PublicCodesRow, RevisionRow

logger = logging.getLogger(__name__)

#: Nodes whose public codes a head is solved with: a few say enough of how chips differ.
PUBLIC_NODES = 8

_MAX_FEATURES = 1 << 14


def check_statistics(packed: bytes, adapter: types.SubjectAdapter, codes: CodeRange) -> None:
    """Refuse statistics that are not those of the samples that the adapter sums up.

    Raises `ConflictError` if they are malformed, differ from the adapter in features, count or sum, or have an entry
    that no codes of the task add up to.
    """
    limit = adapter.count * codes.code_max**2
    try:
        statistics = open_packed(packed)
        same = np.array_equal(statistics.code_sum, np.asarray(adapter.code_sum, np.int64))
        if statistics.count != adapter.count or not same:
            raise ConflictError(
                f"the statistics for the head ({statistics.count} samples, {statistics.features} features) are not "
                f"of the samples that the adapter sums up ({adapter.count} samples, {len(adapter.code_sum)} features)"
            )
        if statistics.largest > limit:
            raise ConflictError(
                f"the statistics for the head have an entry of {statistics.largest}: {adapter.count} samples of "
                f"this fleet's task add up to {limit} at most"
            )
        check_possible(statistics)
    except StatisticsError as error:
        raise ConflictError(f"the statistics for the head are refused: {error}") from error


class Heads(Part):
    """Closed-form heads of revisions."""

    def take_public_codes(self, fleet_id: str, limits: CodeRange, node: NodeRow, envelope: types.Envelope) -> bool:
        """Store what a node's chip makes of the public samples, if it is wanted; returns whether anything changed.

        Raises `SignatureError` if the node has not signed it; `ConflictError` if the message is another node's,
        malformed or out of range.
        """
        report = open_envelope(envelope, wire.PublicCodes, node.receipt_public_key)
        if (report.fleet_id, report.node_id) != (fleet_id, node.node_id):
            raise ConflictError(f"node {node.node_id} sent public codes of {report.node_id}")
        codes = _decoded(report)
        if report.features != limits.features or int(np.abs(codes).max()) > limits.code_max:
            raise ConflictError(
                f"public codes of {report.features} features up to {np.abs(codes).max()}; this fleet's task has "
                f"{limits.features} up to {limits.code_max}"
            )
        try:
            PublicCodes(codes[None], np.asarray(report.person, np.int64))
        except StatisticsError as error:
            raise ConflictError(f"public codes that no head can be solved with: {error}") from error
        # No fault of the node: it may have been asked before others answered.
        if node.node_id not in self.asked():
            return False
        return self._tx.heads.save_public_codes(node.node_id, envelope.payload)

    def asked(self) -> frozenset[str]:
        """Return the nodes that public codes are asked of and that have not sent any: `PUBLIC_NODES` in all.

        Nobody is asked before there is somebody to solve for. A node that joins later does not displace one whose
        codes are in use.
        """
        have_sent = {node for node, _ in self._tx.heads.public_digests()}
        wanted = PUBLIC_NODES - len(have_sent)
        if wanted <= 0 or not self._tx.heads.has_sources():
            return frozenset()
        return frozenset(self._tx.nodes.first_sound(wanted, have_sent))

    def head_for(self, newest: RevisionRow | None, content: types.RevisionContent) -> RevisionHead:
        """Return the head of the next revision.

        It is the newest one's (in `content`) while that follows from the same; else the one that was solved ahead.
        If people came while that was being solved, the newest one's stays for now: it knows nobody who must not be
        known, since a forget takes it out at the commit. Only without any is it solved here and now.
        """
        basis = self._basis()
        noted = None if newest is None else self._tx.heads.note_of(newest.revision)
        if noted is not None and noted.basis == basis:
            return RevisionHead(basis, content.head, noted.error)
        ahead = self._env.head_ahead
        if ahead is not None and ahead.basis == basis:
            return ahead
        if self._env.solves_ahead and noted is not None:
            return RevisionHead(noted.basis, content.head, noted.error)
        return self._solve(basis)

    def solved_ahead(self) -> RevisionHead | None:
        """Return the head of the next revision, solved if need be; None if that needs none but the newest one's.

        For a view of the store, off the thread that writes: leases wait for that one.
        """
        basis, newest, ahead = self._basis(), self._tx.revisions.latest(), self._env.head_ahead
        noted = None if newest is None else self._tx.heads.note_of(newest.revision)
        if noted is not None and noted.basis == basis:
            return None
        if ahead is not None and ahead.basis == basis:
            return ahead
        try:
            return self._solve(basis)
        except NotFoundError:
            # Somebody was forgotten since this view of the store: their key is gone. The next look sees it.
            return None

    def note(self, revision: int, solved: RevisionHead) -> None:
        """Note what the head of a revision follows from, unless that is known."""
        noted = self._tx.heads.note_of(revision)
        if noted is None or (noted.basis, noted.error) != (solved.basis, solved.error):
            self._tx.heads.note(revision, basis=solved.basis, error=solved.error, tags=solved.head.subject_tags)

    def _solve(self, basis: bytes) -> RevisionHead:
        """Solve for everybody whose statistics are here; without a head, and with the reason, if that fails."""
        if not basis:
            return RevisionHead(basis, types.ClosedFormHead())
        try:
            solved = self._statistics().build()
        except HeadError as error:
            logger.error("the closed-form head cannot be solved: %s", error)
            return RevisionHead(basis, types.ClosedFormHead(), str(error))
        logger.info("closed-form head of %d people", len(solved.tags))
        head = types.ClosedFormHead(
            subject_tags=solved.tags,
            features=len(solved.codes),
            codes=np.ascontiguousarray(solved.codes, "<i4").tobytes(),
            scale_bits=solved.scale_bits,
            threshold=solved.threshold,
        )
        return RevisionHead(basis, head)

    def _basis(self) -> bytes:
        """Return the digest of what a head would be solved from; empty without people or public codes."""
        sources, public = self._tx.heads.sources(), self._tx.heads.public_digests()
        if not sources or not public:
            return b""
        sha = hashlib.sha256(b"reram-fleet/head-basis/v1\0")
        sha.update(struct.pack("<IIII", RIDGE_PERCENT, SCALE_BITS, len(sources), len(public)))
        for tag, node_id, sequence in sources:
            sha.update(f"{tag} {node_id} {sequence}\n".encode())
        for node_id, digest in public:
            sha.update(f"{node_id} {digest.hex()}\n".encode())
        return sha.digest()

    def _statistics(self) -> SufficientStatistics:
        """Return the integers of everybody who is enrolled now, added up over people and nodes."""

        def packed() -> Iterator[tuple[str, bytes]]:
            for row in self._tx.heads.statistics():
                purpose = statistics_at_rest(row.tag, row.node_id, row.sequence)
                try:
                    yield row.tag, unseal(self._env.secrets, subject_key_id(row.tag), purpose, row.ciphertext)
                except SealError as error:
                    raise StatisticsError(str(error)) from error

        return SufficientStatistics.of_packed(_public(self._tx.heads.public_codes()), packed())


def _decoded(report: wire.PublicCodes) -> npt.NDArray[np.int32]:
    width, samples, features = report.bytes_per_code, len(report.person), report.features
    if width not in (2, 4) or not 1 <= features <= _MAX_FEATURES or not samples:
        raise ConflictError(f"public codes of {samples} samples, {features} features, {width} bytes each are malformed")
    if len(report.codes) != width * samples * features:
        raise ConflictError(
            f"public codes of {samples} samples and {features} features have {len(report.codes)} bytes, "
            f"expected {width * samples * features}"
        )
    return np.frombuffer(report.codes, f"<i{width}").reshape(samples, features).astype(np.int32)


def _public(rows: Sequence[PublicCodesRow]) -> PublicCodes:
    """Return the codes of as many nodes, in order of id, as a threshold can be fixed with.

    Of nodes that speak of other samples than most do, none are taken: no single node decides what samples are.
    """
    sent = [wire.PublicCodes.FromString(row.content) for row in rows]
    (usual, _), *_ = Counter(tuple(report.person) for report in sent).most_common(1)
    reports = [report for report in sent if tuple(report.person) == usual]
    person = np.asarray(reports[0].person, np.int64)
    most = int(np.unique(person, return_counts=True)[1].max())
    used = reports[: max(1, MAX_VECTORS_PER_PERSON // most)]
    return PublicCodes(np.stack([_decoded(report) for report in used]), person)
