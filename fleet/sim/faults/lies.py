"""Lies and poison of one node: messages that it makes with its own keys, none of which may reach anybody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reram_fleet.crypto import sealing, signing
from reram_fleet.crypto.tickets import issue_ticket
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import types_pb2 as types

from fleet.sim.faults.nodes import FaultyMember
from fleet.sim.lies import LIES
from fleet.sim.people import FEATURES

#: A ticket outlasts every history.
NEVER_MS = 2**62


def ticket(key: Ed25519PrivateKey, fleet_id: str, tag: str, *node_ids: str) -> types.Envelope:
    """Return the registry's leave to enrol somebody on some nodes."""
    return issue_ticket(key, fleet_id=fleet_id, subject_tag=tag, node_ids=node_ids, expires_at_unix_ms=NEVER_MS)


def _signed(member: FaultyMember, message: Any) -> types.Envelope:
    return signing.sign(member.node.keys.signing, message)


def _beyond(member: FaultyMember) -> wire.ConnectRequest:
    return wire.ConnectRequest(heartbeat=wire.Heartbeat(lease_nonce=bytes(16), generation=2**40))


def _absurd_telemetry(member: FaultyMember) -> wire.ConnectRequest:
    cost = types.PhaseCost(phase=types.ENERGY_PHASE_INFER, energy_j=float("nan"), bytes=2**64 - 1)
    return wire.ConnectRequest(telemetry=wire.Telemetry(costs=[cost]))


def _less_telemetry(member: FaultyMember) -> wire.ConnectRequest:
    cost = types.PhaseCost(phase=types.ENERGY_PHASE_PROGRAM, energy_j=-1.0)
    return wire.ConnectRequest(telemetry=wire.Telemetry(costs=[cost], subject_adapters=2**32 - 1))


def _small_order_key(member: FaultyMember) -> wire.ConnectRequest:
    position = member.node.node.context.journal.position()
    about = {"fleet_id": member.node.enrollment.fleet_id, "node_id": member.node_id}
    session = wire.SessionKey(**about, generation=position.generation, public_key=bytes(32))
    suppressed = wire.Suppressed(generation=position.generation, log_head=position.log_head)
    suppressed.session_key.CopyFrom(_signed(member, session))
    return wire.ConnectRequest(suppressed=suppressed)


def _unsolicited(member: FaultyMember) -> wire.ConnectRequest:
    position, context = member.node.node.context.journal.position(), member.node.node.context
    forget = context.journal.forget(position.generation)
    receipt = types.Receipt(
        fleet_id=context.fleet_id,
        node_id=context.node_id,
        campaign_id="" if forget is None else forget.campaign_id,
        generation=position.generation,
        outcome=types.RECEIPT_OUTCOME_ERASED,
        counter=position.receipt_counter + 1,
        previous_receipt_hash=position.last_receipt_hash,
        challenge_nonce=bytes(32),
    )
    envelope = _signed(member, receipt)
    member.node.lied.add(signing.payload_hash(envelope))
    return wire.ConnectRequest(receipt=envelope)


def _forged_log(member: FaultyMember) -> wire.ConnectRequest:
    position = member.node.node.context.journal.position()
    command = types.ForgetCommand(
        fleet_id=member.node.enrollment.fleet_id,
        generation=position.generation + 1,
        previous_hash=position.log_head,
        campaign_id="forged",
        subject_tags=["0" * 32],
    )
    return wire.ConnectRequest(forget_log=wire.ForgetLogRange(entries=[_signed(member, command)]))


def _unknown_revision(member: FaultyMember) -> wire.ConnectRequest:
    result = wire.RevisionResult(revision=2**40, digest=bytes(32), active=True)
    return wire.ConnectRequest(revision_result=result)


def _other_log(member: FaultyMember) -> wire.ConnectRequest:
    position = member.node.node.context.journal.position()
    return wire.ConnectRequest(suppressed=wire.Suppressed(generation=position.generation, log_head=bytes(32)))


#: Messages that are not so, by what they claim.
MESSAGES: Mapping[str, Callable[[FaultyMember], wire.ConnectRequest]] = {
    "a generation beyond the log": _beyond,
    "costs that are no numbers": _absurd_telemetry,
    "costs that became less": _less_telemetry,
    "a session key of low order": _small_order_key,
    "a receipt that nobody asked for": _unsolicited,
    "an entry of the log that it has signed": _forged_log,
    "a revision that does not exist": _unknown_revision,
    "another log than the coordinator's": _other_log,
}
#: All lies: of receipts, which the node then signs until it is told to stop, and in a message.
CLAIMS = (*LIES, *MESSAGES)

#: Poison, by what is wrong with a contribution.
POISON = ("no ticket", "a ticket of another node", "a ticket of another person", "out of range", "forgotten")


def poison(
    member: FaultyMember, what: str, tag: str, other_tag: str, key: Ed25519PrivateKey, sequence: int
) -> wire.ConnectRequest:
    """Return a contribution that must not be taken.

    Parameters
    ----------
    tag
        Whom it is about: somebody of other nodes.
    """
    context = member.node.node.context
    allowed = ticket(key, context.fleet_id, tag, member.node_id)
    if what == "a ticket of another node":
        allowed = ticket(key, context.fleet_id, tag, "node-elsewhere")
    if what == "a ticket of another person":
        allowed = ticket(key, context.fleet_id, other_tag, member.node_id)
    code = 2**40 if what == "out of range" else 3
    adapter = types.SubjectAdapter(subject_tag=tag, count=1, code_sum=[code] * FEATURES)
    purpose = sealing.contribution_purpose(context.fleet_id, context.node_id, tag)
    sealed = context.randomness.seal(
        member.node.enrollment.coordinator_sealing_public_key, purpose, adapter.SerializeToString()
    )
    contribution = wire.Contribution(
        fleet_id=context.fleet_id,
        node_id=context.node_id,
        subject_tag=tag,
        sequence=sequence,
        generation=context.journal.position().generation,
        adapter=sealed,
    )
    if what != "no ticket":
        contribution.ticket.CopyFrom(allowed)
    return wire.ConnectRequest(contribution=_signed(member, contribution))
