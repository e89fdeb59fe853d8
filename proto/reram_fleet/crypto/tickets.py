"""Enrolment tickets: the caller's signed leave to take a person in, checked alike by node and coordinator."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError

from reram_fleet.crypto.signing import SignatureError, open_envelope, sign
from reram_fleet.v1.types_pb2 import EnrolmentTicket, Envelope


class TicketError(Exception):
    """A ticket does not allow what it was brought for."""


def issue_ticket(
    registry_key: Ed25519PrivateKey,
    *,
    fleet_id: str,
    subject_tag: str,
    node_ids: Iterable[str],
    expires_at_unix_ms: int,
) -> Envelope:
    """Sign leave to enrol a person on some nodes until a time."""
    ticket = EnrolmentTicket(
        fleet_id=fleet_id,
        subject_tag=subject_tag,
        node_ids=sorted(set(node_ids)),
        expires_at_unix_ms=expires_at_unix_ms,
    )
    return sign(registry_key, ticket)


def check_ticket(
    envelope: Envelope, registry_public_key: bytes, *, fleet_id: str, node_id: str, now_unix_ms: int
) -> EnrolmentTicket:
    """Return a ticket that allows a node to enrol somebody now; `TicketError` with what is wrong, and what to do.

    `registry_public_key` is the raw Ed25519 key (32 bytes) of the caller's registry; empty if the fleet was told of
    none.
    """
    if not registry_public_key:
        raise TicketError(
            "this fleet knows no registry, so nobody can be enrolled: serve it with --registry-key, "
            "and register the node again"
        )
    try:
        ticket = open_envelope(envelope, EnrolmentTicket, registry_public_key)
    except (SignatureError, ValueError) as error:
        raise TicketError(f"the enrolment ticket is not the registry's: {error}") from error
    if ticket.fleet_id != fleet_id:
        raise TicketError(f"the enrolment ticket is for fleet {ticket.fleet_id!r}, this is {fleet_id!r}")
    if node_id not in ticket.node_ids:
        raise TicketError(f"the enrolment ticket is for {', '.join(ticket.node_ids) or 'no node'}, not for {node_id}")
    if now_unix_ms >= ticket.expires_at_unix_ms:
        raise TicketError("the enrolment ticket has expired: have the registry issue another one")
    return ticket


def ticket_text(envelope: Envelope) -> str:
    """Return a ticket as one word that a shell can carry (URL-safe base 64)."""
    return base64.urlsafe_b64encode(envelope.SerializeToString(deterministic=True)).decode()


def read_ticket(text: str) -> Envelope:
    """Return what `ticket_text` wrote; `TicketError` if it is something else."""
    try:
        envelope = Envelope.FromString(base64.b64decode(text.strip(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, DecodeError):
        envelope = Envelope()
    if envelope.payload_type != EnrolmentTicket.DESCRIPTOR.full_name:
        raise TicketError(
            f"{len(text)} characters of something else are no enrolment ticket; `fleet registry enroll` prints one"
        )
    return envelope
