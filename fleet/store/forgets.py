"""Campaigns and their executions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select

from fleet.domain import campaign as campaigns
from fleet.domain.campaign import CampaignState
from fleet.domain.execution import HeldAtCommit
from fleet.domain.tags import validate_id, validate_tags
from fleet.errors import ConflictError, InvalidInputError, NotFoundError, VersionConflictError
from fleet.store import schema
from fleet.store.executions import Executions
from fleet.store.repository import given, one_of
from fleet.store.rows import CampaignRow, ExecutionRow

_CAMPAIGN, _NAMED = schema.campaign, schema.campaign_tag
_ALL = select(_CAMPAIGN).order_by(_CAMPAIGN.c.generation)
_ONE = _ALL.where(given(_CAMPAIGN.c.campaign_id))
_OPEN = _ALL.where(_CAMPAIGN.c.state != CampaignState.CONVERGED)
_OF_TAG = _ALL.where(_CAMPAIGN.c.campaign_id.in_(select(_NAMED.c.campaign_id).where(given(_NAMED.c.tag))))
_WHOM_THEY_NAME = select(_NAMED).where(one_of(_NAMED.c.campaign_id)).order_by(_NAMED.c.tag)


class Forgets(Executions):
    """Every change of state goes through the tables of `fleet.domain`, and leaves an event."""

    def create(
        self,
        campaign_id: str,
        *,
        request_id: str,
        request_digest: bytes,
        generation: int,
        tags: Iterable[str],
        held_by_revision: Mapping[int, HeldAtCommit | None],
        held: Mapping[str, HeldAtCommit],
        lora_affected: bool,
        created_at_ms: int | None = None,
    ) -> CampaignRow:
        """Make the campaign of a log entry that was just appended, with a PENDING execution per node in the fleet.

        `ConflictError` if the request id is taken: ask `by_request` before anything is appended to the log.

        A node is known to hold of those named what `held` says by its id, else what every node holds that runs its
        revision: None if that is not known. `created_at_ms` is when the entry was signed, if that was before.
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
            created_at_ms=self._now_ms if created_at_ms is None else created_at_ms,
            lora_affected=lora_affected,
            version=1,
        )
        tagged = [{"campaign_id": campaign_id, "tag": tag} for tag in validate_tags(tags)]
        self._insert_all(schema.campaign_tag, tagged)
        self._written(schema.campaign)
        self._insert_executions(campaign_id, held_by_revision, held)
        return self.get(campaign_id)

    def get(self, campaign_id: str) -> CampaignRow:
        """Return the campaign; `NotFoundError` if there is none of this id."""
        return self._once(
            schema.campaign,
            campaign_id,
            lambda: self._campaign(
                _ONE, f"no forget {campaign_id[:40]!r}", hint="fleet forget list", campaign_id=campaign_id
            ),
        )

    def by_request(self, request_id: str, request_digest: bytes | None = None) -> CampaignRow | None:
        """Return the campaign that this request made, or None.

        `ConflictError` if a digest is given and the request id was used with another body.
        """
        found = self._campaigns(_ALL.where(_CAMPAIGN.c.request_id == request_id))
        if found and request_digest is not None and found[0].request_digest != request_digest:
            raise ConflictError(
                f"request id {request_id!r} was used for a different forget, {found[0].campaign_id}",
                hint="choose a new request id for a new request",
            )
        return found[0] if found else None

    def by_generation(self, generation: int) -> CampaignRow:
        """Return the campaign that a log entry committed."""
        mine = _ALL.where(_CAMPAIGN.c.generation == generation)
        return self._campaign(mine, f"no forget of generation {generation}")

    def _campaign(self, query: Select[Any], missing: str, hint: str = "", **values: Any) -> CampaignRow:
        found = self._campaigns(query, **values)
        if not found:
            raise NotFoundError(missing, hint=hint)
        return found[0]

    def by_tag(self, tag: str) -> Sequence[CampaignRow]:
        """Return the campaigns that name a tag, oldest first."""
        return self._once(schema.campaign, ("of", tag), lambda: self._campaigns(_OF_TAG, tag=tag))

    def list(self, *, above: int = 0, through: int | None = None) -> Sequence[CampaignRow]:
        """Return all campaigns, oldest first; only those with generations in (above, through]."""
        generation = _CAMPAIGN.c.generation
        query = _ALL.where(generation > above)
        return self._campaigns(query if through is None else query.where(generation <= through))

    def by_state(self) -> Mapping[CampaignState, int]:
        """Return how many campaigns are in each state."""
        return self._counted(schema.campaign.c.state)

    def list_open(self) -> Sequence[CampaignRow]:
        """Return the campaigns that have not converged, oldest first."""
        return self._once(schema.campaign, "open", lambda: self._campaigns(_OPEN))

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

    def join(self, node_id: str, after: int = 0) -> Sequence[ExecutionRow]:
        """Give a node an execution of every campaign above generation `after` that it has none of.

        For a node that enrols when forgets are already committed: it gets the whole log like any other.
        """
        mine = {row.campaign_id for row in self.executions_of(node_id)}
        for row in self.list(above=after):
            if row.campaign_id not in mine:
                self._insert_execution(row.campaign_id, node_id, "joined", joined=True)
        return self.executions_of(node_id, above=after)

    def _campaigns(self, query: Select[Any], **values: Any) -> Sequence[CampaignRow]:
        rows = self._run(query, values).mappings().all()
        if not rows:
            return []
        tags = defaultdict[str, list[str]](list)
        for row in self._run(_WHOM_THEY_NAME, {"campaign_id": [row["campaign_id"] for row in rows]}):
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
