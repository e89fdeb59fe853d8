"""Executions of forgets on nodes, one by one and for a whole fleet at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Select, insert, literal, select

from fleet.domain import execution as executions_domain
from fleet.domain.execution import AWAITED, SUCCESS, WITH_RECEIPT, ExecutionState, HeldAtCommit
from fleet.domain.tallies import Tally
from fleet.errors import ConflictError, VersionConflictError
from fleet.store import schema
from fleet.store.execution_states import ExecutionStates
from fleet.store.receipts import Receipts
from fleet.store.repository import equal, one_of
from fleet.store.rows import ExecutionEventRow, ExecutionRow
from fleet.store.tallies import Tallies
from fleet.trust.checks import CheckLine

#: Orders of one execution whose late receipts are still known. A node's stream breaks this often before it has answered
#: one of them, and the next answers only go on from receipts that are not in the log.
OPEN_CHALLENGES = 16
#: A node that is waited for again out of these has not gone back to a backup.
_AS_IT_WAS = frozenset({ExecutionState.PENDING, ExecutionState.LOST, ExecutionState.HELD})
#: A node may have thousands of these, and nearly nothing asks for them.
FINISHED = SUCCESS | {ExecutionState.RETIRED}


def _executions(*conditions: Any) -> Select[Any]:
    joined = schema.execution.join(schema.campaign)
    return select(schema.execution, schema.campaign.c.generation).select_from(joined).where(*conditions)


def _execution(**row: Any) -> ExecutionRow:
    if row["open_challenges"] is None:
        # Of a version that did not note them: only the present order's is known.
        ordered = row["state"] in (ExecutionState.APPLYING, ExecutionState.SUPPRESSED)
        row["open_challenges"] = (row["challenge_nonce"],) if ordered and row["challenge_nonce"] else ()
    counted = {name: row[name] or 0 for name in ("went_back", "returns")}
    return ExecutionRow(**{**row, **counted, "joined": bool(row["joined"])})


_EXECUTION = schema.execution.c
_ORDERED = _executions(_EXECUTION.state == ExecutionState.APPLYING, one_of(_EXECUTION.node_id)).order_by(
    schema.campaign.c.generation
)
_UNFINISHED = _executions(one_of(_EXECUTION.node_id), _EXECUTION.state.not_in(sorted(FINISHED)))


class Executions(ExecutionStates):
    """Every change of state goes through the table of `fleet.domain.execution`, and leaves an event."""

    def _insert_executions(
        self, campaign_id: str, held_by_revision: Mapping[int, HeldAtCommit | None], held: Mapping[str, HeldAtCommit]
    ) -> None:
        """Make a PENDING execution on every node that is not retired."""
        node, table = schema.node.c, schema.execution
        values = {
            "state": ExecutionState.PENDING,
            "detail": "",
            "updated_at_ms": self._now_ms,
            "joined": False,
            "version": 1,
        }
        constants = [literal(value, table.c[name].type).label(name) for name, value in values.items()]
        for revision, known in held_by_revision.items():
            chosen = select(
                literal(campaign_id), node.node_id, *constants, literal(known, table.c.held.type).label("held")
            ).where(node.retired_at_ms.is_(None), node.revision == revision)
            self._written(table)
            self._run(insert(table).from_select(["campaign_id", "node_id", *values, "held"], chosen))
        for node_id, known in held.items():
            self._change(table, {"campaign_id": campaign_id, "node_id": node_id}, {"held": known})
        self._events(table.c.campaign_id == campaign_id, None, ExecutionState.PENDING, "committed")

    def suppress(self, node_id: str, generation: int) -> bool:
        """Move what waits for a node to have the log up to a generation; returns whether anything did."""
        due = [
            row
            for row in self._unfinished(node_id)
            if row.state is ExecutionState.PENDING and row.generation <= generation
        ]
        for row in due:
            self.set_execution(row.campaign_id, node_id, ExecutionState.SUPPRESSED, "suppressed")
        return bool(due)

    def withdraw_orders(self, detail: str) -> bool:
        """Take back every erase order that is out; returns whether one was."""
        source, target = ExecutionState.APPLYING, ExecutionState.SUPPRESSED
        executions_domain.advance(source, target)
        table = schema.execution
        applying = table.c.state == source
        # While they can still be told.
        if not self._events(applying, source, target, detail):
            return False
        later = {"state": target, "detail": detail, "updated_at_ms": self._now_ms, "version": table.c.version + 1}
        self._update(table, applying, **later)
        return True

    def order(self, campaign_id: str, nonces: Mapping[str, bytes], probes: Mapping[str, Sequence[str]]) -> None:
        """Order nodes to erase, each with a challenge of its own and the answers that it must give to its probes."""
        self.prefetch(nonces)
        for node_id, nonce in nonces.items():
            self.set_execution(
                campaign_id,
                node_id,
                ExecutionState.APPLYING,
                "erase order",
                challenge_nonce=nonce,
                expected_probes=probes[node_id],
            )

    def _events(
        self, chosen: ColumnElement[bool], source: ExecutionState | None, target: ExecutionState, detail: str
    ) -> int:
        """Leave an event for each of some executions; returns for how many."""
        table, event = schema.execution, schema.execution_event
        values = {"from_state": source, "to_state": target, "detail": detail, "at_ms": self._now_ms}
        constants = [literal(value, event.c[name].type).label(name) for name, value in values.items()]
        rows = select(table.c.campaign_id, table.c.node_id, *constants).where(chosen).order_by(table.c.node_id)
        self._written(event)
        return self._run(insert(event).from_select(["campaign_id", "node_id", *values], rows)).rowcount

    def prefetch(self, node_ids: Iterable[str]) -> None:
        """Read at once what is not finished on these nodes, for those who are about to ask for each."""
        read = self._scope.read[schema.execution.name]
        wanted = [node_id for node_id in node_ids if node_id not in read]
        if not wanted:
            return
        found: dict[str, dict[str, ExecutionRow]] = {node_id: {} for node_id in wanted}
        for row in self._rows(_execution, _UNFINISHED, node_id=wanted):
            found[row.node_id][row.campaign_id] = row
        read.update(found)

    def _unfinished(self, node_id: str) -> Sequence[ExecutionRow]:
        """Return what is not finished on a node, by generation."""
        self.prefetch([node_id])
        found: Mapping[str, ExecutionRow] = self._scope.read[schema.execution.name][node_id]
        return sorted(found.values(), key=lambda row: row.generation)

    def executions(
        self,
        campaign_id: str,
        *,
        after: str = "",
        states: Set[ExecutionState] | None = None,
        limit: int | None = None,
    ) -> Sequence[ExecutionRow]:
        """Return the campaign's executions, by node id; only the first so many behind a node, and in `states`."""
        table = schema.execution
        query = _executions(table.c.campaign_id == campaign_id, table.c.node_id > after)
        if states is not None:
            query = query.where(table.c.state.in_(sorted(states)))
        return self._rows(_execution, query.order_by(table.c.node_id).limit(limit))

    def executions_of(
        self,
        node_id: str,
        *,
        above: int | None = None,
        through: int | None = None,
        states: Set[ExecutionState] | None = None,
        newest: int | None = None,
    ) -> Sequence[ExecutionRow]:
        """Return the node's executions, by generation; only the newest so many in (above, through] and in `states`."""
        if (above, through, newest) == (None, None, None) and states is not None and not states & FINISHED:
            return [row for row in self._unfinished(node_id) if row.state in states]
        generation = schema.campaign.c.generation
        query = _executions(schema.execution.c.node_id == node_id)
        if above is not None:
            query = query.where(generation > above)
        if through is not None:
            query = query.where(generation <= through)
        if states is not None:
            query = query.where(schema.execution.c.state.in_(sorted(states)))
        return self._rows(_execution, query.order_by(generation.desc()).limit(newest))[::-1]

    def ordered(self, node_ids: Iterable[str]) -> Sequence[ExecutionRow]:
        """Return the executions of these nodes with an erase order that is out, by generation."""
        return self._rows(_execution, _ORDERED, node_id=list(node_ids))

    def execution(self, campaign_id: str, node_id: str) -> ExecutionRow:
        """Return one execution; `NotFoundError` if the campaign has none on this node."""
        unfinished = self._scope.read[schema.execution.name].get(node_id, {})
        if campaign_id in unfinished:
            found: ExecutionRow = unfinished[campaign_id]
            return found
        query = _executions(*equal(schema.execution, campaign_id=campaign_id, node_id=node_id))
        return self._one(_execution, query, f"forget {campaign_id[:40]!r} has no execution on node {node_id!r}")

    def set_execution(
        self,
        campaign_id: str,
        node_id: str,
        target: ExecutionState,
        detail: str = "",
        *,
        challenge_nonce: bytes | None = None,
        expected_probes: Sequence[str] | None = None,
        receipt: bytes | None = None,
        checks: Sequence[CheckLine] | None = None,
        expected_version: int | None = None,
        via: tuple[ExecutionState, str] | None = None,
        answered: bytes | None = None,
    ) -> None:
        """Move an execution and write the event; fields that are None stay as they are.

        A new challenge joins the open ones; of those, the oldest are dropped beyond `OPEN_CHALLENGES`. Going back to
        PENDING drops challenge and receipt: they speak of a node that was overwritten. Setting the state that it is in
        changes the fields only, and leaves an event if the detail is new. `IllegalTransitionError` as
        `fleet.domain.execution` says; `ConflictError` if the state needs a challenge or a receipt and there is none;
        `VersionConflictError` if the execution has changed since `expected_version` was read.

        Required (now or before): the erase order's `challenge_nonce` for APPLYING, the `receipt` (serialised Envelope)
        for APPLIED, VERIFIED and NOT_AFFECTED. `expected_probes` are the answers to the order's probes, in order: a
        tag, or "" for a stranger; `checks` the lines that the receipt was checked by, for the certificate. `via`
        is a state in between, with its detail: an event more. `answered` is the open challenge that never is again.
        """
        row = self.execution(campaign_id, node_id)
        if via is not None:
            executions_domain.advance(row.state, via[0])
        executions_domain.advance(row.state if via is None else via[0], target)
        if expected_version not in (None, row.version):
            raise VersionConflictError(f"the execution on {node_id} has changed since version {expected_version}")
        self._touched.nodes.add(node_id)
        fields: dict[str, Any] = {
            "challenge_nonce": challenge_nonce or row.challenge_nonce,
            "expected_probes": row.expected_probes if expected_probes is None else tuple(expected_probes),
            "receipt": receipt or row.receipt,
            "checks": row.checks if checks is None else tuple(checks),
            "open_challenges": row.open_challenges,
            "held": row.held,
        }
        if challenge_nonce:
            fields["open_challenges"] = (*row.open_challenges, challenge_nonce)[-OPEN_CHALLENGES:]
        if answered:
            fields["open_challenges"] = tuple(each for each in row.open_challenges if each != answered)
        if target is ExecutionState.PENDING:
            fields |= {"challenge_nonce": None, "expected_probes": None, "receipt": None, "checks": ()}
            if row.state not in _AS_IT_WAS:
                fields["went_back"] = row.went_back + 1
        if target in AWAITED and row.state is ExecutionState.LOST:
            fields |= {"returns": row.returns + 1, "returned_at_ms": self._now_ms}
        # A backup holds less than the node did, or more; one that was lost is as it was. Out of HELD the operator
        # vouches: else a node that had lost something could never be released.
        if row.state is ExecutionState.HELD or (
            target is ExecutionState.PENDING and row.state is not ExecutionState.LOST
        ):
            fields["held"] = None
        if target is ExecutionState.APPLYING and not fields["challenge_nonce"]:
            raise ConflictError(f"{node_id} cannot be ordered to erase without a challenge")
        if target in WITH_RECEIPT and not fields["receipt"]:
            raise ConflictError(f"{node_id} cannot be {target} without a receipt")
        if row.state in SUCCESS and target not in SUCCESS:
            Receipts(self._scope).drop(campaign_id, node_id)
        self._set(row, state=target, detail=detail, updated_at_ms=self._now_ms, **fields)
        self._time(row, target)
        if via is not None:
            self._event(campaign_id, node_id, row.state, via[0], via[1])
        if target is not row.state or detail != row.detail:
            self._event(campaign_id, node_id, row.state if via is None else via[0], target, detail)

    def _time(self, row: ExecutionRow, target: ExecutionState) -> None:
        """Count how long after the commit a node has suppressed a forget, or proved that it erased, the first time."""
        suppressed = (row.state, target) == (ExecutionState.PENDING, ExecutionState.SUPPRESSED)
        verified = target in SUCCESS and row.state not in SUCCESS
        if row.went_back or not (suppressed or verified):
            return
        table = schema.campaign.c
        created = select(table.created_at_ms).where(table.campaign_id == row.campaign_id)
        [created_at_ms] = self._once(schema.campaign, ("created", row.campaign_id), lambda: self._column(created))
        tally = Tally.SUPPRESS_SECONDS if suppressed else Tally.VERIFY_SECONDS
        Tallies(self._scope).observe(tally, max(0, self._now_ms - created_at_ms) / 1000)

    def _set(self, row: ExecutionRow, **values: Any) -> None:
        """Change an execution: what is another value now."""
        values = {name: value for name, value in values.items() if value != getattr(row, name)}
        key = {"campaign_id": row.campaign_id, "node_id": row.node_id}
        self._change(schema.execution, key, {**values, "version": row.version + 1}, {"version": row.version})
        unfinished = self._scope.read[schema.execution.name].get(row.node_id)
        if unfinished is not None:
            later = replace(row, **values, version=row.version + 1)
            unfinished.pop(row.campaign_id, None)
            if later.state not in FINISHED:
                unfinished[row.campaign_id] = later

    def close_challenge(self, campaign_id: str, node_id: str, nonce: bytes) -> None:
        """Note that an open challenge of an execution has been answered: it never is again."""
        row = self.execution(campaign_id, node_id)
        self._set(row, open_challenges=tuple(challenge for challenge in row.open_challenges if challenge != nonce))

    def forget_holdings(self, node_id: str) -> None:
        """Note that what the node held at the commit of open forgets is not known any more."""
        table = schema.execution
        still_open = table.c.state.in_([*AWAITED, ExecutionState.HELD, ExecutionState.LOST])
        self._update(table, table.c.node_id == node_id, still_open, held=None)

    def events(self, campaign_id: str, node_id: str | None = None) -> Sequence[ExecutionEventRow]:
        """Return what happened, in order."""
        table = schema.execution_event
        query = select(table).where(table.c.campaign_id == campaign_id).order_by(table.c.event_id)
        if node_id is not None:
            query = query.where(table.c.node_id == node_id)
        return self._rows(ExecutionEventRow, query)

    def _insert_execution(
        self, campaign_id: str, node_id: str, detail: str, *, joined: bool = False, held: HeldAtCommit | None = None
    ) -> None:
        self._insert(
            schema.execution,
            campaign_id=campaign_id,
            node_id=node_id,
            state=ExecutionState.PENDING,
            detail="",
            updated_at_ms=self._now_ms,
            joined=joined,
            held=held,
            version=1,
        )
        self._event(campaign_id, node_id, None, ExecutionState.PENDING, detail)

    def _event(
        self, campaign_id: str, node_id: str, source: ExecutionState | None, target: ExecutionState, detail: str
    ) -> None:
        self._insert(
            schema.execution_event,
            campaign_id=campaign_id,
            node_id=node_id,
            from_state=source,
            to_state=target,
            detail=detail,
            at_ms=self._now_ms,
        )
