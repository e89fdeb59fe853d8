"""Encryption of what is personal, in transit and at rest.

To a receiver: HPKE (RFC 9180) with X25519, HKDF-SHA256 and ChaCha20-Poly1305. Under a key that both have, or that is
destroyed to erase: ChaCha20-Poly1305 with a random nonce in front. The purpose is bound to the ciphertext, so that
bytes sealed for one use do not open in another.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from reram_fleet.v1.types_pb2 import Sealed

KEY_BYTES = 32
_NONCE_BYTES = 12
_ANY_KEY = X25519PrivateKey.generate()
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class SealError(Exception):
    """A key cannot be sealed to, or a ciphertext does not open: wrong key or purpose, changed bytes."""


def new_key() -> bytes:
    """Return a fresh 32-byte key."""
    return os.urandom(KEY_BYTES)


def check_public_key(public_key: bytes) -> None:
    """Refuse what is no raw X25519 public key (32 bytes) that something can be sealed to.

    `SealError` if the length is another, or for a point of low order: with it everybody shares the same secret, zero.
    """
    try:
        # Whoever's private key it is: all are multiples of the cofactor.
        _ANY_KEY.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError as error:
        what = "of low order" if len(public_key) == KEY_BYTES else f"{len(public_key)} bytes long, expected 32"
        raise SealError(f"an X25519 public key is {what}") from error


def seal(public_key: bytes, purpose: str, plaintext: bytes) -> Sealed:
    """Encrypt to the holder of a raw X25519 public key (32 bytes).

    `SealError` if it is none, as `check_public_key` says.
    """
    try:
        receiver = X25519PublicKey.from_public_bytes(public_key)
        ciphertext = _SUITE.encrypt(plaintext, receiver, info=purpose.encode())
    except ValueError as error:
        raise SealError(f"nothing can be sealed to this public key for {purpose!r}: {error}") from error
    return Sealed(purpose=purpose, ciphertext=ciphertext)


def open_sealed(private_key: X25519PrivateKey, purpose: str, sealed: Sealed) -> bytes:
    """Decrypt what `seal` made for this key and this purpose.

    `SealError` if the purpose differs or the ciphertext does not authenticate.
    """
    if sealed.purpose != purpose:
        raise SealError(f"sealed for {sealed.purpose!r}, expected {purpose!r}")
    try:
        return _SUITE.decrypt(sealed.ciphertext, private_key, info=purpose.encode())
    except (InvalidTag, ValueError) as error:
        raise SealError(f"cannot open what was sealed for {purpose!r}") from error


def seal_symmetric(key: bytes, purpose: str, plaintext: bytes, draw: Callable[[int], bytes] = os.urandom) -> bytes:
    """Encrypt under a 32-byte key; returns nonce, of `draw`, and ciphertext."""
    nonce = draw(_NONCE_BYTES)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, plaintext, purpose.encode())


def open_symmetric(key: bytes, purpose: str, ciphertext: bytes) -> bytes:
    """Decrypt what `seal_symmetric` made under this key for this purpose; `SealError` if it does not authenticate."""
    try:
        return ChaCha20Poly1305(key).decrypt(ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], purpose.encode())
    except (InvalidTag, ValueError) as error:
        raise SealError(f"cannot open what was sealed for {purpose!r}") from error


# Purposes: who sealed what for which use.


def state_purpose(job_id: str) -> str:
    """Return the purpose under which LoRA state of a job is sealed."""
    return f"reram-fleet/job-state/{job_id}"


def job_key_purpose(job_id: str, node_id: str) -> str:
    """Return the purpose under which a job's key is sealed to a node."""
    return f"reram-fleet/job-key/{job_id}/{node_id}"


def revision_purpose(fleet_id: str, revision: int, node_id: str) -> str:
    """Return the purpose under which a revision's content is sealed to a node."""
    return f"reram-fleet/revision/{fleet_id}/{revision}/{node_id}"


def contribution_purpose(fleet_id: str, node_id: str, subject_tag: str) -> str:
    """Return the purpose under which a contribution is sealed to the coordinator."""
    return f"reram-fleet/contribution/{fleet_id}/{node_id}/{subject_tag}"


def statistics_purpose(fleet_id: str, node_id: str, subject_tag: str) -> str:
    """Return the purpose under which a contribution's statistics are sealed to the coordinator."""
    return f"reram-fleet/statistics/{fleet_id}/{node_id}/{subject_tag}"
