"""Committing a forget, and moving campaigns on."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.concepts import concept_tag

from fleet.coordinator.learning.cohorts import Cohorts
from fleet.coordinator.learning.erasers import Erasers
from fleet.coordinator.learning.jobs import Jobs
from fleet.coordinator.revisions.canaries import planted
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.work import Part, Work
from fleet.domain.campaign import CampaignState, campaign_state
from fleet.domain.execution import ExecutionState, HeldAtCommit
from fleet.domain.tags import new_id, validate_concept, validate_tags
from fleet.domain.waves import most_due
from fleet.errors import AwaitedNodesError, InvalidInputError, UnknownTagsError
from fleet.store.rows import CampaignRow, ContributionRow, LogRow, RevisionRow
from fleet.trust.leaves import LeafKind, leaf_data

logger = logging.getLogger(__name__)

#: A connected node is awaited this long, to suppress and to erase; honest ones take seconds.
ANSWER_MS = 60_000
#: A revision is replaced after this time also while nodes have orders over it.
MAX_IN_USE_MS = 10 * ANSWER_MS
#: Nodes that are ordered to erase by one transaction.
ORDERS_AT_ONCE = 500


class Campaigns(Part):
    """Forgets: their commit, and each further step."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._cohorts = work.part(Cohorts)
        self._erasers = work.part(Erasers)
        self._jobs = work.part(Jobs)
        self._revisions = work.part(Revisions)

    def create(
        self, request_id: str, tags: Sequence[str], *, allow_unknown: bool, concepts: Sequence[str] = ()
    ) -> tuple[CampaignRow, bool]:
        """Commit a forget; returns the campaign and whether this call made it.

        One transaction: log entry, campaign, executions, tombstones, Merkle leaf. The person's sums are deleted
        in it; their key files go when it is durable (`at_rest.destroy_orphaned_keys`).

        With `concepts` in place of tags, something that the backbone knows is forgotten, under the tag of its name.

        Raises `InvalidInputError` if a tag or the request id is malformed, or as `Erasers.check`; `NotFoundError` if no
        node has ever reported a tag, unless `allow_unknown`; `ConflictError` if the request id was used for something
        else, or as `Erasers.check`; `AwaitedNodesError` if its generation may be one that was lost with a restore.
        """
        if concepts and tags:
            raise InvalidInputError("a forget is of people or of a concept, not of both", hint="one forget for each")
        wanted = validate_tags([concept_tag(validate_concept(name)) for name in concepts] or tags)
        if not request_id:
            raise InvalidInputError("a forget needs a request id")
        digest = hashlib.sha256("\n".join(wanted).encode()).digest()
        existing = self._tx.forgets.by_request(request_id, digest)
        if existing is not None:
            return existing, False
        if concepts and not any(self._tx.forgets.by_tag(tag) for tag in wanted):
            self._erasers.check(concepts)
        unknown = [tag for tag in wanted if not concepts and not self._tx.subjects.known(tag)]
        if unknown and not allow_unknown:
            raise UnknownTagsError(
                f"no node has ever reported {len(unknown)} of the {len(wanted)} tag(s), first {unknown[0]}",
                tags=unknown,
                hint="if the person was enrolled on a node that is offline, repeat with --allow-unknown",
            )
        active = [campaign for tag in wanted for campaign in self._tx.forgets.by_tag(tag)]
        if active and {tag for campaign in active for tag in campaign.tags} >= set(wanted):
            # All of it is in the log already: another entry would forget nobody.
            return active[-1], False
        if awaited := self._tx.fleet.awaited():
            raise AwaitedNodesError(awaited)
        campaign_id = new_id(self._tx.now_ms, self._env.randomness.draw)
        spent = self._tx.subjects.live_canaries()[:1]
        tags = [*wanted, *spent]
        held_by_revision, held = self._held(tags)
        entry = self._tx.log.append(campaign_id, tags, self._env.keys.sign, self._tx.nodes.ids(), concepts)
        campaign = self._committed(
            entry, tags, request_id=request_id, request_digest=digest, held_by_revision=held_by_revision, held=held
        )
        logger.info("forget %s committed as generation %d", campaign.campaign_id, entry.generation)
        return campaign, True

    def take_back(self, command: types.ForgetCommand, envelope: types.Envelope) -> None:
        """Do once more what an entry of the log did that was lost with a restore; it is the next one.

        What nodes held when it was committed is not known any more, nor who asked for it.
        """
        entry = self._tx.log.append_signed(command, envelope)
        self._committed(
            entry,
            command.subject_tags,
            request_id=f"restored-{entry.campaign_id}",
            request_digest=b"",
            held_by_revision=dict.fromkeys(self._tx.nodes.revisions()),
            created_at_ms=command.issued_at_unix_ms,
        )

    def _end_restore_if_heard(self) -> bool:
        """End the wait after a restore, if no node is awaited any more; returns whether it did."""
        fleet = self._tx.fleet.get()
        if fleet.restored_at_ms is None or fleet.restore_ended_ms is not None or self._tx.fleet.awaited():
            return False
        logger.info("all nodes have said where they are since the restore; the log has %d", fleet.generation)
        self.end_restore()
        return True

    def end_restore(self) -> None:
        """Let nothing wait for nodes any more after a restore, and commit anew what none of them has brought back.

        Those people still have their tombstones: each forget that was lost is one again, of whom no entry names.
        """
        self._tx.fleet.end_restore()
        self._cohorts.resume_restored()
        lost = defaultdict[int, list[str]](list)
        for subject in self._tx.subjects.list(forgotten=True):
            if not subject.canary and not self._tx.forgets.by_tag(subject.tag):
                lost[subject.forgotten_generation or 0].append(subject.tag)
        for _, tags in sorted(lost.items()):
            request_id = f"lost-{new_id(self._tx.now_ms, self._env.randomness.draw)}"
            campaign, _ = self.create(request_id, tags, allow_unknown=True)
            logger.warning("a forget that was lost with the backup is generation %d now", campaign.generation)

    def _committed(
        self,
        entry: LogRow,
        tags: Sequence[str],
        *,
        request_id: str,
        request_digest: bytes,
        held_by_revision: Mapping[int, HeldAtCommit | None],
        held: Mapping[str, HeldAtCommit] = MappingProxyType({}),
        created_at_ms: int | None = None,
    ) -> CampaignRow:
        """Make the campaign of an entry that was just appended, and forget whom it names."""
        people = sorted(set(tags) - set(planted(self._tx, tags)))
        # The canary whose answer an order expects may just have been spent. No receipt is lost by it: one that answers
        # an order of before was signed over a revision that this generation replaces, so it would have to be asked for
        # again in any case.
        self._tx.forgets.withdraw_orders(f"overtaken by generation {entry.generation}: another order follows")
        newest = self._tx.revisions.latest()
        campaign = self._tx.forgets.create(
            entry.campaign_id,
            request_id=request_id,
            request_digest=request_digest,
            generation=entry.generation,
            tags=tags,
            held_by_revision=held_by_revision,
            held=held,
            lora_affected=(
                newest is not None and not self._tx.cohorts.count() and bool(set(people) & set(newest.lora_tags))
            ),
            created_at_ms=created_at_ms,
        )
        shards = self._cohorts.forget(entry.campaign_id, people)
        self._tx.subjects.forget(tags, entry.generation)
        rows = [tag for members in shards.values() for tag in members]
        self._revisions.redact(set(tags), entry.generation, rows)
        envelope = types.Envelope.FromString(entry.envelope)
        self._tx.tree.append(LeafKind.FORGET_COMMAND, leaf_data(LeafKind.FORGET_COMMAND, envelope))
        self._jobs.preempt(entry.generation, people, shards)
        return campaign

    def _held(self, tags: Sequence[str]) -> tuple[dict[int, HeldAtCommit], dict[str, HeldAtCommit]]:
        """Return what nodes are known to hold of these people now.

        That is by revision what every node holds that runs it, and by node id what those hold that contributed any of
        them. A node may hold more: people whom it has enrolled and not contributed yet.
        """
        still = {tag for tag in tags if (row := self._tx.subjects.find(tag)) is None or not row.forgotten}
        # A node may run a later revision than the one that it has told of: its answer may be on the way.
        named = {number: self._tx.revisions.always_named(still, number) for number in self._tx.nodes.revisions()}
        by_revision = {
            number: HeldAtCommit(subject_adapters=len(people), lora_rows=len(rows), samples=0, keys=0)
            for number, (people, rows) in named.items()
        }
        contributed = defaultdict[str, list[ContributionRow]](list)
        for contribution in self._tx.subjects.contributions_about(still):
            contributed[contribution.node_id].append(contribution)
        held = {}
        for node in self._tx.nodes.chosen(contributed):
            if node.retired_at_ms is not None:
                # It has no execution: what it contributed before is forgotten here.
                continue
            mine, (people, rows) = contributed[node.node_id], named.get(node.revision, (frozenset(), frozenset()))
            held[node.node_id] = HeldAtCommit(
                subject_adapters=len(people | {each.tag for each in mine}),
                lora_rows=len(rows),
                samples=sum(each.count for each in mine),
                keys=len(mine),
            )
        return by_revision, held

    def advance_all(self) -> bool:
        """Move every open campaign as far as the store allows; returns whether anything changed."""
        changed = self._end_restore_if_heard()
        for campaign in self._tx.forgets.list_open():
            # A connected node that says nothing must not keep the others from erasing: it has no lease for this
            # generation, and gets none.
            patient = self._tx.now_ms - campaign.created_at_ms < ANSWER_MS
            counts = self._tx.forgets.counts(campaign.campaign_id)
            state = self._derived(campaign, counts, patient=patient)
            if state is CampaignState.ERASING and self._erase(campaign, counts):
                changed = True
                counts = self._tx.forgets.counts(campaign.campaign_id)
                state = self._derived(campaign, counts, patient=patient)
            if state is not campaign.state:
                self._tx.forgets.set_state(campaign.campaign_id, state)
                logger.info("forget %s is %s", campaign.campaign_id, state)
                changed = True
        return changed

    def _derived(self, campaign: CampaignRow, counts: Mapping[ExecutionState, int], *, patient: bool) -> CampaignState:
        suppressing = campaign.state in (CampaignState.COMMITTED, CampaignState.SUPPRESSING)
        awaited = patient and suppressing and self._any_connected(self._tx.forgets.pending(campaign.campaign_id))
        state = campaign_state(counts, campaign.state, pending_connected=awaited)
        newest = self._tx.revisions.latest()
        behind = newest is not None and newest.built_at_generation < campaign.generation
        # Also when all its nodes were given up: whoever joins or comes back needs a revision without the person.
        return CampaignState.ERASING if state is CampaignState.CONVERGED and behind else state

    def _any_connected(self, node_ids: Iterable[str]) -> bool:
        """Whether one of some nodes has a live stream."""
        connected = self._env.sessions.connected()
        return any(node_id in connected for node_id in node_ids)

    def _about_to_answer(self, campaign: CampaignRow, newest: RevisionRow | None) -> bool:
        """Whether some node may still be about to answer its erase order: nobody waits for it for ever.

        A node that cannot answer, since it is held or runs another revision, must neither be the canary for which all
        others wait nor keep a newer revision from being built.
        """
        revision = 0 if newest is None else newest.revision
        since_ms = self._tx.now_ms - ANSWER_MS
        return self._any_connected(self._tx.forgets.ordered_since(campaign.campaign_id, since_ms, revision))

    def _erase(self, campaign: CampaignRow, counts: Mapping[ExecutionState, int]) -> bool:
        if self._tx.fleet.awaited():
            # Who is forgotten is not known yet: a receipt of now may name somebody whom nobody told the node to forget.
            return False
        newest = self._tx.revisions.latest()
        # Of the fleet, not of the campaign: an order over a revision that is on its way out would only be redone.
        if newest is not None and self._revisions.settled() is None:
            return self._rebuild(newest)
        if (changed := self._erasers.train(campaign)) is not None:
            return changed
        most = most_due(
            counts,
            canaries_failed=self._tx.forgets.failed_orders(campaign.campaign_id),
            canary_at_work=self._about_to_answer(campaign, newest),
        )
        # Without one, nodes that run a revision which was lost with a restore wait for the next.
        revision, connected = 0 if newest is None else newest.revision, self._env.sessions.connected()
        suppressed = self._tx.forgets.suppressed(campaign.campaign_id, revision)
        # The others are due at the next look: a transaction for a whole fleet would keep everybody waiting.
        most = ORDERS_AT_ONCE if most is None else most
        due = list(islice((node_id for node_id in suppressed if node_id in connected), most))
        if due:
            answers = self._expected_probes(campaign)
            draw = self._env.randomness.draw
            probes = {node_id: sorted(answers, key=lambda _: draw(16)) for node_id in due}
            self._tx.forgets.order(campaign.campaign_id, {node_id: draw(32) for node_id in due}, probes)
        return bool(due)

    def refresh_revision(self) -> bool:
        """Build the next revision if people have changed, or it was lost; after a forget its campaign does."""
        newest = self._tx.revisions.latest()
        behind = newest is not None and newest.built_at_generation < self._tx.fleet.get().generation
        if (behind and newest is not None and newest.ciphertext is not None) or self._in_use(newest):
            return False
        # Everybody's contribution is opened to see that nothing has changed: not once a second.
        checked, ahead = self._env.revision_checked, self._env.head_ahead
        if checked is not None and checked[0] is ahead:
            return False
        if self._revisions.refresh() is not None:
            return True
        self._env.revision_checked = (ahead,)
        return False

    def _in_use(self, newest: RevisionRow | None) -> bool:
        """Whether nodes install the newest revision for a forget, or sign receipts over it: leave it in place.

        Not for ever, or a node that answers nothing would keep everybody out who is enrolled.
        """
        if newest is None:
            return False
        age_ms = self._tx.now_ms - newest.created_at_ms
        if age_ms < ANSWER_MS and self._erasing():
            return True
        return age_ms < MAX_IN_USE_MS and any(
            self._about_to_answer(campaign, newest) for campaign in self._tx.forgets.list_open()
        )

    def _erasing(self) -> bool:
        """Whether some connected node, not a held one, still has an open forget to carry out."""
        return any(
            self._any_connected(self._tx.forgets.awaited(campaign.campaign_id))
            for campaign in self._tx.forgets.list_open()
        )

    def _rebuild(self, newest: RevisionRow) -> bool:
        """Build the revision without the forgotten; when the shared LoRA knows them, once that is repaired.

        Returns whether anything changed: waiting for a repair is no change, or the reconciler would never rest.
        """
        tombstoned = {subject.tag for subject in self._tx.subjects.list(forgotten=True)}
        affected = sorted(tombstoned & set(newest.lora_tags))
        # The rows of an affected cohort shard left with the commit; its replay follows the revision.
        if not affected or self._tx.cohorts.count():
            return self._revisions.refresh() is not None
        # Without a node that is not done, nobody is there to repair anything.
        nodes_left = self._tx.forgets.any_unfinished()
        return self._jobs.repair(affected, nodes_left=nodes_left)

    def _expected_probes(self, campaign: CampaignRow) -> list[str]:
        """Return what the probes of an erase order must be answered with; each node gets them in an order of its own.

        "" (a stranger) for the canary that this campaign forgot, and the tag of a living one.
        """
        return [""] * bool(planted(self._tx, campaign.tags)) + self._tx.subjects.live_canaries()[:1]
