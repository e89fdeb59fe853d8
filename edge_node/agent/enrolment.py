"""Enrolment on this node: capture once, learn what the task has to learn, store it sealed.

Learning a class takes half a minute, and a forget must not wait for it: so the node's lock is held while something is
looked up and while it is stored, and let go in between. Whoever is forgotten meanwhile is not stored; a node that is
killed meanwhile has acknowledged nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from reram_fleet.code_ranges import CodeRangeError
from reram_fleet.crypto.identifiers import is_subject_tag
from reram_fleet.crypto.tickets import TicketError, check_ticket
from reram_fleet.tasks import code_range, task_names
from reram_fleet.v1.engine_pb2 import EnrollResponse
from reram_fleet.v1.types_pb2 import Envelope, SubjectAdapter

from edge_node.agent.active import ActiveAdapters
from edge_node.agent.context import NodeContext, phase_cost
from edge_node.errors import AdapterError, NotAllowedError, RefusedError, SampleError, TombstonedTagError
from edge_node.storage.record_cipher import CapturedSamples, sample_hash
from hwmodel import Cost, Phase


class Enrolment:
    """Enrolment of people on this node: from samples to sealed rows of the journal."""

    def __init__(self, context: NodeContext, adapters: ActiveAdapters) -> None:
        self._context, self._adapters = context, adapters
        self._journal, self._cipher, self._meter = context.journal, context.cipher, context.meter
        # What the coordinator holds contributions to; none for a task that is not built in.
        self._range = code_range(context.task) if context.task in task_names() else None
        # Two learnings at once would each miss what the other stores.
        self._turn = threading.Lock()
        self._forgotten: set[str] = set()
        self._ended = False

    def enroll(self, ticket: Envelope, samples: Sequence[np.ndarray]) -> EnrollResponse:
        """Capture a person's samples once and keep them sealed; on disk before this returns.

        Samples that the tag has already are skipped, so that a repeated call changes nothing; but another ticket than
        before has whoever was refused contributed anew.

        Parameters
        ----------
        ticket
            EnrolmentTicket of the caller's registry, for this person and this node: what is contributed of the person
            travels with it.

        Raises
        ------
        NotAllowedError
            If the ticket does not allow it.
        AdapterError
            If the tag is malformed.
        TombstonedTagError
            If the tag was forgotten, before or meanwhile.
        SampleError
            If there is no sample or there are too many, or one does not fit the task.
        RefusedError
            If the node ends meanwhile.
        """
        subject_tag = self._allowed_tag(ticket)
        if not samples:
            raise SampleError("there is no sample to enrol; send at least one")
        with self._turn:
            with self._context.lock:
                self._check(subject_tag)
                mark = self._meter.mark()
                captured = self._captured(subject_tag, samples)
                spent: Mapping[Phase, Cost] = self._meter.since(mark)
                if captured is None:
                    with self._journal.transaction():
                        self._journal.renew_ticket(subject_tag, ticket.SerializeToString())
                    self._adapters.load()
                    return self._response(subject_tag, spent)
            learnt: Mapping[Phase, Cost] = {}
            if (generator := self._context.image_generator) is not None:
                trained = generator.learn(
                    subject_tag, captured.codes, lambda done, steps: self._check_wanted(subject_tag)
                )
                captured, learnt = CapturedSamples(captured.hashes, captured.codes, trained.codes), trained.costs
                spent = {phase: spent[phase] + learnt[phase] for phase in Phase}
            self._check_range(captured.adapter(subject_tag))
            with self._context.lock:
                self._check(subject_tag)
                self._meter.charge(learnt)
                ciphertext = self._cipher.seal_samples(subject_tag, captured)
                with self._journal.transaction():
                    self._journal.save_enrolment(
                        subject_tag, len(captured.codes), ciphertext, ticket.SerializeToString()
                    )
                    self._meter.save()
                self._adapters.load()
                return self._response(subject_tag, spent)

    def forgotten(self, tags: Collection[str]) -> None:
        """Let go of whoever is just being learnt and has these tags."""
        self._forgotten.update(tags)

    def end(self) -> None:
        """Store nothing more: the journal is about to be closed."""
        self._ended = True

    def _allowed_tag(self, envelope: Envelope) -> str:
        context = self._context
        try:
            ticket = check_ticket(
                envelope,
                context.enrollment.registry_public_key,
                fleet_id=context.fleet_id,
                node_id=context.node_id,
                now_unix_ms=context.clock.unix_ms(),
            )
        except TicketError as error:
            raise NotAllowedError(str(error)) from error
        if not is_subject_tag(ticket.subject_tag):
            raise AdapterError("a subject tag is 32 lower-case hexadecimal digits, made at random")
        return ticket.subject_tag

    def _captured(self, subject_tag: str, samples: Sequence[np.ndarray]) -> CapturedSamples | None:
        """Return all that there is of the tag with what is new; None if nothing is."""
        row = self._journal.enrolment(subject_tag)
        present = self._cipher.open_samples(row) if row else None
        fresh = {sample_hash(sample): sample for sample in samples}
        for known in present.hashes if present else ():
            fresh.pop(known, None)
        if not fresh:
            return None
        nodes = [self._context.node_index]
        codes = self._context.engine.capture(list(fresh.values()), nodes=nodes)[0].numpy()
        return present.extended(list(fresh), codes) if present else CapturedSamples(tuple(fresh), codes)

    def _check(self, subject_tag: str) -> None:
        # First: the journal of a node that has ended is closed.
        self._check_wanted(subject_tag)
        if subject_tag in self._journal.tombstones():
            raise _tombstoned()

    def _check_wanted(self, subject_tag: str) -> None:
        if self._ended:
            raise RefusedError("this node is ending and has stored nothing; enrol again when it is back")
        if subject_tag in self._forgotten:
            raise _tombstoned()

    def _check_range(self, adapter: SubjectAdapter) -> None:
        try:
            if self._range is not None:
                self._range.check(adapter)
        except CodeRangeError as error:
            raise SampleError(f"the coordinator would refuse this person: {error}") from error

    def _response(self, subject_tag: str, spent: Mapping[Phase, Cost]) -> EnrollResponse:
        saved = self._journal.enrolment(subject_tag)
        assert saved is not None
        learns = self._context.image_generator is not None
        return EnrollResponse(
            count=saved.samples,
            infer_cost=phase_cost(Phase.INFER, spent[Phase.INFER]),
            train_cost=phase_cost(Phase.TRAIN, spent[Phase.TRAIN]) if learns else None,
        )


def _tombstoned() -> TombstonedTagError:
    return TombstonedTagError(
        "this subject tag was forgotten; a new consent needs a new tag (fleet.registry makes one)"
    )
