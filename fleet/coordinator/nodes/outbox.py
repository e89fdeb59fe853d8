"""Needs of a connected node: a function of the store and of what its stream was sent already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from reram_fleet.crypto.sealing import revision_purpose
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.nodes.recovery import Recovery
from fleet.coordinator.nodes.sessions import Session
from fleet.coordinator.revisions.canaries import CanarySecret, planted
from fleet.coordinator.revisions.heads import Heads
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.work import Part, Work
from fleet.store.rows import ExecutionRow, NodeRow, RevisionRow

#: Entries of the forget log in one message.
RANGE_LIMIT = 1000


@dataclass(frozen=True)
class Due:
    """Messages for one stream, or why it is to be closed; `over` if the node is only to say hello anew."""

    session: Session
    messages: Sequence[wire.ConnectResponse]
    refusal: str = ""
    over: bool = False


class Outbox(Part):
    """Needs of connected nodes."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._heads = work.part(Heads)
        self._recovery = work.part(Recovery)
        self._revisions = work.part(Revisions)
        self._ranges: dict[int, list[wire.ConnectResponse]] = {}
        self._probes: dict[tuple[str, str], wire.Probe] = {}

    def due(self, sessions: Sequence[Session]) -> list[Due]:
        """Return what to send on each stream now, in the order in which the node must see it.

        That is log, revision, erase orders. What is the same for many nodes is looked up once. Most that have just
        said something lack nothing, and no more is read of these.
        """
        ids, asked, newest = [session.node_id for session in sessions], self._heads.asked(), self._tx.revisions.latest()
        # Also those that know more of the log. What of it a stream was sent need not have been answered.
        elsewhere = {session.node_id for session in sessions if session.log_sent != self._generation}
        behind = self._tx.nodes.behind(0, 0 if newest is None else newest.revision, ids)
        nodes = {node.node_id: node for node in self._tx.nodes.chosen(elsewhere | behind | asked.intersection(ids))}
        orders = defaultdict[str, list[ExecutionRow]](list)
        for execution in self._tx.forgets.ordered(list(nodes)):
            orders[execution.node_id].append(execution)
        return [
            self._due(session, nodes[session.node_id], orders[session.node_id], asked, newest)
            for session in sessions
            if session.node_id in nodes
        ]

    def log_due(self, sessions: Sequence[Session]) -> list[Due]:
        """Return the entries of the log that streams lack: the same for nearly all, so no row of a node is read.

        Suppression is not to wait until what else is due has been looked up for thousands.
        """
        if self._env.awaited:
            return []
        known = (each for each in sessions if self._env.sessions.of(each.node_id).awaited_since_ms is None)
        return [Due(session, messages) for session in known if (messages := self._forget_log(session))]

    def behind(self) -> frozenset[str]:
        """Return the nodes that something may be due for: `Nodes.behind`."""
        return self._tx.nodes.behind(self._generation, self._tx.revisions.latest_number())

    def _due(
        self,
        session: Session,
        node: NodeRow,
        orders: Sequence[ExecutionRow],
        asked: Set[str],
        revision: RevisionRow | None,
    ) -> Due:
        if node.retired_at_ms is not None:
            return Due(session, (), f"node {node.node_id} was {node.held_reason}")
        announced = self._env.sessions.of(node.node_id)
        if node.awaited_since_ms not in (None, announced.awaited_since_ms):
            return Due(session, (), over=True)
        if node.awaited_since_ms is not None or announced.log_end[0] > self._generation:
            told, session.restore_told = session.restore_told, True
            return Due(session, () if told else (self._recovery.notice(node),))
        messages = self._forget_log(session)
        if node.held_reason:
            return Due(session, messages)
        if not session.public_codes_asked and node.node_id in asked:
            session.public_codes_asked = True
            messages.append(wire.ConnectResponse(public_codes_request=wire.PublicCodesRequest()))
        if revision is not None:
            # It would only be refused: the one without the forgotten, or with a new number, is on its way.
            if not self._settled:
                return Due(session, messages)
            if node.revision != revision.revision:
                if session.revision_sent != revision.revision:
                    session.revision_sent = revision.revision
                    messages.append(self._offer(node, revision))
                return Due(session, messages)
        for execution in orders:
            nonce = execution.challenge_nonce
            if nonce is not None and nonce not in session.erase_sent:
                session.erase_sent.add(nonce)
                messages.append(self._erase_order(execution, nonce, node.revision))
        return Due(session, messages)

    @cached_property
    def _generation(self) -> int:
        return self._tx.fleet.get().generation

    @cached_property
    def _settled(self) -> bool:
        return self._revisions.settled() is not None

    def _forget_log(self, session: Session) -> list[wire.ConnectResponse]:
        after = session.log_sent
        if after >= self._generation:
            return []
        session.log_sent = self._generation
        if after not in self._ranges:
            envelopes = [types.Envelope.FromString(entry.envelope) for entry in self._tx.log.range(after)]
            self._ranges[after] = [
                wire.ConnectResponse(forget_log=wire.ForgetLogRange(entries=envelopes[start : start + RANGE_LIMIT]))
                for start in range(0, len(envelopes), RANGE_LIMIT)
            ]
        return list(self._ranges[after])

    def _offer(self, node: NodeRow, revision: RevisionRow) -> wire.ConnectResponse:
        opened = self._revisions.opened(revision)
        purpose = revision_purpose(self._env.fleet_id, revision.revision, node.node_id)
        return wire.ConnectResponse(
            revision=wire.RevisionOffer(
                manifest=types.Envelope.FromString(revision.manifest),
                content=self._env.randomness.seal(node.sealing_public_key, purpose, opened.plaintext),
            )
        )

    def _erase_order(self, execution: ExecutionRow, nonce: bytes, revision: int) -> wire.ConnectResponse:
        return wire.ConnectResponse(
            erase=wire.EraseOrder(
                generation=execution.generation,
                campaign_id=execution.campaign_id,
                revision=revision,
                challenge_nonce=nonce,
                probes=[self._probe(execution.campaign_id, answer) for answer in execution.expected_probes or ()],
            )
        )

    def _probe(self, campaign_id: str, answer: str) -> wire.Probe:
        if (campaign_id, answer) not in self._probes:
            secret = CanarySecret.load(self._revisions.canary_path)
            # "" (a stranger) is what the canary must be that this campaign forgot.
            tag = answer or planted(self._tx, self._tx.forgets.get(campaign_id).tags)[0]
            self._probes[campaign_id, answer] = wire.Probe(codes=secret.probe_codes(tag))
        return self._probes[campaign_id, answer]
