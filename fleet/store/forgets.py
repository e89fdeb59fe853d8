"""Campaigns and their executions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from sqlalchemy import Select, func, select

from fleet.domain import campaign as campaigns
from fleet.domain import execution as executions_domain
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import AWAITED, WITH_RECEIPT, ExecutionState, HeldAtCommit
from fleet.domain.tags import validate_id, validate_tags
from fleet.errors import ConflictError, InvalidInputError, NotFoundError, VersionConflictError
from fleet.store import schema
from fleet.store.repository import Repository, equal
from fleet.store.rows import CampaignRow, ExecutionEventRow, ExecutionRow, ReturnsRow
from fleet.trust.checks import CheckLine

#: Orders of one execution whose late receipts are still known. A node's stream breaks this often before it has answered
#: one of them, and the next answers only go on from receipts that are not in the log.
OPEN_CHALLENGES = 16


def _executions(*conditions: Any) -> Select[Any]:
    joined = schema.execution.join(schema.campaign)
    return select(schema.execution, schema.campaign.c.generation).select_from(joined).where(*conditions)


def _execution(**row: Any) -> ExecutionRow:
    if row["open_challenges"] is None:
        # Of a version that did not note them: only the present order's is known.
        ordered = row["state"] in (ExecutionState.APPLYING, ExecutionState.SUPPRESSED)
        row["open_challenges"] = (row["challenge_nonce"],) if ordered and row["challenge_nonce"] else ()
    return ExecutionRow(**{**row, "joined": bool(row["joined"])})


class Forgets(Repository):
    """Every change of state goes through the tables of `fleet.domain`, and leaves an event."""

    def create(
        self,
        campaign_id: str,
        *,
        request_id: str,
        request_digest: bytes,
        generation: int,
        tags: Iterable[str],
        held: Mapping[str, HeldAtCommit],
        lora_affected: bool,
    ) -> CampaignRow:
        """Make the campaign of a log entry that was just appended, with a PENDING execution per node.

        `ConflictError` if the request id is taken: ask `by_request` before anything is appended to the log.

        `held` says by node id what each node is known to hold of those named.
        """
        if not request_id:
            raise InvalidInputError("a forget needs a request id, so that a repeat is known as one")
        if self.by_request(request_id) is not None:
            raise ConflictError(f"request {request_id!r} has a campaign already")
        self._insert(
            schema.campaign,
            campaign_id=validate_id(campaign_id),
            request_id=request_id,
            request_digest=request_digest,
            generation=generation,
            state=CampaignState.COMMITTED,
            created_at_ms=self._now_ms,
            lora_affected=lora_affected,
            version=1,
        )
        tagged = [{"campaign_id": campaign_id, "tag": tag} for tag in validate_tags(tags)]
        self._insert_all(schema.campaign_tag, tagged)
        for node_id in sorted(held):
            self._insert_execution(campaign_id, node_id, "committed", held=held[node_id])
        return self.get(campaign_id)

    def get(self, campaign_id: str) -> CampaignRow:
        """Return the campaign; `NotFoundError` if there is none of this id."""
        return self._campaign(
            schema.campaign.c.campaign_id == campaign_id, f"no forget {campaign_id[:40]!r}", hint="fleet forget list"
        )

    def by_request(self, request_id: str, request_digest: bytes | None = None) -> CampaignRow | None:
        """Return the campaign that this request made, or None.

        `ConflictError` if a digest is given and the request id was used with another body.
        """
        found = self._campaigns(schema.campaign.c.request_id == request_id)
        if found and request_digest is not None and found[0].request_digest != request_digest:
            raise ConflictError(
                f"request id {request_id!r} was used for a different forget, {found[0].campaign_id}",
                hint="choose a new request id for a new request",
            )
        return found[0] if found else None

    def by_generation(self, generation: int) -> CampaignRow:
        """Return the campaign that a log entry committed."""
        return self._campaign(schema.campaign.c.generation == generation, f"no forget of generation {generation}")

    def _campaign(self, condition: Any, missing: str, hint: str = "") -> CampaignRow:
        found = self._campaigns(condition)
        if not found:
            raise NotFoundError(missing, hint=hint)
        return found[0]

    def by_tag(self, tag: str) -> Sequence[CampaignRow]:
        """Return the campaigns that name a tag, oldest first."""
        naming = select(schema.campaign_tag.c.campaign_id).where(schema.campaign_tag.c.tag == tag)
        return self._campaigns(schema.campaign.c.campaign_id.in_(naming))

    def list(self) -> Sequence[CampaignRow]:
        """Return all campaigns, oldest first."""
        return self._campaigns()

    def list_open(self) -> Sequence[CampaignRow]:
        """Return the campaigns that have not converged, oldest first."""
        return self._campaigns(schema.campaign.c.state != CampaignState.CONVERGED)

    def set_state(self, campaign_id: str, target: CampaignState, *, expected_version: int | None = None) -> CampaignRow:
        """Move a campaign, and note when it was suppressed and when it converged.

        `IllegalTransitionError` as `fleet.domain.campaign` says; `VersionConflictError` if the campaign has changed
        since `expected_version` was read.
        """
        row = self.get(campaign_id)
        campaigns.advance(row.state, target)
        if target is row.state:
            return row
        values: dict[str, Any] = {"state": target}
        if target in (CampaignState.ERASING, CampaignState.CONVERGED) and row.suppressed_at_ms is None:
            values["suppressed_at_ms"] = self._now_ms
        values["converged_at_ms"] = self._now_ms if target is CampaignState.CONVERGED else None
        return self._update_campaign(row, values, expected_version)

    def reopen(self, campaign_id: str) -> None:
        """Take a campaign up again if it had converged."""
        if self.get(campaign_id).state is CampaignState.CONVERGED:
            self.set_state(campaign_id, CampaignState.ERASING)

    def set_repair_job(self, campaign_id: str, job_id: str) -> CampaignRow:
        """Note the learning job that repairs the shared LoRA."""
        return self._update_campaign(self.get(campaign_id), {"repair_job_id": job_id}, None)

    def executions(self, campaign_id: str) -> Sequence[ExecutionRow]:
        """Return the campaign's executions, by node id."""
        table = schema.execution
        return self._rows(_execution, _executions(table.c.campaign_id == campaign_id).order_by(table.c.node_id))

    def executions_of(
        self,
        node_id: str,
        *,
        above: int | None = None,
        through: int | None = None,
        states: Set[ExecutionState] | None = None,
    ) -> Sequence[ExecutionRow]:
        """Return the node's executions, by generation; only those in (above, through] and in `states`."""
        generation = schema.campaign.c.generation
        query = _executions(schema.execution.c.node_id == node_id)
        if above is not None:
            query = query.where(generation > above)
        if through is not None:
            query = query.where(generation <= through)
        if states is not None:
            query = query.where(schema.execution.c.state.in_(sorted(states)))
        return self._rows(_execution, query.order_by(generation))

    def execution(self, campaign_id: str, node_id: str) -> ExecutionRow:
        """Return one execution; `NotFoundError` if the campaign has none on this node."""
        query = _executions(*equal(schema.execution, campaign_id=campaign_id, node_id=node_id))
        return self._one(_execution, query, f"forget {campaign_id[:40]!r} has no execution on node {node_id!r}")

    def join(self, node_id: str, after: int = 0) -> Sequence[ExecutionRow]:
        """Give a node an execution of every campaign above generation `after` that it has none of.

        For a node that enrols when forgets are already committed: it gets the whole log like any other.
        """
        mine = {row.campaign_id for row in self.executions_of(node_id)}
        for row in self._campaigns(schema.campaign.c.generation > after):
            if row.campaign_id not in mine:
                self._insert_execution(row.campaign_id, node_id, "joined", joined=True)
        return self.executions_of(node_id, above=after)

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
    ) -> ExecutionRow:
        """Move an execution and write the event; fields that are None stay as they are.

        A new challenge joins the open ones; of those, the oldest are dropped beyond `OPEN_CHALLENGES`. Going back to
        PENDING drops challenge and receipt: they speak of a node that was overwritten. Setting the state that it is in
        changes the fields only, and leaves an event if the detail is new. `IllegalTransitionError` as
        `fleet.domain.execution` says; `ConflictError` if the state needs a challenge or a receipt and there is none;
        `VersionConflictError` if the execution has changed since `expected_version` was read.

        Required (now or before): the erase order's `challenge_nonce` for APPLYING, the `receipt` (serialised Envelope)
        for APPLIED, VERIFIED and NOT_AFFECTED. `expected_probes` are the answers to the order's probes, in order: a
        tag, or "" for a stranger; `checks` the lines that the receipt was checked by, for the certificate.
        """
        row = self.execution(campaign_id, node_id)
        executions_domain.advance(row.state, target)
        fields: dict[str, Any] = {
            "challenge_nonce": challenge_nonce or row.challenge_nonce,
            "expected_probes": row.expected_probes if expected_probes is None else expected_probes,
            "receipt": receipt or row.receipt,
            "checks": row.checks if checks is None else checks,
        }
        if target is ExecutionState.PENDING:
            fields = dict.fromkeys(fields)
        if challenge_nonce:
            fields["open_challenges"] = (*row.open_challenges, challenge_nonce)[-OPEN_CHALLENGES:]
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
        version = row.version if expected_version is None else expected_version
        mine = equal(schema.execution, campaign_id=campaign_id, node_id=node_id, version=version)
        fields |= {"state": target, "detail": detail, "updated_at_ms": self._now_ms, "version": version + 1}
        if not self._update(schema.execution, *mine, **fields):
            raise VersionConflictError(f"the execution on {node_id} has changed since version {version}")
        if target is not row.state or detail != row.detail:
            self._event(campaign_id, node_id, row.state, target, detail)
        return self.execution(campaign_id, node_id)

    def awaited_nodes(self) -> Sequence[str]:
        """Return the ids of the nodes that some forget waits for, sorted."""
        table = schema.execution
        waiting = select(table.c.node_id).where(table.c.state.in_(AWAITED))
        return self._column(waiting.distinct().order_by(table.c.node_id))

    def went_back(self, campaign_id: str) -> Mapping[str, int]:
        """Return how often nodes went back to a backup since the commit; without those that never did."""
        table = schema.execution_event
        query = (
            select(table.c.node_id, func.count().label("times"))
            .where(table.c.campaign_id == campaign_id, table.c.to_state == ExecutionState.PENDING)
            .where(table.c.from_state.not_in([ExecutionState.LOST, ExecutionState.HELD]))
            .group_by(table.c.node_id)
        )
        return {row.node_id: row.times for row in self._run(query)}

    def returns(self, node_id: str) -> Mapping[str, ReturnsRow]:
        """Return the forgets that were taken up again after the node was lost, by campaign."""
        table = schema.execution_event
        query = (
            select(table.c.campaign_id, func.count().label("times"), func.max(table.c.at_ms).label("last_at_ms"))
            .where(table.c.node_id == node_id, table.c.from_state == ExecutionState.LOST)
            .where(table.c.to_state.in_(AWAITED))
            .group_by(table.c.campaign_id)
        )
        return {row.campaign_id: ReturnsRow(row.times, row.last_at_ms) for row in self._run(query)}

    def close_challenge(self, campaign_id: str, node_id: str, nonce: bytes) -> None:
        """Note that an open challenge of an execution has been answered: it never is again."""
        still_open = self.execution(campaign_id, node_id).open_challenges
        left = [challenge for challenge in still_open if challenge != nonce]
        mine = equal(schema.execution, campaign_id=campaign_id, node_id=node_id)
        self._update(schema.execution, *mine, open_challenges=left)

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

    def _campaigns(self, *conditions: Any) -> Sequence[CampaignRow]:
        query = select(schema.campaign).where(*conditions).order_by(schema.campaign.c.generation)
        rows = self._run(query).mappings().all()
        named, tags = schema.campaign_tag, defaultdict[str, list[str]](list)
        mine = named.c.campaign_id.in_([row["campaign_id"] for row in rows])
        for row in self._run(select(named).where(mine).order_by(named.c.tag)):
            tags[row.campaign_id].append(row.tag)
        return [CampaignRow(**row, tags=tuple(tags[row["campaign_id"]])) for row in rows]

    def _update_campaign(
        self, row: CampaignRow, values: Mapping[str, Any], expected_version: int | None
    ) -> CampaignRow:
        table = schema.campaign
        version = row.version if expected_version is None else expected_version
        mine = (table.c.campaign_id == row.campaign_id, table.c.version == version)
        if not self._update(table, *mine, **values, version=version + 1):
            raise VersionConflictError(f"forget {row.campaign_id} has changed since version {version}")
        return self.get(row.campaign_id)

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
