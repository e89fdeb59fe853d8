"""Enrolling on this node: capture once, learn what the task has to learn, store it sealed.

Learning a class takes half a minute, and a forget must not wait for it: so the node's lock is held while
something is looked up and while it is stored, and let go in between. Whoever is forgotten meanwhile is not
stored; a node that is killed meanwhile has acknowledged nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from reram_fleet.code_ranges import CodeRange, CodeRangeError
from reram_fleet.v1.engine_pb2 import EnrollResponse
from reram_fleet.v1.types_pb2 import SubjectAdapter

from edge_node.agent.active import ActiveAdapters
from edge_node.agent.forget_log import is_subject_tag
from edge_node.agent.meter import NODE_INDEX, Meter
from edge_node.agent.node_engine import NodeEngine
from edge_node.agent.telemetry import phase_cost
from edge_node.errors import AdapterError, RefusedError, SampleError, TombstonedTagError
from edge_node.storage.journal import Journal
from edge_node.storage.record_cipher import CapturedSamples, RecordCipher, sample_hash
from hwmodel import Cost, Phase

if TYPE_CHECKING:
    from edge_node.generation.image_generator import ImageGenerator


class Enrolment:
    """The way of a person's samples into the journal.

    Parameters
    ----------
    lock
        The node's.
    image_generator
        Where a class is learnt; None if a person's adapter is the sum of their codes.
    codes
        The task's range, to which the coordinator holds contributions; None if the task is not built in.
    """

    def __init__(
        self,
        lock: threading.RLock,
        *,
        journal: Journal,
        cipher: RecordCipher,
        engine: NodeEngine,
        image_generator: ImageGenerator | None,
        adapters: ActiveAdapters,
        meter: Meter,
        codes: CodeRange | None,
    ) -> None:
        self._lock, self._codes = lock, codes
        self._journal, self._cipher, self._engine, self._image_generator = journal, cipher, engine, image_generator
        self._adapters, self._meter = adapters, meter
        # Two learnings at once would each miss what the other stores.
        self._turn = threading.Lock()
        self._forgotten: set[str] = set()
        self._ended = False

    def enroll(self, subject_tag: str, samples: Sequence[np.ndarray], ticket: bytes) -> EnrollResponse:
        """Capture a person's samples once and keep them sealed; on disk before this returns.

        Samples that the tag has already are skipped, so that a repeated call changes nothing; but another
        ticket than before has whoever was refused contributed anew.

        Parameters
        ----------
        ticket
            Envelope of the checked EnrolmentTicket: what is contributed of the person travels with it.

        Raises
        ------
        AdapterError
            If the tag is malformed.
        TombstonedTagError
            If the tag was forgotten, before or meanwhile.
        SampleError
            If there is no sample or there are too many, or one does not fit the task.
        RefusedError
            If the node ends meanwhile.
        """
        if not is_subject_tag(subject_tag):
            raise AdapterError("a subject tag is 32 lower-case hexadecimal digits, made at random")
        if not samples:
            raise SampleError("there is no sample to enrol; send at least one")
        with self._turn:
            with self._lock:
                self._check(subject_tag)
                mark = self._meter.mark()
                captured = self._captured(subject_tag, samples)
                spent: Mapping[Phase, Cost] = self._meter.since(mark)
                if captured is None:
                    with self._journal.transaction():
                        self._journal.renew_ticket(subject_tag, ticket)
                    self._adapters.load()
                    return self._response(subject_tag, spent)
            if self._image_generator is not None:
                learnt = self._image_generator.learn(
                    subject_tag, captured.codes, lambda done, steps: self._check_wanted(subject_tag)
                )
                captured = CapturedSamples(captured.hashes, captured.codes, learnt.codes)
                spent = {phase: spent[phase] + learnt.costs[phase] for phase in Phase}
            self._check_range(captured.adapter(subject_tag))
            with self._lock:
                self._check(subject_tag)
                if self._image_generator is not None:
                    for phase, cost in learnt.costs.items():
                        self._engine.ledger.charge(phase, cost, NODE_INDEX)
                ciphertext = self._cipher.seal_samples(subject_tag, captured)
                with self._journal.transaction():
                    self._journal.save_enrolment(subject_tag, len(captured.codes), ciphertext, ticket)
                    self._meter.save()
                self._adapters.load()
                return self._response(subject_tag, spent)

    def forgotten(self, tags: Collection[str]) -> None:
        """Let go of whoever is just being learnt and has these tags."""
        self._forgotten.update(tags)

    def end(self) -> None:
        """Store nothing more: the journal is about to be closed."""
        self._ended = True

    def _captured(self, subject_tag: str, samples: Sequence[np.ndarray]) -> CapturedSamples | None:
        """Return all that there is of the tag with what is new; None if nothing is."""
        row = self._journal.enrolment(subject_tag)
        present = self._cipher.open_samples(row) if row else None
        fresh = {sample_hash(sample): sample for sample in samples}
        for known in present.hashes if present else ():
            fresh.pop(known, None)
        if not fresh:
            return None
        codes = self._engine.capture(list(fresh.values()))[NODE_INDEX].numpy()
        return present.extended(list(fresh), codes) if present else CapturedSamples(tuple(fresh), codes)

    def _check(self, subject_tag: str) -> None:
        # First: the journal of a node that has ended is closed.
        self._check_wanted(subject_tag)
        if subject_tag in self._journal.tombstones():
            raise _tombstoned()

    def _check_range(self, adapter: SubjectAdapter) -> None:
        if self._codes is None:
            return
        try:
            self._codes.check(adapter)
        except CodeRangeError as error:
            raise SampleError(f"the coordinator would refuse this person: {error}") from error

    def _check_wanted(self, subject_tag: str) -> None:
        if self._ended:
            raise RefusedError("this node is ending and has stored nothing; enrol again when it is back")
        if subject_tag in self._forgotten:
            raise _tombstoned()

    def _response(self, subject_tag: str, spent: Mapping[Phase, Cost]) -> EnrollResponse:
        saved = self._journal.enrolment(subject_tag)
        assert saved is not None
        return EnrollResponse(
            count=saved.samples,
            infer_cost=phase_cost(Phase.INFER, spent[Phase.INFER]),
            train_cost=phase_cost(Phase.TRAIN, spent[Phase.TRAIN]) if self._image_generator is not None else None,
        )


def _tombstoned() -> TombstonedTagError:
    return TombstonedTagError(
        "this subject tag was forgotten; a new consent needs a new tag (fleet.registry makes one)"
    )
