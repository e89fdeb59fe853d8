"""Identities of nodes: sound public keys, and proof that the node has the private half."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from reram_fleet.crypto import sealing, signing
from reram_fleet.crypto.digests import identity_digest
from reram_fleet.v1.types_pb2 import NodeIdentity


class IdentityError(Exception):
    """An identity that no node may be enrolled with."""


def prove_possession(identity: NodeIdentity, signing_key: Ed25519PrivateKey) -> NodeIdentity:
    """Return the same identity with the proof that whoever made it has its receipt key."""
    proven = NodeIdentity()
    proven.CopyFrom(identity)
    proven.possession = signing_key.sign(identity_digest(identity))
    return proven


def check_identity(identity: NodeIdentity) -> None:
    """Refuse keys that prove nothing, and keys of somebody else.

    `IdentityError` if a key is malformed, weak, or the proof of possession is missing or another key's.
    """
    try:
        signing.check_public_key(identity.receipt_public_key)
        sealing.check_public_key(identity.sealing_public_key)
    except (signing.SignatureError, sealing.SealError) as error:
        raise IdentityError(f"a public key of node {identity.node_id!r} cannot be used: {error}") from error
    if not identity.possession:
        raise IdentityError(f"the identity of node {identity.node_id!r} does not prove that it has its keys")
    try:
        Ed25519PublicKey.from_public_bytes(identity.receipt_public_key).verify(
            identity.possession, identity_digest(identity)
        )
    except InvalidSignature:
        raise IdentityError(
            f"the proof that node {identity.node_id!r} has its keys is not of these keys and this name"
        ) from None
