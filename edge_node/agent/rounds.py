"""Rounds of learning jobs on a node: opened from a ticket, computed as a batch, sealed and charged."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import DecodeError
from reram_fleet.crypto import sealing
from reram_fleet.v1 import engine_pb2
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.wire.concepts import concept_tag

from edge_node.agent.context import NodeContext
from edge_node.errors import EngineError, RoundError, TicketRefusedError
from edge_node.recognition.training.rounds import RoundRequest, RoundResult
from hwmodel import LedgerMark

if TYPE_CHECKING:
    from edge_node.generation.eraser_rounds import EraserRequest


class RoundEngine(Protocol):
    """Part of a node that computes rounds: its engine if it recognises, its image generator if it generates."""

    def run_rounds(self, requests: Sequence[Any]) -> list[RoundResult]:
        """Run one round on several nodes as one batch."""


def check_ticket(
    ticket: types.JobTicket, *, fleet_id: str, node_id: str, generation: int, tombstones: Collection[str], unix_ms: int
) -> None:
    """Refuse a ticket whose signature holds but which this node must not act upon now.

    `TicketRefusedError` if it is of another fleet, node or generation, has expired, would learn from a forgotten tag,
    or would unlearn one that is not forgotten.
    """
    job = f"the ticket of job {ticket.job_id}, round {ticket.round}"
    if ticket.fleet_id != fleet_id or ticket.node_id != node_id:
        raise TicketRefusedError(f"{job} is for node {ticket.node_id} of fleet {ticket.fleet_id}")
    if ticket.generation != generation:
        raise TicketRefusedError(f"{job} is of generation {ticket.generation}; this node is at {generation}")
    if unix_ms >= ticket.expires_at_unix_ms:
        raise TicketRefusedError(f"{job} expired {unix_ms - ticket.expires_at_unix_ms} ms ago")
    if forgotten := set(ticket.subject_tags) & set(tombstones):
        raise TicketRefusedError(f"{job} would learn from {len(forgotten)} forgotten subject tags")
    if kept := set(ticket.forget_tags) - set(tombstones):
        raise TicketRefusedError(f"{job} would unlearn {len(kept)} subject tags that are not forgotten")
    if ticket.forget_tags and ticket.kind == types.LEARNING_KIND_TRAIN_LORA:
        raise TicketRefusedError(f"{job} names tags to unlearn, but trains")
    if ticket.concept and list(ticket.forget_tags) != [concept_tag(ticket.concept)]:
        raise TicketRefusedError(f"{job} would erase a concept that is not forgotten")


@dataclass(frozen=True, eq=False)
class OpenedRound:
    """Round of a ticket that a node acts upon: checked and opened, not yet computed.

    Attributes
    ----------
    engine, request
        Engine that computes it, and with what.
    key
        The job's.
    mark
        Costs of the node before the round.
    generation
        Of the newest forget that it unlearns; 0 of a round that unlearns nothing.
    """

    engine: RoundEngine
    request: RoundRequest | EraserRequest
    key: bytes = field(repr=False)
    mark: LedgerMark
    generation: int


def compute(rounds: Sequence[OpenedRound]) -> list[RoundResult | EngineError]:
    """Compute opened rounds, those that an engine can run together as one batch; a device has one.

    Returns results in the same order. A round that the engine cannot run gets its error and stops no other.
    """
    batches: dict[Hashable, list[int]] = {}
    for index, opened in enumerate(rounds):
        batches.setdefault((id(opened.engine), opened.request.batch), []).append(index)
    computed: dict[int, RoundResult | EngineError] = {}
    for indices in batches.values():
        batch = [rounds[index].request for index in indices]
        try:
            computed |= zip(indices, rounds[indices[0]].engine.run_rounds(batch), strict=True)
        except EngineError as error:
            # Nothing was changed. Those that can be run are, each alone.
            alone = [compute([rounds[index]])[0] for index in indices] if len(indices) > 1 else [error]
            computed |= zip(indices, alone, strict=True)
    return [computed[index] for index in range(len(rounds))]


class Rounds:
    """Rounds of learning jobs. Under the node's lock: all of one on what was captured, `open` and `seal` of any."""

    def __init__(self, context: NodeContext) -> None:
        self._context, self._journal = context, context.journal

    def open(
        self, ticket: types.JobTicket, ticket_bytes: int, sealed_state: bytes, session_key: X25519PrivateKey
    ) -> OpenedRound:
        """Check and open the round of a ticket whose signature holds.

        Parameters
        ----------
        ticket_bytes
            Its size on the air.
        session_key
            To which the job's key must be sealed.

        Raises
        ------
        TicketRefusedError
            If the ticket must not be acted upon now, or the state does not open.
        RoundError
            If this node's engine runs no rounds.
        """
        context, tombstones = self._context, self._journal.tombstones()
        check_ticket(
            ticket,
            fleet_id=context.fleet_id,
            node_id=context.node_id,
            generation=self._journal.position().generation,
            tombstones=tombstones,
            unix_ms=context.clock.unix_ms(),
        )
        if context.recognition is None and not ticket.concept:
            raise RoundError("this node generates: it learns a class when that is enrolled, not in rounds of a job")
        if context.recognition is not None and ticket.concept:
            raise RoundError("this node recognises: there is no concept to erase from what it shows")
        mark = context.meter.mark()
        purpose = sealing.job_key_purpose(ticket.job_id, ticket.node_id)
        try:
            key = sealing.open_sealed(session_key, purpose, ticket.job_key)
        except sealing.SealError as error:
            # From before a reconnect or a forget: the round goes on without the node, or is tried again.
            raise TicketRefusedError(f"the key of job {ticket.job_id} does not open: {error}") from error
        context.engine.charge_radio(context.node_index, ticket_bytes + len(sealed_state))
        purpose = sealing.state_purpose(ticket.job_id)
        try:
            state = types.LoraState.FromString(sealing.open_symmetric(key, purpose, sealed_state))
        except (sealing.SealError, DecodeError, ValueError) as error:
            raise TicketRefusedError(f"the state of job {ticket.job_id} does not open: {error}") from error
        generation = max((tombstones[tag] for tag in ticket.forget_tags), default=0)
        if context.image_generator is not None:
            from edge_node.generation.eraser_rounds import EraserRequest

            erasers = tuple(context.engine.active_erasers(context.node_index))
            erasing = EraserRequest(ticket, state, erasers)
            return OpenedRound(context.image_generator, erasing, key, mark, generation)
        assert context.recognition is not None
        kept, forgotten = self._codes(ticket.subject_tags), self._codes(ticket.forget_tags)
        request = RoundRequest(context.node_index, ticket, state, samples=kept, forget=forgotten)
        return OpenedRound(context.recognition, request, key, mark, generation)

    def seal(self, opened: OpenedRound, computed: RoundResult | EngineError) -> engine_pb2.RunRoundResponse:
        """Seal what was computed, and note its cost; raises the engine's error if it could not."""
        if isinstance(computed, EngineError):
            raise computed
        context, purpose = self._context, sealing.state_purpose(opened.request.ticket.job_id)
        plaintext = computed.state.SerializeToString(deterministic=True)
        sealed_result = sealing.seal_symmetric(opened.key, purpose, plaintext, context.randomness.draw)
        context.engine.charge_radio(context.node_index, len(sealed_result))
        context.meter.charge(computed.costs)
        with self._journal.transaction():
            if opened.generation:
                self._journal.add_forget_cost(opened.generation, context.meter.since(opened.mark))
            context.meter.save()
        return engine_pb2.RunRoundResponse(
            node_id=context.node_id,
            sealed_state=sealed_result,
            num_examples=computed.num_examples,
            metrics=computed.metrics,
        )

    def _codes(self, tags: Collection[str]) -> dict[str, torch.Tensor]:
        named = set(tags)
        rows = [row for row in self._journal.enrolments() if row.subject_tag in named]
        return {row.subject_tag: torch.from_numpy(self._context.cipher.open_samples(row).codes) for row in rows}
