"""Decisions about nodes: enrol, release, retire, order anew; and what follows from one that is out of contact.

Each is checked before anything changes, and leaves a signed audit event in the Merkle log: certificates prove by
these what no receipt can.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from reram_fleet.crypto.identities import IdentityError, check_identity
from reram_fleet.v1 import types_pb2 as types

from fleet.coordinator.campaigns.campaigns import Campaigns
from fleet.coordinator.work import Part, Work
from fleet.domain.execution import AWAITED, SUCCESS, ExecutionState
from fleet.domain.node import ContactLimits
from fleet.errors import ConflictError, InvalidInputError
from fleet.store.database import Transaction
from fleet.store.rows import ExecutionRow, NodeRow
from fleet.trust.leaves import LeafKind, leaf_data

logger = logging.getLogger(__name__)

#: Nodes need a moment to come back after a coordinator that was away for long: nobody is given up before.
RETURN_GRACE_S = 60.0

_LONGEST_REASON = 400
_ORDERABLE = frozenset({ExecutionState.HELD, ExecutionState.SUPPRESSED, ExecutionState.APPLYING})


class Decisions(Part):
    """Decisions about nodes, each with its audit event."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._campaigns = work.part(Campaigns)

    def record(
        self,
        kind: types.AuditEventKind,
        node_id: str,
        reason: str,
        campaign_id: str = "",
    ) -> None:
        """Sign a decision about a node, and put it into the Merkle log.

        The certificate of a forget wants, for a node that is RETIRED or LOST in it, an event of that kind at the
        forget's generation or later, of that campaign or of none; NODE_ENROLLED for one that joined meanwhile.
        """
        event = types.AuditEvent(
            fleet_id=self._env.fleet_id,
            kind=kind,
            node_id=node_id,
            reason=reason,
            at_unix_ms=self._tx.now_ms,
            generation=self._tx.fleet.get().generation,
            campaign_id=campaign_id,
        )
        envelope = self._env.keys.sign(event)
        self._tx.tree.append(LeafKind.AUDIT_EVENT, leaf_data(LeafKind.AUDIT_EVENT, envelope))
        self._tx.audit_events.append(node_id, envelope.SerializeToString(deterministic=True))

    def about(self, node_id: str) -> Sequence[tuple[types.Envelope, types.AuditEvent]]:
        """Return what was decided about a node, oldest first, beside the envelope that it was signed in."""
        envelopes = [types.Envelope.FromString(row) for row in self._tx.audit_events.of_node(node_id)]
        return [(envelope, types.AuditEvent.FromString(envelope.payload)) for envelope in envelopes]

    def enroll(self, identity: types.NodeIdentity) -> tuple[NodeRow, bool]:
        """Register a node; returns its row and whether it is new.

        Forgets that are still open concern every node, also one that comes while they run. A campaign between
        them that has converged is re-opened by the newcomer: a certificate speaks of every node in it.

        Raises `InvalidInputError` if the identity proves nothing, or is malformed; `ConflictError` if the id is taken
        by other keys, or the node was retired.
        """
        try:
            check_identity(identity)
        except IdentityError as error:
            hint = "print it anew on the device, with this version's `edge-node init`"
            raise InvalidInputError(str(error), hint=hint) from error
        node, created = self._tx.nodes.enroll(identity)
        if created:
            kind = types.AUDIT_EVENT_KIND_NODE_ENROLLED
            self.record(kind, node.node_id, "registered by an operator")
            if (restored_at_ms := self._tx.fleet.get().restored_at_ms) is not None:
                # Perhaps it had been enrolled before, and the backup was older.
                self._tx.nodes.await_hello(node.node_id, max(self._tx.now_ms, restored_at_ms + 1))
        open_campaigns = self._tx.forgets.list_open()
        if created and open_campaigns:
            for execution in self._tx.forgets.join(node.node_id, after=open_campaigns[0].generation - 1):
                self._tx.forgets.reopen(execution.campaign_id)
        return node, created

    def release(self, node_id: str, reason: str) -> NodeRow:
        """Give a held node leases again; what it is held for is ordered anew, and judged like any other receipt.

        Raises `NotFoundError` or `ConflictError` if there is no such node, or it is retired or not held;
        `InvalidInputError` if the reason is none.
        """
        node = self._present(node_id)
        said = _checked(reason)
        if not node.held_reason:
            raise ConflictError(f"node {node_id} is not held", hint=f"fleet node show {node_id}")
        self._note_held(node)
        self._tx.nodes.release(node_id)
        for execution in self._tx.forgets.executions_of(node_id, states={ExecutionState.HELD}):
            self._order_anew(node, execution, f"released: {said}")
        self.record(types.AUDIT_EVENT_KIND_NODE_RELEASED, node_id, said)
        logger.info("node %s is released: %s", node_id, said)
        return self._tx.nodes.get(node_id)

    def retire(self, node_id: str, reason: str, *, discard: bool) -> NodeRow:
        """Take a node out of the fleet for good; a repeat changes nothing.

        What it has verified stays verified. Its public codes go, since they are of a chip that serves no more.

        Raises `NotFoundError` if there is no such node; `InvalidInputError` if the reason is none; `ConflictError` if
        its contributions cannot be discarded, since a cohort was trained with them.

        With `discard`, what it contributed is deleted as well: who knew nobody else leaves the next revision. What was
        learnt by gradient meanwhile stays, see `jobs.drop_lora`.
        """
        node = self._tx.nodes.get(node_id)
        said = _checked(reason)
        if discard:
            self._refuse_to_discard_cohort(node_id)
        discarded = self._tx.subjects.discard(node_id) if discard else 0
        if node.retired_at_ms is None:
            take_out(self._tx, node_id, said)
            logger.warning("node %s is retired: %s", node_id, said)
        elif not discarded:
            return node
        if discarded:
            said += f" (what it contributed about {discarded} people was discarded)"
        self.record(types.AUDIT_EVENT_KIND_NODE_RETIRED, node_id, said)
        return self._tx.nodes.get(node_id)

    def accept_restore(self, reason: str) -> tuple[str, ...]:
        """Go on, after a restore of the coordinator, without the nodes that are awaited; returns which these are.

        What they alone know is lost: they are refused when they come back with an entry of the log whose number was
        taken meanwhile.

        Raises `ConflictError` if nothing waits for any node; `InvalidInputError` if the reason is none.
        """
        said, awaited = _checked(reason), tuple(self._tx.fleet.awaited())
        if not awaited:
            raise ConflictError("nothing waits for a node since a restore", hint="fleet status")
        for node_id in awaited:
            self.record(types.AUDIT_EVENT_KIND_NODE_PASSED_OVER, node_id, said)
        self._campaigns.end_restore()
        logger.warning("the restore is accepted without %d nodes: %s", len(awaited), said)
        return awaited

    def open_campaigns(self) -> frozenset[str]:
        """Return the ids of the forgets that have not converged."""
        return frozenset(campaign.campaign_id for campaign in self._tx.forgets.list_open())

    def move_on(self, before: frozenset[str]) -> tuple[str, ...]:
        """Move forgets on, as the reconciler would at its next look; returns those of `before` that have converged."""
        self._campaigns.advance_all()
        return tuple(sorted(before - self.open_campaigns()))

    def _refuse_to_discard_cohort(self, node_id: str) -> None:
        members = {tag for shard in self._tx.cohorts.list() for tag in shard.history.entries}
        if alone := members & set(self._tx.subjects.known_only_to(node_id)):
            raise ConflictError(
                f"{node_id} alone knows {len(alone)} members of cohorts: their shards were trained with them",
                hint="forget these people first, or `fleet learn drop` what was learnt in cohorts",
            )

    def retry(self, node_id: str, campaign_id: str, reason: str) -> ExecutionRow:
        """Have an erase order sent to a node anew, with another challenge.

        Also for a node that was lost and has come back too often to re-open the forget by itself.

        Raises `NotFoundError` if there is no such node, or no such forget on it; `ConflictError` if the node is retired
        or held, or the forget waits for no order there; `InvalidInputError` if the reason is none.
        """
        node = self._present(node_id)
        said = _checked(reason)
        execution = self._tx.forgets.execution(self._tx.forgets.get(campaign_id).campaign_id, node_id)
        returned = execution.state is ExecutionState.LOST and node_id in self._env.sessions.connected()
        if execution.state not in _ORDERABLE and not returned:
            raise ConflictError(
                f"forget {campaign_id} is {execution.state} on {node_id}: there is nothing to order anew",
                hint=f"fleet forget show {campaign_id}",
            )
        if node.held_reason:
            raise ConflictError(
                f"node {node_id} is held, and held nodes get no orders: {node.held_reason}",
                hint=f"fleet node release {node_id} --reason ... orders anew whatever it is held for",
            )
        self._order_anew(node, execution, f"ordered anew: {said}")
        if returned:
            self._tx.forgets.reopen(campaign_id)
        self.record(types.AUDIT_EVENT_KIND_NODE_RETRIED, node_id, said, campaign_id=campaign_id)
        return self._tx.forgets.execution(campaign_id, node_id)

    def note_held(self) -> bool:
        """Leave an audit event for every node that is held and has none of it yet; returns whether one was."""
        held = self._tx.nodes.held()
        return sum(self._note_held(node) for node in held) > 0

    def _note_held(self, node: NodeRow) -> bool:
        kinds = (types.AUDIT_EVENT_KIND_NODE_HELD, types.AUDIT_EVENT_KIND_NODE_RELEASED)
        last = [event.kind for _, event in self.about(node.node_id) if event.kind in kinds][-1:]
        if last == [types.AUDIT_EVENT_KIND_NODE_HELD]:
            return False
        self.record(types.AUDIT_EVENT_KIND_NODE_HELD, node.node_id, node.held_reason)
        return True

    def note_lost(self) -> bool:
        """Give up nodes that are out of contact for too long; returns whether any forget waited for one.

        They serve nothing: a lease ends earlier. Who is held stays so, since an operator has to decide.
        """
        settings, connected = self._env.settings, self._env.sessions.connected()
        grace_s = min(RETURN_GRACE_S, settings.lost_after_s)
        if self._tx.now_ms - self._env.started_at_ms < 1000 * grace_s:
            return False
        limits = ContactLimits(round(1000 * settings.lost_after_s), round(1000 * settings.lease_s))
        if self._tx.fleet.awaited():
            # When they were heard of last is not known any more.
            return False
        # Not every node: most of a large fleet may be away, and this is looked at every second.
        overdue = self._tx.forgets.overdue(limits.lost_after_ms, limits.lease_ms)
        away = [self._tx.nodes.get(node_id) for node_id in overdue if node_id not in connected]
        return sum(self._note_lost(node, limits) for node in away) > 0

    def _note_lost(self, node: NodeRow, limits: ContactLimits) -> bool:
        awaited = self._tx.forgets.executions_of(node.node_id, states=AWAITED)
        contact_ms = max(node.last_contact_ms or node.enrolled_at_ms, node.awaited_since_ms or 0)
        lost = [
            execution
            for execution in awaited
            if limits.is_over(
                self._tx.now_ms,
                last_contact_ms=contact_ms,
                lease_until_ms=node.lease_until_ms or 0,
                returned_at_ms=execution.returned_at_ms,
            )
        ]
        if not lost:
            return False
        away_s = (self._tx.now_ms - contact_ms) / 1000
        reason = f"out of contact for {away_s:.0f} s"
        for execution in lost:
            self._tx.forgets.set_execution(execution.campaign_id, node.node_id, ExecutionState.LOST, reason)
        self.record(types.AUDIT_EVENT_KIND_NODE_LOST, node.node_id, reason)
        logger.warning("node %s is lost: %s; forgets that go on without it: %d", node.node_id, reason, len(lost))
        return True

    def _present(self, node_id: str) -> NodeRow:
        node = self._tx.nodes.get(node_id)
        if node.retired_at_ms is not None:
            raise ConflictError(f"node {node_id} was retired", hint="enrol the device under a new id")
        return node

    def _order_anew(self, node: NodeRow, execution: ExecutionRow, detail: str) -> None:
        # A node that went back to a backup while it was held has to take the log first.
        there = node.generation >= execution.generation
        target = ExecutionState.SUPPRESSED if there else ExecutionState.PENDING
        self._tx.forgets.set_execution(execution.campaign_id, node.node_id, target, detail)


def take_out(tx: Transaction, node_id: str, reason: str) -> None:
    """Retire a node, and whatever waits for it."""
    given_up = set(ExecutionState) - SUCCESS - {ExecutionState.RETIRED}
    for execution in tx.forgets.executions_of(node_id, states=given_up):
        tx.forgets.set_execution(execution.campaign_id, node_id, ExecutionState.RETIRED, reason)
    tx.heads.drop_public_codes(node_id)
    tx.nodes.retire(node_id, reason)


def _checked(reason: str) -> str:
    """Return the reason without spaces around it; it is signed, and shown on terminals."""
    said = reason.strip()
    if not said or len(said) > _LONGEST_REASON or not said.isprintable():
        raise InvalidInputError(
            f"a decision about a node needs a reason: one line of 1 to {_LONGEST_REASON} characters"
        )
    return said
