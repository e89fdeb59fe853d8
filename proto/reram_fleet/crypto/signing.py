"""Signed envelopes: Ed25519 over the exact payload bytes.

The signature covers the DSSE pre-authentication encoding (github secure-systems-lab/dsse, protocol.md), so that a
payload of one type can never be passed off as another. The signed bytes themselves travel in the envelope; nothing is
re-serialised to check a signature.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError, Message

from reram_fleet.crypto import sealing
from reram_fleet.v1.types_pb2 import Envelope

_FIELD = 2**255 - 19

M = TypeVar("M", bound=Message)


class SignatureError(Exception):
    """An envelope does not hold what it claims: wrong type, key, signature or payload."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the DSSE pre-authentication encoding of a payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(public_key: bytes) -> str:
    """Return the id of a raw Ed25519 public key (32 bytes): its SHA-256, hexadecimal."""
    return hashlib.sha256(public_key).hexdigest()


def check_public_key(public_key: bytes) -> None:
    """Refuse what is no raw Ed25519 public key (32 bytes), and keys for which one signature fits anything.

    `SignatureError` if the length is another, the encoding not canonical, or the point of small order (RFC 8032,
    5.1.3).
    """
    if len(public_key) != 32:
        raise SignatureError(f"an Ed25519 public key is {len(public_key)} bytes long, expected 32")
    y = int.from_bytes(public_key, "little") & ((1 << 255) - 1)
    if y >= _FIELD:
        raise SignatureError("an Ed25519 public key is not canonical: its coordinate is beyond the field")
    if y == 1:
        raise SignatureError("an Ed25519 public key is of small order: the neutral element")
    # The same point on X25519's curve (RFC 7748, 4.1), whose library knows the small orders.
    u = (1 + y) * pow(1 - y, -1, _FIELD) % _FIELD
    try:
        sealing.check_public_key(u.to_bytes(32, "little"))
    except sealing.SealError as error:
        raise SignatureError("an Ed25519 public key is of small order") from error


def sign(private_key: Ed25519PrivateKey, message: Message) -> Envelope:
    """Serialise a message once and sign those bytes."""
    payload = message.SerializeToString(deterministic=True)
    payload_type = message.DESCRIPTOR.full_name
    return Envelope(
        payload_type=payload_type,
        payload=payload,
        key_id=key_id(private_key.public_key().public_bytes_raw()),
        signature=private_key.sign(pae(payload_type, payload)),
    )


def open_envelope(envelope: Envelope, message_type: type[M], public_key: bytes) -> M:
    """Check an envelope and return its message; `SignatureError` with what was expected and what was found.

    Any other type than `message_type` is refused, and any other signer than that of the raw Ed25519 `public_key` (32
    bytes).
    """
    expected = message_type.DESCRIPTOR.full_name
    if envelope.payload_type != expected:
        raise SignatureError(f"expected a {expected}, got {envelope.payload_type or 'nothing'}")
    expected_key = key_id(public_key)
    if envelope.key_id != expected_key:
        found = envelope.key_id[:12] or "(none)"
        raise SignatureError(f"{expected} is signed by key {found}, expected {expected_key[:12]}")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(envelope.signature, pae(expected, envelope.payload))
        message = message_type()
        message.ParseFromString(envelope.payload)
    except InvalidSignature:
        raise SignatureError(f"the signature of this {expected} does not match its bytes") from None
    except DecodeError as error:
        raise SignatureError(f"the signed bytes are not a {expected}: {error}") from None
    return message


def payload_hash(envelope: Envelope) -> bytes:
    """Return the SHA-256 (32 bytes) of the signed payload: how the log chains and receipts refer."""
    return hashlib.sha256(envelope.payload).digest()
