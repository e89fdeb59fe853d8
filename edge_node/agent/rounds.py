"""Rounds of learning jobs on this node: ticket checked, state opened, round run, cost charged."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from google.protobuf.message import DecodeError
from reram_fleet.crypto import sealing
from reram_fleet.v1 import engine_pb2
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.context import NodeContext
from edge_node.errors import RoundError, TicketRefusedError


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


class Rounds:
    """Rounds of learning jobs on what this node has captured. Under the node's lock."""

    def __init__(self, context: NodeContext) -> None:
        self._context, self._journal = context, context.journal

    def run(
        self, ticket: types.JobTicket, ticket_bytes: int, sealed_state: bytes, session_key: X25519PrivateKey
    ) -> engine_pb2.RunRoundResponse:
        """Run the round of a ticket whose signature holds.

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
            If the engine cannot run the round, or none.
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
        if context.recognition is None:
            raise RoundError("this node generates: it learns a class when that is enrolled, not in rounds of a job")
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
        kept, forgotten = self._codes(ticket.subject_tags), self._codes(ticket.forget_tags)
        result = context.recognition.run_round(context.node_index, ticket, state, samples=kept, forget=forgotten)
        plaintext = result.state.SerializeToString(deterministic=True)
        sealed_result = sealing.seal_symmetric(key, purpose, plaintext, context.randomness.draw)
        context.engine.charge_radio(context.node_index, len(sealed_result))
        with self._journal.transaction():
            if ticket.forget_tags:
                generation = max(tombstones[tag] for tag in ticket.forget_tags)
                self._journal.add_forget_cost(generation, context.meter.since(mark))
            context.meter.save()
        return engine_pb2.RunRoundResponse(
            node_id=context.node_id,
            sealed_state=sealed_result,
            num_examples=result.num_examples,
            metrics=result.metrics,
        )

    def _codes(self, tags: Sequence[str]) -> dict[str, torch.Tensor]:
        rows = [row for row in self._journal.enrolments() if row.subject_tag in set(tags)]
        return {row.subject_tag: torch.from_numpy(self._context.cipher.open_samples(row).codes) for row in rows}
