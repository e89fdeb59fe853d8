"""Executions as they are counted, and found by their state: no look at a forget reads a row of every node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, select

from fleet.domain.execution import AWAITED, TERMINAL, ExecutionState, HeldAtCommit
from fleet.store import schema
from fleet.store.repository import Repository, given
from fleet.store.rows import LeasedRow

#: Node ids that are read at once where the first few may be enough.
_IDS_AT_ONCE = 500

_EXECUTION, _NODE = schema.execution.c, schema.node.c
#: By each state: so the index answers, and no row is read.
_OF_CAMPAIGN = (_EXECUTION.state.in_(list(ExecutionState)), given(_EXECUTION.campaign_id))
_OFTEN = func.coalesce(_EXECUTION.went_back, 0) > 1
_SELDOM = ~_OFTEN
_RECENTLY = _EXECUTION.updated_at_ms > bindparam("since_ms")
#: The node is neither held nor retired. Asked of each node: the answer for all would be read for the first few that
#: are wanted.
_IS_SOUND = exists().where(_NODE.node_id == _EXECUTION.node_id, _NODE.held_reason == "", _NODE.retired_at_ms.is_(None))
_RUNS_IT = _IS_SOUND.where(given(_NODE.revision))
#: Out of contact for too long and without a lease, or back for too long with nothing to show for it.
_OVERDUE = (
    select(_EXECUTION.node_id)
    .join(schema.node, _NODE.node_id == _EXECUTION.node_id)
    .where(_EXECUTION.state.in_(AWAITED))
    .where(
        (
            _EXECUTION.returned_at_ms.is_(None)
            & (func.coalesce(_NODE.last_contact_ms, _NODE.enrolled_at_ms) < bindparam("silent_since_ms"))
            & (func.coalesce(_NODE.lease_until_ms, 0) < bindparam("now_ms"))
        )
        | (_EXECUTION.returned_at_ms < bindparam("back_since_ms"))
    )
    .distinct()
    .order_by(_EXECUTION.node_id)
)
_FAILED_ORDERS = select(func.count()).where(
    _EXECUTION.state == ExecutionState.HELD, given(_EXECUTION.campaign_id), _EXECUTION.challenge_nonce.is_not(None)
)


@cache
def _ids_of_nodes(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the query for the first nodes in a state, behind one, on which all conditions hold."""
    mine = (given(_EXECUTION.state), given(_EXECUTION.campaign_id), *conditions)
    behind = _EXECUTION.node_id > bindparam("behind")
    return select(_EXECUTION.node_id).where(*mine, behind).order_by(_EXECUTION.node_id).limit(_IDS_AT_ONCE)


class ExecutionStates(Repository):
    """Counts of executions by state, and the ids of the nodes that something is due for."""

    def counts(self, campaign_id: str | None = None) -> Mapping[ExecutionState, int]:
        """Return how many executions of a campaign, or of all, are in each state."""
        if campaign_id is None:
            return self._counted(_EXECUTION.state)
        return self._counted(_EXECUTION.state, *_OF_CAMPAIGN, campaign_id=campaign_id)

    def pending(self, campaign_id: str) -> Iterator[str]:
        """Yield the ids of the nodes that have not suppressed, by id."""
        return self._node_ids(campaign_id, ExecutionState.PENDING)

    def suppressed(self, campaign_id: str, revision: int | None) -> Iterator[str]:
        """Yield the ids of the sound nodes that an order is due for, who went back again and again last.

        Else a node that goes back to a backup before each answer would be the canary for ever.
        """
        for condition in (_SELDOM, _OFTEN):
            yield from self._sound(campaign_id, ExecutionState.SUPPRESSED, revision, condition)

    def ordered_since(self, campaign_id: str, since_ms: int, revision: int | None) -> Iterator[str]:
        """Yield the ids of the sound nodes with an erase order that was sent since then (Unix ms), by id."""
        return self._sound(campaign_id, ExecutionState.APPLYING, revision, _RECENTLY, since_ms=since_ms)

    def awaited(self, campaign_id: str) -> Iterator[str]:
        """Yield the ids of the sound nodes that a campaign waits for."""
        for state in AWAITED:
            yield from self._sound(campaign_id, state, None)

    def _sound(
        self,
        campaign_id: str,
        state: ExecutionState,
        revision: int | None,
        *conditions: ColumnElement[bool],
        **values: Any,
    ) -> Iterator[str]:
        """Yield the ids of those that are neither held nor retired, and run a revision if one is named."""
        if revision is None:
            return self._node_ids(campaign_id, state, *conditions, _IS_SOUND, **values)
        return self._node_ids(campaign_id, state, *conditions, _RUNS_IT, revision=revision, **values)

    def _node_ids(
        self, campaign_id: str, state: ExecutionState, *conditions: ColumnElement[bool], **values: Any
    ) -> Iterator[str]:
        """Yield the ids of the nodes in a state, by id, and read no more of them than are asked for."""
        query, last = _ids_of_nodes(*conditions), ""
        while True:
            some = self._column(query, state=state, campaign_id=campaign_id, behind=last, **values)
            yield from some
            if len(some) < _IDS_AT_ONCE:
                return
            last = some[-1]

    def examples(self, campaign_id: str, states: Iterable[ExecutionState], most: int) -> Mapping[str, ExecutionState]:
        """Return the first few nodes in each of some states."""
        found = {state: islice(self._node_ids(campaign_id, state), most) for state in states}
        return {node_id: state for state, node_ids in found.items() for node_id in node_ids}

    def held(self, campaign_id: str, states: Iterable[ExecutionState]) -> Sequence[HeldAtCommit]:
        """Return what nodes in some states were known to hold at the commit, as far as that is known still."""
        table = schema.execution.c
        mine = (table.state.in_(list(states)), table.campaign_id == campaign_id, table.held.is_not(None))
        return self._column(select(table.held).where(*mine))

    def failed_orders(self, campaign_id: str) -> int:
        """Return how many nodes are held that were ordered to erase, now or earlier."""
        return int(self._run(_FAILED_ORDERS, {"campaign_id": campaign_id}).scalar_one())

    def may_serve(
        self, campaign_id: str, generation: int, states: Iterable[ExecutionState], most: int
    ) -> Sequence[LeasedRow]:
        """Return the first nodes of some states, by id, without a campaign's entry of the log whose lease lasts."""
        table, node = schema.execution.c, schema.node.c
        # As they said last: that may not be written yet, least of all of a node that came a moment ago.
        lasting = node.lease_until_ms > self._now_ms
        leased = (node.generation < generation, lasting | node.node_id.in_(self._scope.contacts.leased(self._now_ms)))
        columns = (node.node_id, node.lease_until_ms, node.last_contact_ms)
        query = select(*columns).join(schema.execution, table.node_id == node.node_id).where(*leased)
        found = []
        # By each state: so the first few are found without the others.
        for state in states:
            mine = query.where(table.state == state, table.campaign_id == campaign_id)
            rows = self._run(mine.order_by(table.node_id).limit(most)).mappings()
            latest = [{**row, **self._scope.contacts.of(row["node_id"]).row} for row in rows]
            found += [LeasedRow(row["node_id"], row["lease_until_ms"], row["last_contact_ms"] or 0) for row in latest]
        still = [row for row in found if row.lease_until_ms > self._now_ms]
        return sorted(still, key=lambda row: row.node_id)[:most]

    def overdue(self, lost_after_ms: int, lease_ms: int) -> Sequence[str]:
        """Return the ids of the nodes that some forget has waited for longer than `ContactLimits` says, connected or
        not, sorted.
        """
        now = self._now_ms
        return self._column(_OVERDUE, now_ms=now, silent_since_ms=now - lost_after_ms, back_since_ms=now - lease_ms)

    def any_unfinished(self) -> bool:
        """Whether some forget is not done on some node, which is neither given up."""
        table = schema.execution
        unfinished = table.c.state.in_(sorted(set(ExecutionState) - TERMINAL))
        return bool(self._column(select(table.c.node_id).where(unfinished).limit(1)))
