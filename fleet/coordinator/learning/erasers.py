"""Erasers of concepts: which forgets want one, the learning job that trains it, and what became of it.

A concept is a thing or a style that the frozen backbone of generating nodes knows. Forgetting one masks it: every node
refuses its name at once, and gets an eraser by a revision (ADR 31).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from reram_fleet.v1 import operator_pb2 as wire
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.concepts import concept_tag
from reram_fleet.wire.lora_states import StateArrays

from fleet.coordinator.learning.lora_state import JobQueue
from fleet.coordinator.revisions.revisions import Revisions
from fleet.coordinator.work import Part, Work
from fleet.domain.eraser import EraserFigures
from fleet.domain.learning import JobKind, JobState
from fleet.domain.tags import validate_concept
from fleet.errors import ConflictError, InvalidInputError
from fleet.learning.errors import StateError
from fleet.store.rows import CampaignRow, LearningJobRow

logger = logging.getLogger(__name__)

#: Kind of what the crossbars know, in a verdict.
BACKBONE = "backbone"
#: Two train, each node on its own chip; in the last, nodes see what the average of them hides.
ERASER_ROUNDS = 3


class Erasers(Part):
    """Erasers of one fleet."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._queue = work.part(JobQueue)
        self._revisions = work.part(Revisions)

    def check(self, concepts: Sequence[str]) -> None:
        """Refuse what cannot be forgotten as a concept.

        Raises `InvalidInputError` if it is not one name that the backbone of a connected node knows; `ConflictError` if
        no connected node generates, or an eraser cannot be trained on any.
        """
        if len(concepts) != 1:
            raise InvalidInputError(f"a forget is of one concept, not of {len(concepts)}", hint="one forget for each")
        name, env = validate_concept(concepts[0]), self._env
        if env.settings.codes.kind != types.SUBJECT_ADAPTER_KIND_TRAINED:
            raise ConflictError(
                f"the nodes of this fleet recognise: there is nothing that they could be told not to show ({name})",
                hint="a person is forgotten by `fleet forget create --subject NAME`",
            )
        known = env.sessions.known_concepts()
        if not known:
            raise ConflictError(
                "no node that generates is connected: nobody can say what the backbone knows", hint="fleet node list"
            )
        if name not in known:
            raise InvalidInputError(
                f"the backbone knows no {name}; it knows: {', '.join(sorted(known))}",
                hint="what was learnt on nodes is forgotten by `fleet forget create --subject NAME`, exactly",
            )
        if env.learning is None:
            raise ConflictError(
                "this fleet runs without a learning plane: no eraser can be trained",
                hint="fleet serve without --no-flower",
            )
        connected = env.sessions.connected()
        if not any(n.flower_node_id is not None for n in self._tx.nodes.list() if n.node_id in connected):
            raise ConflictError(
                "no connected node takes part in learning jobs", hint="edge-node run without --no-flower"
            )

    def concepts_of(self, campaign: CampaignRow) -> Sequence[str]:
        """Return the concepts that a forget names; none of one that is about people."""
        entry = self._tx.log.get(campaign.generation)
        return types.ForgetCommand.FromString(types.Envelope.FromString(entry.envelope).payload).concepts

    def concept_of(self, job: LearningJobRow) -> str:
        """Return the concept whose eraser a job trains; "" of any other job."""
        if job.kind is not JobKind.UNLEARN_LORA or job.campaign_id is None:
            return ""
        return next(iter(self.concepts_of(self._tx.forgets.get(job.campaign_id))), "")

    def train(self, campaign: CampaignRow) -> bool | None:
        """Have the eraser of a forget's concept trained, at the current generation.

        Returns whether anything changed; None if nothing is to be waited for: the forget names no concept, its eraser
        is in the newest revision, or there will be none.
        """
        for concept in self.concepts_of(campaign):
            if any(eraser.concept == concept for eraser in self._revisions.latest_content().erasers):
                continue
            request_id = f"eraser-{self._tx.fleet.get().generation}-{concept}"
            job = self._tx.learning.by_request(request_id)
            if self._env.learning is None:
                # Restarted without it: a forget must not wait for what will never run.
                if job is not None and job.state not in (JobState.FAILED, JobState.SUCCEEDED):
                    self._tx.learning.cancel(job.job_id, "the learning plane is off")
                continue
            if job is None:
                self._start(campaign, concept, request_id)
                return True
            if job.state not in (JobState.FAILED, JobState.SUCCEEDED):
                return False
        return None

    def _start(self, campaign: CampaignRow, concept: str, request_id: str) -> None:
        tag, features = concept_tag(concept), self._env.settings.codes.features
        job = self._queue.add(
            request_id=request_id,
            request_digest=hashlib.sha256(request_id.encode()).digest(),
            kind=JobKind.UNLEARN_LORA,
            rounds=ERASER_ROUNDS,
            tags=[tag],
            # One row: all codes of the eraser.
            shape=types.LoraShape(features=features, rank=features),
            known=types.SharedLora(),
            forget_tags=(tag,),
            campaign_id=campaign.campaign_id,
        )
        self._tx.forgets.set_repair_job(campaign.campaign_id, job.job_id)
        logger.info("an eraser of %s is trained by learning job %s", concept, job.job_id)

    def install(self, job: LearningJobRow, concept: str, state: StateArrays) -> int | None:
        """Build the revision that carries the eraser which a job has trained; returns its number.

        `StateError` if it is rejected: it hides too little, or takes too much along.
        """
        figures = EraserFigures.of(job.metrics)
        if figures is None:
            raise StateError("no node has looked at what the eraser hides")
        if figures.faults:
            raise StateError("the eraser was rejected: " + "; ".join(figures.faults))
        content = self._revisions.latest_content()
        others = [eraser for eraser in content.erasers if eraser.concept != concept]
        erasers = sorted(
            [*others, types.Eraser(concept=concept, codes=state.rows[0].tolist())], key=lambda each: each.concept
        )
        return self._revisions.build(content.shared_lora if content.shared_lora.rows else None, erasers)

    def verdict(self, campaign: CampaignRow) -> wire.Verdict:
        """Return the verdict on a concept: MASKED on the grounds of its strip figure, REFUSED without an eraser."""
        named = ", ".join(self.concepts_of(campaign))
        job = self._tx.learning.get(campaign.repair_job_id) if campaign.repair_job_id else None
        said = f"{named} stays in the crossbars, which are written once; nodes refuse it by its name"
        figures = None if job is None else EraserFigures.of(job.metrics)
        if job is not None and job.state is JobState.SUCCEEDED and figures is not None:
            said += f", and an eraser (learning job {job.job_id}) hides it elsewhere: {figures}"
            return wire.Verdict(adapter_kind=BACKBONE, verdict=wire.VERDICT_CLASS_MASKED, basis=said)
        why = "none was trained" if job is None else job.error
        said += f"; no eraser hides it elsewhere ({why})"
        return wire.Verdict(adapter_kind=BACKBONE, verdict=wire.VERDICT_CLASS_REFUSED, basis=said)
